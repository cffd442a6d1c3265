"""Components and their code with the real azure-ai-ml client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.ai.ml import Input, MLClient, Output, command, load_component
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import CommandComponent, Environment, PipelineComponent
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from phi_finetune.testing import FakeAzure

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
YAML = """
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
name: scale
type: command
version: 2
description: Scales rows.
command: python scale.py --by ${{inputs.by}} --rows ${{inputs.rows}} --scaled ${{outputs.scaled}}
environment: azureml:tools:1
inputs:
  by: {type: number, default: 1.5, min: 0, max: 10}
  rows: {type: uri_file, optional: true}
outputs:
  scaled: {type: uri_folder}
resources: {instance_count: 2}
distribution: {type: pytorch, process_count_per_instance: 4}
"""


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of a workspace with an environment."""
    client = azure.ml_client()
    client.environments.create_or_update(Environment(name="tools", version="1", image=IMAGE))
    return client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of code."""
    folder = tmp_path / "src"
    (folder / "lib").mkdir(parents=True)
    (folder / "train.py").write_text("import lib.util\n")
    (folder / "lib" / "util.py").write_text("x = 1\n")
    return folder


def component(source: Path, name: str | None = "train", **more: object) -> CommandComponent:
    """A component with code, an integer and a folder."""
    return CommandComponent(
        name=name,
        command="python train.py --epochs ${{inputs.epochs}} --rows ${{inputs.rows}} --model ${{outputs.model}}",
        code=str(source),
        environment="azureml:tools:1",
        inputs={"epochs": Input(type="integer", default=3), "rows": Input(type="uri_folder")},
        outputs={"model": Output(type="mlflow_model")},
        **more,
    )


def test_a_component_takes_its_code_along(azure: FakeAzure, client: MLClient, source: Path) -> None:
    """The folder of its code is uploaded as a snapshot, whose files a job finds."""
    made = client.components.create_or_update(component(source, description="trains", tags={"team": "nlp"}))
    assert (made.version, made.description, made.tags) == ("1", "trains", {"team": "nlp"})
    files = azure.cloud.assets.code_files(made.code)
    assert files == {"train.py": b"import lib.util\n", "lib/util.py": b"x = 1\n"}
    kept = azure.components["train"][0].spec
    assert (kept["code"], kept["is_deterministic"]) == (f"azureml:{made.code}", "True")


def test_a_component_is_found(client: MLClient, source: Path) -> None:
    """It is found by version, by label, by nothing at all, and in lists."""
    for _ in range(2):
        made = client.components.create_or_update(component(source))
    assert made.version == "2"
    for found in (
        client.components.get("train"),
        client.components.get("train", "2"),
        client.components.get("train", label="latest"),
        client.components.get("train", label="default"),
    ):
        assert found.id == made.id
    assert found.inputs["epochs"].default == 3
    assert (found.inputs["rows"].type, found.outputs["model"].type) == ("uri_folder", "mlflow_model")
    assert [one.version for one in client.components.list("train")] == ["2", "1"]
    assert [(one.name, one.latest_version) for one in client.components.list()] == [("train", "2")]
    with pytest.raises(ResourceNotFoundError):
        client.components.get("other")


def test_known_code_is_not_uploaded_again(azure: FakeAzure, client: MLClient, source: Path) -> None:
    """The service finds a snapshot by its hash, so that the client uploads the same folder once."""
    first = client.components.create_or_update(component(source))
    before = len(azure.journal)
    second = client.components.create_or_update(component(source, name="again"))
    assert second.code == first.code
    assert not [entry for entry in list(azure.journal)[before:] if "blob" in entry.url]
    (source / "train.py").write_text("import this\n")
    assert client.components.create_or_update(component(source)).code != first.code


def test_a_version_does_not_change(client: MLClient, source: Path) -> None:
    """Other code under a version is refused in the service's words; another description is not."""
    client.components.create_or_update(component(source, version="1"))
    better = client.components.create_or_update(component(source, version="1", description="better"))
    assert better.description == "better"
    (source / "train.py").write_text("import this\n")
    words = 'Failed to update component train since field "code" is immutable'
    with pytest.raises(HttpResponseError, match=words) as refused:
        client.components.create_or_update(component(source, version="1"))
    assert refused.value.status_code == 400


