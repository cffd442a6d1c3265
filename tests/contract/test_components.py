from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from azure.ai.ml import Input, Output
from azure.ai.ml.entities import CommandComponent, Environment
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from watched_client import WatchedClient

# azure-ai-ml 1.35.2 uses marshmallow in ways that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
LINE = "python train.py --epochs ${{inputs.epochs}} --rows ${{inputs.rows}} --model ${{outputs.model}}"

Make = Callable[..., CommandComponent]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of code."""
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "train.py").write_text("print('training')\n")
    return folder


@pytest.fixture
def make(ml: WatchedClient, source: Path, unique: Callable[[str], str], afterwards: ExitStack) -> Make:
    """Register versions of one component, which is archived in the end."""
    name = unique("comp").replace("-", "_")  # as the client wants it
    afterwards.callback(lambda: ml.components.archive(name))
    return lambda version=None, **fields: ml.components.create_or_update(
        component(name, version, **{"code": str(source), **fields})
    )


def component(name: str, version: str | None = None, **fields: object) -> CommandComponent:
    """A component with an integer, a folder and a model; its environment is written into it."""
    return CommandComponent(
        name=name,
        version=version,
        inputs={"epochs": Input(type="integer", default=3), "rows": Input(type="uri_folder")},
        outputs={"model": Output(type="mlflow_model")},
        **{"command": LINE, "environment": Environment(image=IMAGE), **fields},
    )


@pytest.mark.operation("components.create_or_update", "components.get")
def test_create_and_get(ml: WatchedClient, make: Make) -> None:
    """A component takes its code along; it is found by version, by label and by nothing at all (wire.md 6)."""
    made = make("1", description="a test", tags={"who": "contract"})
    assert "/codes/" in made.code
    for found in (
        ml.components.get(made.name, "1"),
        ml.components.get(made.name, label="latest"),
        ml.components.get(made.name),
    ):
        assert (found.id, found.code, found.command) == (made.id, made.code, LINE)
        assert (found.description, found.tags) == ("a test", {"who": "contract"})
        assert (found.inputs["rows"].type, found.outputs["model"].type) == ("uri_folder", "mlflow_model")
        assert int(found.inputs["epochs"].default) == 3


@pytest.mark.operation("components.create_or_update")
def test_a_version_does_not_change(make: Make) -> None:
    """Another command under a version is refused in the service's words; another description is not."""
    made = make("1")
    assert make("1", description="better").description == "better"
    words = f'Failed to update component {made.name} since field "command" is immutable'
    with pytest.raises(HttpResponseError, match=words) as refused:
        make("1", command=f"{LINE} --more")
    assert refused.value.status_code == 400


@pytest.mark.operation("components.create_or_update")
def test_an_environment_must_be_there(make: Make) -> None:
    """The client checks no environment; the service does."""
    with pytest.raises(HttpResponseError) as refused:
        make("1", environment="azureml:pf-no-such-environment:1")
    assert refused.value.status_code == 400
    make("1")


@pytest.mark.operation("components.list")
def test_list(ml: WatchedClient, make: Make) -> None:
    """Versions are listed with the newest first, and the name is among all."""
    name = make("1").name
    make("2")
    assert [one.version for one in ml.components.list(name)] == ["2", "1"]
    assert name in [one.name for one in ml.components.list()]


@pytest.mark.operation("components.archive", "components.restore")
def test_archive_and_restore(ml: WatchedClient, make: Make) -> None:
    """An archived version is in no list until it is restored, and can be got all the while."""
    name = make("1").name
    make("2")
    ml.components.archive(name, version="2")
    assert [one.version for one in ml.components.list(name)] == ["1"]
    assert ml.components.get(name, "2").version == "2"
    ml.components.restore(name, version="2")
    assert [one.version for one in ml.components.list(name)] == ["2", "1"]


@pytest.mark.operation(
    "components.download",
    partial="Code is not fetched: the datastore's signature opens its own container alone (assumed).",
)
def test_download(
    ml: WatchedClient,
    make: Make,
    tmp_path: Path,
    unique: Callable[[str], str],
    afterwards: ExitStack,
) -> None:
    """A component is written as YAML, with its environment in it."""
    conda = {"name": "tools", "dependencies": ["python=3.11"]}
    environment = ml.environments.create_or_update(
        Environment(name=unique("env"), version="1", image=IMAGE, conda_file=conda)
    )
    afterwards.callback(lambda: ml.environments.archive(environment.name))
    made = make("1", environment=environment.id, code=None)
    ml.components.download(made.name, tmp_path / "got", version="1")
    written = (tmp_path / "got" / "component_spec.yaml").read_text("utf-8")
    assert ("--epochs" in written, IMAGE in written, "python=3.11" in written) == (True, True, True)


@pytest.mark.operation("components.validate", local=True)
def test_validate(ml: WatchedClient) -> None:
    """The client checks what it can by itself."""
    assert ml.components.validate(component("pf_right", environment="azureml:tools:1")).passed
    wrong = component("pf_wrong", environment="azureml:tools:1", command="echo ${{inputs.nothing}}")
    assert not ml.components.validate(wrong).passed


@pytest.mark.operation("components.prepare_for_sign", local=True)
def test_prepare_for_sign(ml: WatchedClient, source: Path) -> None:
    """A catalogue with a hash of each file is put beside the code."""
    ml.components.prepare_for_sign(component("pf_signed", code=str(source), environment="azureml:tools:1"))
    catalogue = json.loads((source / "catalog.json").read_text("utf-8"))
    assert list(catalogue["CatalogItems"]) == ["train.py"]


@pytest.mark.operation("components.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.components.get(unique("comp").replace("-", "_"), "1")
