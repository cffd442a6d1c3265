from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from azure.ai.ml.entities import Model
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from watched_client import WatchedClient

# azure-ai-ml 1.35.2 downloads in a way that azure-storage-blob calls deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The use of a 'BlobProperties':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:content_as_bytes is deprecated:DeprecationWarning"),
]

Make = Callable[..., Model]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's files."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.txt").write_text("some weights")
    return tmp_path / "model"


@pytest.fixture
def make(ml: WatchedClient, folder: Path, unique: Callable[[str], str], afterwards: ExitStack) -> Make:
    """Register versions of one model, which is archived in the end."""
    name = unique("model")
    afterwards.callback(lambda: ml.models.archive(name))

    def make(version: str | None = None, **fields: object) -> Model:
        return ml.models.create_or_update(Model(name=name, version=version, path=str(folder), **fields))

    return make


@pytest.mark.operation("models.create_or_update", "models.get")
def test_create_and_get(ml: WatchedClient, make: Make) -> None:
    """Files are uploaded; the model is under its version, and is the latest, at a location in the datastore."""
    made = make("1", type="custom_model", tags={"who": "contract"}, description="a test")
    assert made.path.startswith("azureml://subscriptions/")
    for found in (ml.models.get(made.name, version="1"), ml.models.get(made.name, label="latest")):
        assert (found.id, found.path, found.type) == (made.id, made.path, "custom_model")
        assert (found.tags, found.description) == ({"who": "contract"}, "a test")


@pytest.mark.operation("models.create_or_update")
def test_versions_are_counted(make: Make) -> None:
    """Without a version a model gets the next (pain.md, part 2)."""
    assert [make().version for _ in range(2)] == ["1", "2"]


@pytest.mark.operation("models.create_or_update")
def test_a_version_stays_where_it_is(ml: WatchedClient, make: Make) -> None:
    """Tags and description can change, and the location cannot (wire.md 13.12)."""
    made = make("1")
    made.tags, made.description = {"a": "b"}, "better"
    changed = ml.models.create_or_update(made)
    assert (changed.tags, changed.description, changed.path) == ({"a": "b"}, "better", made.path)
    elsewhere = "azureml://datastores/workspaceblobstore/paths/elsewhere/"
    with pytest.raises(HttpResponseError) as refused:
        ml.models.create_or_update(Model(name=made.name, version="1", path=elsewhere))
    assert refused.value.status_code in (400, 409)


@pytest.mark.operation("models.list")
def test_list(ml: WatchedClient, make: Make) -> None:
    """Versions are listed with the newest first, and the name is among all."""
    name = make("1").name
    make("2")
    assert [one.version for one in ml.models.list(name)] == ["2", "1"]
    assert name in [one.name for one in ml.models.list()]


@pytest.mark.operation("models.archive", "models.restore")
def test_archive_and_restore(ml: WatchedClient, make: Make) -> None:
    """An archived version is in no list until it is restored, and can be got all the while."""
    name = make("1").name
    make("2")
    ml.models.archive(name, version="2")
    assert [one.version for one in ml.models.list(name)] == ["1"]
    assert ml.models.get(name, version="2").version == "2"
    ml.models.restore(name, version="2")
    assert [one.version for one in ml.models.list(name)] == ["2", "1"]


@pytest.mark.operation("models.download")
def test_download(ml: WatchedClient, make: Make, tmp_path: Path) -> None:
    """The files come back as they went."""
    made = make("1")
    ml.models.download(made.name, made.version, str(tmp_path / "got"))
    [path] = (tmp_path / "got").rglob("weights.txt")
    assert path.read_text() == "some weights"


@pytest.mark.operation("models.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.models.get(unique("model"), version="1")