def test_no_version_without_a_change(client: MLClient, source: Path) -> None:
    """Asked to, the client adds no version where nothing changed: it knows its own hash in the answer."""
    for expected in ("1", "1"):
        made = client.components.create_or_update(component(source), skip_if_no_change=True)
        assert made.version == expected


def test_a_component_of_yaml(azure: FakeAzure, client: MLClient, tmp_path: Path) -> None:
    """What a YAML file says of inputs, resources and distribution comes back."""
    path = tmp_path / "scale.yml"
    path.write_text(YAML)
    made = client.components.create_or_update(load_component(path))
    assert (made.version, made.inputs["by"].default, made.inputs["by"].max) == ("2", 1.5, 10)
    assert made.inputs["rows"].optional
    assert (made.resources.instance_count, made.distribution.process_count_per_instance) == (2, "4")
    assert azure.components["scale"][0].spec["resources"] == {"instance_count": "2"}


def test_a_command_becomes_a_component(azure: FakeAzure, client: MLClient, source: Path) -> None:
    """The component inside ``command(...)`` is made, with the environment that was written on the spot."""
    node = command(
        name="spot",
        command="python train.py",
        code=str(source),
        environment=Environment(image=IMAGE, conda_file={"dependencies": ["python=3.11"]}),
        instance_count=2,
    )
    made = client.components.create_or_update(node.component)
    assert azure.cloud.assets.environment(made.environment).conda_file == "dependencies:\n- python=3.11\n"
    assert list(azure.environments) == ["tools", "CliV2AnonymousEnvironment"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ("tools@latest", "/environments/tools/versions/1"),
        ("azureml:sklearn-1.5:1", "azureml://registries/azureml/environments/sklearn-1.5/versions/1"),
        (
            "azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
            "azureml://registries/azureml/environments/sklearn-1.5/versions/1",
        ),
    ],
)
def test_every_way_to_name_an_environment(client: MLClient, environment: str, expected: str) -> None:
    """Labels and curated environments become a version."""
    made = client.components.create_or_update(
        CommandComponent(name="say", command="echo", environment=environment)
    )
    assert made.environment.endswith(expected)


def test_what_is_not_there(client: MLClient) -> None:
    """The client checks no environment; the service does."""
    lost = CommandComponent(name="say", command="echo", environment="azureml:nothing:1")
    with pytest.raises(HttpResponseError, match="environment is not valid") as refused:
        client.components.create_or_update(lost)
    assert refused.value.status_code == 400


def test_anonymous_components(azure: FakeAzure, client: MLClient, source: Path) -> None:
    """The same content is one component, whoever makes it."""
    ids = {
        client.components.create_or_update(component(source, None), is_anonymous=True).id for _ in range(2)
    }
    assert len(ids) == 1
    assert len(azure.components["azureml_anonymous"]) == 1


def test_a_pipeline_component(azure: FakeAzure, client: MLClient, source: Path) -> None:
    """A pipeline is kept as a component, with components of its own, registered ones and others."""
    registered = client.components.create_or_update(component(source))
    inline = component(source, "inline", display_name="inline")

    rows = Input(type="uri_folder", path="azureml://datastores/workspaceblobstore/paths/rows")

    @pipeline(name="twice", description="Trains twice.")
    def twice(epochs=2):  # the client evaluates no annotation that is a text
        first = registered(rows=rows, epochs=epochs)
        inline(rows=rows)
        return {"model": first.outputs.model}

    made = client.components.create_or_update(twice)
    assert isinstance(made, PipelineComponent)
    found = client.components.get("twice")
    assert isinstance(found, PipelineComponent)
    assert (found.id, found.inputs["epochs"].default, set(found.jobs)) == (made.id, 2, {"first", "inline"})
    jobs = azure.components["twice"][0].spec["jobs"]
    assert jobs["first"]["componentId"] == registered.id
    assert azure.cloud.assets.component(jobs["inline"]["componentId"]).name == "azureml_anonymous"


def test_archived_components(client: MLClient, source: Path) -> None:
    """A version or a whole name is archived and comes back; the default is an active one."""
    for version in ("1", "2"):
        client.components.create_or_update(component(source, version=version))
    client.components.archive("train", version="2")
    assert client.components.get("train").version == "1"
    client.components.archive("train")
    assert (list(client.components.list()), list(client.components.list("train"))) == ([], [])
    client.components.restore("train")
    assert [one.version for one in client.components.list("train")] == ["2", "1"]
