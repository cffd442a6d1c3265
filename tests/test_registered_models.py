from __future__ import annotations

from pathlib import Path

import pipelines
import pytest
from asking import ask
from tuning import SIZE, Heard, content, finetune, sent, trained

import phi_finetune as pf
from phi_finetune.errors import InvalidParameter, NameTaken, NotFound, UnexpectedAnswer
from phi_finetune.events import AdoptedExisting, Created
from phi_finetune.testing import FakeAzure


def test_a_model_is_registered_with_its_lineage(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Job, base model and data's digest are tags; the type is MLflow's; the description says what it is."""
    request = finetune(workspace)
    job = request.submit().wait()
    model = job.register(tags={"team": "nlp"})
    assert model.name == "Phi-4-facts"
    assert (model.job, model.base_model, model.data_digest) == (
        job.name,
        request.model.id,
        request.data.digest,
    )
    assert (model.tags["team"], model.tags["made-by"]) == ("nlp", "phi-finetune")
    assert model.description == f"Phi-4:8, fine-tuned on facts by job {job.name}"
    (put,) = sent(fake_azure, "PUT", "*/models/*")
    properties = content(put)["properties"]
    assert (properties["modelType"], model.type) == ("mlflow_model", "mlflow_model")
    assert properties["modelUri"] == f"azureml://jobs/{job.name}/outputs/trained_model"


def test_registering_again_gives_the_same(fake_azure: FakeAzure) -> None:
    """One job is one version, whoever registers it."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    first = trained(fake_azure, ws)
    second = ws.job("tune").register("facts")
    assert first == second
    assert len(sent(fake_azure, "PUT", "*/models/*")) == 1
    assert [len(heard.of(kind)) for kind in (Created, AdoptedExisting)] == [1, 1]


def test_versions_of_other_jobs_do_not_collide(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Another job's model is another version of the name, and the one registered last is found by name."""
    one = trained(fake_azure, workspace, job="one")
    other = trained(fake_azure, workspace, job="other")
    assert one.name == other.name
    assert one.version != other.version
    assert workspace.model("facts") == other


def test_a_version_is_short_and_the_same_everywhere() -> None:
    """It is made from the job's name alone, and the service takes it as a number."""
    version = pf.FinetuneJob("phi-4-facts-0123456789", "Completed").model_version()
    assert version == pf.FinetuneJob("phi-4-facts-0123456789", "Running").model_version()
    assert 1 <= int(version) < 2**31
    assert version != pf.FinetuneJob("phi-4-facts-0123456789-2", "Completed").model_version()


def test_a_version_of_another_lineage_is_not_taken_over(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """Somebody else's model under that version is left alone, and the error says whose it is."""
    pipelines.start(fake_azure.cloud, "theirs")
    pipelines.start(fake_azure.cloud, "ours")
    workspace.job("theirs").wait()
    job = workspace.job("ours").wait()
    version = job.model_version()
    properties = {"modelType": "mlflow_model", "modelUri": "azureml://jobs/theirs/outputs/trained_model"}
    path = f"models/facts/versions/{version}"
    assert ask(fake_azure.cloud, "PUT", path, {"properties": properties}).status == 201
    with pytest.raises(NameTaken, match="something that it does not name, not by ours") as caught:
        job.register("facts")
    assert caught.value.resource == f"model facts:{version}"
    assert job.register("others").job == "ours"


def test_slashes_in_a_name_become_dashes(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A data set's name from the hub has one."""
    assert trained(fake_azure, workspace, name="HuggingFaceH4/ultrachat").name == "HuggingFaceH4-ultrachat"


def test_a_job_of_another_tool_can_be_registered(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Its base model is read from its inputs, its data is not known."""
    pipelines.start(fake_azure.cloud, "tune")
    model = workspace.job("tune").wait().register()
    assert model.name == "Phi-4-tune"
    assert (model.base_model, model.data_digest) == (pipelines.MODEL_ID, None)


def test_a_job_without_our_output_says_what_it_has(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Where the model lies under another name, that name is told."""
    body = pipelines.pipeline(fake_azure.cloud)
    ((_, node),) = body["properties"]["jobs"].items()
    node["outputs"]["mlflow_model_folder"]["value"] = "${{parent.outputs.weights}}"
    body["properties"]["outputs"] = {"weights": {"mode": "ReadWriteMount", "jobOutputType": "mlflow_model"}}
    assert ask(fake_azure.cloud, "PUT", "jobs/tune", body).status == 201
    with pytest.raises(NotFound, match="its outputs are weights"):
        workspace.job("tune").wait().register("facts")


# Downloading


def test_a_model_is_downloaded_whole(fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path) -> None:
    """All its files are there, with their folders, and nothing else is left beside them."""
    model = trained(fake_azure, workspace)
    folder = model.download(tmp_path / "models")
    assert folder == tmp_path / "models" / f"facts-{model.version}"
    assert (folder / "MLmodel").read_text(encoding="utf-8")
    stored = fake_azure.cloud.assets.model_files(model.id)
    assert {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } == (dict(stored))
    assert [path.name for path in (tmp_path / "models").iterdir()] == [folder.name]


def test_a_download_replaces_nothing(fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path) -> None:
    """A folder that is there already is left as it is."""
    model = trained(fake_azure, workspace)
    model.download(tmp_path)
    with pytest.raises(InvalidParameter, match="is there already") as caught:
        model.download(tmp_path)
    assert (caught.value.name, caught.value.resource) == ("folder", model.resource)


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "a\\..\\out.txt", "c:out.txt"])
def test_a_file_that_would_leave_the_folder_is_refused(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path, name: str
) -> None:
    """A model whose files have such names is not downloaded at all."""
    model = trained(fake_azure, workspace)
    fake_azure.cloud.storage.put(f"azureml/tune/trained_model/{name}", b"x")
    with pytest.raises(UnexpectedAnswer, match="out of its folder"):
        model.download(tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_model_without_files_is_told(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """An empty place is not an empty model."""
    uri = "azureml://datastores/workspaceblobstore/paths/nothing/here/"
    body = {"properties": {"modelType": "mlflow_model", "modelUri": uri}}
    assert ask(fake_azure.cloud, "PUT", "models/empty/versions/1", body).status == 201
    with pytest.raises(NotFound, match="has no files"):
        workspace.model("empty").download(tmp_path)


def test_a_model_in_another_store_is_not_guessed_at(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """Only the default store's files are known here; another address is named."""
    model = workspace.attach(pf.RegisteredModel("far", "1", "azureml://datastores/mine/paths/x"))
    with pytest.raises(UnexpectedAnswer, match="not in the workspace's blob store"):
        model.download(tmp_path)


def test_a_model_is_deployed_by_its_id(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The deployment names the version, and keeps the lineage."""
    model = trained(fake_azure, workspace)
    endpoint = model.deploy(instance_type=SIZE)
    (deployment,) = fake_azure.endpoints[endpoint.name].deployments.values()
    assert deployment.model == model.id
    assert deployment.spec.tags["phi-finetune.job"] == "tune"
