from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from azure.ai.ml.entities import Model
from azure.core.exceptions import ResourceNotFoundError
from watched_client import WatchedClient

# azure-ai-ml 1.35.2 downloads in a way that azure-storage-blob calls deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The use of a 'BlobProperties':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:content_as_bytes is deprecated:DeprecationWarning"),
]


@pytest.fixture
def evaluator(
    ml: WatchedClient, tmp_path: Path, unique: Callable[[str], str], afterwards: ExitStack
) -> Model:
    """An evaluator: a model with properties that say so, which is archived in the end."""
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow" / "flow.flex.yaml").write_text("entry: judge:Judge\n")
    name = unique("judge")
    afterwards.callback(lambda: ml.models.archive(name))
    return ml.evaluators.create_or_update(Model(name=name, version="1", path=str(tmp_path / "flow")))


@pytest.fixture
def model(ml: WatchedClient, tmp_path: Path, unique: Callable[[str], str], afterwards: ExitStack) -> Model:
    """A model that is no evaluator, and is archived in the end."""
    path = tmp_path / "weights.txt"
    path.write_text("some weights")
    made = ml.models.create_or_update(Model(name=unique("model"), version="1", path=str(path)))
    afterwards.callback(lambda: ml.models.archive(made.name))
    return made


@pytest.mark.operation("evaluators.create_or_update", "evaluators.get")
def test_create_and_get(ml: WatchedClient, evaluator: Model) -> None:
    """It is kept as a model with a property, and found as an evaluator."""
    found = ml.evaluators.get(evaluator.name, version="1")
    assert (found.id, found.properties["is-evaluator"]) == (evaluator.id, "true")
    assert ml.evaluators.get(evaluator.name, label="latest").version == "1"


@pytest.mark.operation("evaluators.list")
def test_list(ml: WatchedClient, evaluator: Model, model: Model) -> None:
    """An evaluator's versions are listed, and none of a model that is no evaluator."""
    assert [one.version for one in ml.evaluators.list(evaluator.name)] == ["1"]
    assert [one.version for one in ml.evaluators.list(model.name)] == []


@pytest.mark.operation("evaluators.download")
def test_download(ml: WatchedClient, evaluator: Model, tmp_path: Path) -> None:
    """The files come back as they went."""
    ml.evaluators.download(evaluator.name, version="1", download_path=str(tmp_path / "got"))
    [path] = (tmp_path / "got").rglob("flow.flex.yaml")
    assert path.read_text() == "entry: judge:Judge\n"


@pytest.mark.operation("evaluators.get")
def test_a_model_is_no_evaluator(ml: WatchedClient, model: Model) -> None:
    """A model that is no evaluator is not found as one."""
    with pytest.raises(ResourceNotFoundError, match="not found"):
        ml.evaluators.get(model.name, version="1")
