from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipelines
import pytest
from azure.core.exceptions import ClientAuthenticationError
from tuning import SIZE, Heard, data, deployed, trained

import phi_finetune as pf
from phi_finetune.credentials import Given
from phi_finetune.errors import AuthenticationFailed, ConfigurationError, NotFound
from phi_finetune.events import CredentialChosen
from phi_finetune.testing import FakeAzure

NAMES = ("subscription_id", "resource_group", "name")
SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
VARIABLES = {
    "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
    "AZURE_RESOURCE_GROUP": "group",
    "AZUREML_WORKSPACE_NAME": "place",
}


def config(folder: Path, **changes: str) -> Path:
    """Write a ``config.json`` as the studio gives it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    content = {"subscription_id": SUBSCRIPTION, "resource_group": "group", "workspace_name": "place"}
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def named(workspace: pf.Workspace) -> tuple[str, str, str]:
    """The three names of a workspace."""
    return workspace.subscription_id, workspace.resource_group, workspace.name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder, two below the test's own."""
    folder = tmp_path / "project" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


# Which workspace


def test_arguments_name_the_workspace(here: Path) -> None:
    """Three arguments are enough, and nothing is asked."""
    workspace = pf.Workspace.connect(
        subscription_id=SUBSCRIPTION, resource_group="group", workspace_name="place"
    )
    assert named(workspace) == (SUBSCRIPTION, "group", "place")


def test_the_environment_names_it_where_arguments_do_not(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over the variable of the same setting."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert named(pf.Workspace.connect()) == (SUBSCRIPTION, "group", "place")
    assert pf.Workspace.connect(workspace_name="other").name == "other"


def test_inside_a_job_azure_names_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that Azure ML sets in its jobs do as well."""
    monkeypatch.setenv("AZUREML_ARM_SUBSCRIPTION", SUBSCRIPTION)
    monkeypatch.setenv("AZUREML_ARM_RESOURCEGROUP", "group")
    monkeypatch.setenv("AZUREML_ARM_WORKSPACE_NAME", "place")
    assert named(pf.Workspace.connect()) == (SUBSCRIPTION, "group", "place")


@pytest.mark.parametrize("folder", [".", ".azureml", "..", "../.azureml", "../.."])
def test_a_config_is_found_from_where_one_is(here: Path, folder: str) -> None:
    """The studio's file is found in the current folder, in those above it, and in their ``.azureml``."""
    config(here / folder)
    assert named(pf.Workspace.connect()) == (SUBSCRIPTION, "group", "place")


def test_the_nearest_config_counts(here: Path) -> None:
    """A file further up is not read where one is nearer."""
    config(here.parent, workspace_name="far")
    config(here.parent / ".azureml", workspace_name="middle")
    assert pf.Workspace.connect().name == "middle"
    config(here, workspace_name="near")
    assert pf.Workspace.connect().name == "near"


def test_a_config_that_is_named_counts_more_than_the_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is named gives what no argument does; the environment only what neither gives."""
    path = config(here / "elsewhere", resource_group="from-file")
    monkeypatch.setenv("AZURE_RESOURCE_GROUP", "from-environment")
    workspace = pf.Workspace.connect(config=str(path), workspace_name="argument")
    assert named(workspace) == (SUBSCRIPTION, "from-file", "argument")


def test_a_config_that_is_found_fills_gaps(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is found, and not named, gives what neither argument nor environment does."""
    config(here, resource_group="from-file")
    monkeypatch.setenv("AZUREML_WORKSPACE_NAME", "from-environment")
    assert named(pf.Workspace.connect()) == (SUBSCRIPTION, "from-file", "from-environment")


def test_missing_names_are_named(here: Path) -> None:
    """Where nothing says which workspace, the error says what is missing and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        pf.Workspace.connect(resource_group="group")
    assert "subscription_id, workspace_name missing" in str(caught.value)
    assert "config.json" in (caught.value.next_call or "")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"workspace_name": "<WORKSPACE_NAME>"}, "workspace_name is a placeholder: '<WORKSPACE_NAME>'"),
        ({"resource_group": "  "}, "resource_group is a placeholder"),
        ({"subscription_id": "my-subscription"}, "'my-subscription' is no subscription id"),
    ],
)
def test_a_template_that_was_not_filled_in_is_noticed(here: Path, changes: dict[str, str], told: str) -> None:
    """A placeholder is refused before anything is sent."""
    config(here, **changes)
    with pytest.raises(ConfigurationError, match=told):
        pf.Workspace.connect()


@pytest.mark.parametrize(("text", "why"), [("{", "it is not JSON"), ("[1]", "holds no object")])
def test_a_config_that_is_none_is_named(here: Path, text: str, why: str) -> None:
    """The error names the file."""
    (here / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=why) as caught:
        pf.Workspace.connect()
    assert caught.value.resource == f"file {here / 'config.json'}"


def test_a_config_that_is_not_there_is_named(here: Path) -> None:
    """A file that was named must be there."""
    with pytest.raises(ConfigurationError, match="No such file"):
        pf.Workspace.connect(config=here / "mine.json")


def test_connecting_asks_nobody(fake_azure: FakeAzure) -> None:
    """Neither connecting nor describing a cluster sends a request or asks for a token."""
    workspace = fake_azure.workspace()
    workspace.gpu_compute("gpu", size=SIZE)
    assert workspace.id.endswith("/workspaces/phi-lab")
    assert (len(fake_azure.journal), fake_azure.credential.requested) == (0, [])


# Signing in


class Signpost:
    """A credential that gives no token."""

    def get_token(self, *scopes: str, **options: Any) -> Any:
        raise ClientAuthenticationError("Nobody is signed in")


def test_a_credential_that_gives_no_token_fails_at_the_first_verb(fake_azure: FakeAzure) -> None:
    """Connecting works, the first verb says that nobody is signed in, and nothing was sent."""
    workspace = pf.Workspace.connect(
        subscription_id=fake_azure.subscription_id,
        resource_group=fake_azure.resource_group,
        workspace_name=fake_azure.workspace_name,
        credential=Signpost(),
    )
    with pytest.raises(AuthenticationFailed) as caught:
        workspace.jobs()
    assert "Nobody is signed in" in str(caught.value)
    assert "connect()" in (caught.value.next_call or "")
    assert len(fake_azure.journal) == 0


def test_a_policy_is_asked_once(fake_azure: FakeAzure) -> None:
    """Signing in is done at the first request, once, and told as an event."""
    heard = Heard()
    workspace = pf.Workspace.connect(
        subscription_id=fake_azure.subscription_id,
        resource_group=fake_azure.resource_group,
        workspace_name=fake_azure.workspace_name,
        credential=Given(fake_azure.credential),
        on_event=heard,
    )
    assert heard == []
    workspace.jobs()
    workspace.endpoints()
    assert len(heard.of(CredentialChosen)) == 1


# A workspace that is not there


@pytest.mark.parametrize("changes", [{"workspace_name": "nowhere"}, {"resource_group": "nobodys"}])
@pytest.mark.parametrize(
    "verb",
    [
        lambda ws: ws.gpu_compute("gpu", size=SIZE).ensure(),
        lambda ws: ws.gpu_compute("gpu").refresh(),
        lambda ws: ws.gpu_skus(),
        lambda ws: ws.jobs(),
        lambda ws: ws.job("tune"),
        lambda ws: ws.model("facts"),
        lambda ws: ws.model("facts", version="1"),
        lambda ws: ws.models(),
        lambda ws: ws.endpoint("answers"),
    ],
)
def test_a_wrong_workspace_is_not_found_at_the_first_verb(
    fake_azure: FakeAzure, changes: dict[str, str], verb: Callable[[pf.Workspace], object]
) -> None:
    """An absent workspace is never read as an absent cluster, job, model or endpoint."""
    workspace = pf.Workspace.connect(
        subscription_id=fake_azure.subscription_id,
        resource_group=changes.get("resource_group", fake_azure.resource_group),
        workspace_name=changes.get("workspace_name", fake_azure.workspace_name),
        credential=fake_azure.credential,
        clock=fake_azure.clock,
    )
    with pytest.raises(NotFound, match="Could not find the workspace") as caught:
        verb(workspace)
    (wrong,) = changes.values()
    assert wrong in (caught.value.resource or "")
    assert wrong in (caught.value.why or "")
    assert "connect()" in (caught.value.next_call or "")
    assert [entry.method for entry in fake_azure.journal] == ["GET"]


# What is there


def test_lists_hold_what_was_made(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Jobs, models, endpoints and sizes are listed; a new workspace has none but the sizes."""
    assert (workspace.jobs(), workspace.models(), workspace.endpoints()) == ((), (), ())
    endpoint = deployed(fake_azure, workspace)
    assert [job.name for job in workspace.jobs()] == ["tune"]
    assert [(model.name, model.job) for model in workspace.models()] == [("facts", "tune")]
    assert workspace.endpoints() == (endpoint,)
    sizes = {sku.name: sku for sku in workspace.gpu_skus()}
    assert (sizes[SIZE].gpus, sizes[SIZE].cores, sizes[SIZE].gpu_memory_gib) == (1, 24, 80)


def test_things_are_looked_up_by_name(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Job, model and endpoint come back equal to what the verbs gave."""
    model = trained(fake_azure, workspace)
    endpoint = model.deploy(instance_type=SIZE)
    assert workspace.job("tune").status == "Completed"
    assert workspace.model("facts") == workspace.model("facts", version=model.version) == model
    assert workspace.endpoint(endpoint.name) == endpoint


@pytest.mark.parametrize(
    ("look", "resource"),
    [
        (lambda ws: ws.job("nobody"), "job nobody"),
        (lambda ws: ws.model("nobody"), "model nobody:latest"),
        (lambda ws: ws.model("nobody", version="3"), "model nobody:3"),
        (lambda ws: ws.endpoint("nobody"), "endpoint nobody"),
        (lambda ws: ws.gpu_compute("nobody").refresh(), "cluster nobody"),
    ],
)
def test_what_is_absent_is_named(workspace: pf.Workspace, look: Any, resource: str) -> None:
    """Absence is one error, with the name and the next call."""
    with pytest.raises(NotFound) as caught:
        look(workspace)
    assert (caught.value.resource, caught.value.status_code) == (resource, 404)
    assert caught.value.next_call


def test_an_archived_job_is_not_listed(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Lists leave out what was archived; looking it up by name still works."""
    pipelines.start(fake_azure.cloud, "old", isArchived=True)
    pipelines.start(fake_azure.cloud, "new")
    assert [job.name for job in workspace.jobs()] == ["new"]
    assert workspace.job("old").name == "old"


# Clients that are brought along


def test_a_client_of_azure_ai_ml_gives_names_and_credential(fake_azure: FakeAzure) -> None:
    """The workspace is the client's, signed in with its credential; requests go through our transport."""
    workspace = pf.Workspace.from_clients(fake_azure.ml_client(), clock=fake_azure.clock)
    assert named(workspace) == (fake_azure.subscription_id, "phi-lab", "phi-lab")
    assert fake_azure.credential.requested == []
    assert workspace.jobs() == ()
    assert fake_azure.credential.requested


def test_a_registry_client_says_where_models_are_looked_up(fake_azure: FakeAzure) -> None:
    """Models come from the registry of the second client, where no other is named."""
    clients = fake_azure.ml_client(), fake_azure.ml_client(registry_name="azureml-phi")
    workspace = pf.Workspace.from_clients(*clients, clock=fake_azure.clock)
    assert workspace.foundation_model("Phi-4").registry == "azureml-phi"
    assert workspace.foundation_model("Phi-4", registry="azureml").registry == "azureml"


def test_the_second_client_is_a_registrys(fake_azure: FakeAzure) -> None:
    """A workspace's client in its place is refused."""
    with pytest.raises(ConfigurationError, match="belongs to a workspace"):
        pf.Workspace.from_clients(fake_azure.ml_client(), fake_azure.ml_client())


class Pretender:
    """What says of itself that it is an MLClient, as a mock with a spec does."""

    workspace_name = "phi-lab"

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        from azure.ai.ml import MLClient

        return MLClient


def test_a_mock_is_refused_and_the_fake_named() -> None:
    """A stand-in for a client is refused; the error says what to test with."""
    with pytest.raises(ConfigurationError, match="Pretender") as caught:
        pf.Workspace.from_clients(Pretender())  # type: ignore[arg-type]
    assert "FakeAzure" in (caught.value.next_call or "")


def test_a_client_of_a_registry_is_refused(fake_azure: FakeAzure) -> None:
    """A registry's client has no workspace."""
    with pytest.raises(ConfigurationError, match="belongs to a registry"):
        pf.Workspace.from_clients(fake_azure.ml_client(registry_name="azureml"))


def test_an_mlflow_client_is_a_real_one(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It reads the job's run, and MLflow's global tracking address stays as it was."""
    import mlflow

    before = mlflow.get_tracking_uri()
    pipelines.start(fake_azure.cloud, "tune")
    workspace.job("tune").wait()
    client = workspace.mlflow_client()
    assert type(client).__module__.startswith("mlflow")
    assert client.get_run("tune").info.status == "FINISHED"
    assert mlflow.get_tracking_uri() == before


# Pickles


def things(azure: FakeAzure, workspace: pf.Workspace) -> list[Any]:
    """One object of each kind that has a handle."""
    model = trained(azure, workspace)
    base = workspace.foundation_model("Phi-4")
    cluster = workspace.gpu_compute("gpu", size=SIZE).ensure()
    job = workspace.job("tune")
    endpoint = model.deploy(instance_type=SIZE)
    return [base, cluster, job, job.metrics(), model, endpoint]


def test_what_a_workspace_gave_is_pickled_without_it(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A copy is equal, has no connection, holds no secret, and works once it is attached again."""
    for thing in (workspace, *things(fake_azure, workspace)):
        pickled = pickle.dumps(thing)
        copy = pickle.loads(pickled)
        assert copy == thing
        assert hash(copy) == hash(thing)
        assert "client" not in repr(thing)
        assert copy._client is None
        assert workspace.attach(copy)._client is workspace._client
        assert fake_azure.client_secret.encode() not in pickled
        assert b"Bearer" not in pickled


def test_a_copy_says_how_it_is_revived(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A verb of an unpickled object says that it needs a workspace; attached, the verb works."""
    pipelines.start(fake_azure.cloud, "tune")
    copy = pickle.loads(pickle.dumps(workspace.job("tune")))
    with pytest.raises(ConfigurationError, match="not attached") as caught:
        copy.wait()
    assert "attach" in (caught.value.next_call or "")
    assert workspace.attach(copy).wait().status == "Completed"


def test_a_finetune_that_was_pickled_can_be_submitted(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Attaching a fine-tune is enough, also where its cluster is not there yet."""
    cluster = workspace.gpu_compute("gpu", size=SIZE)
    tune = workspace.foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample()).on(cluster)
    copy = pickle.loads(pickle.dumps(tune))
    assert copy == tune
    assert workspace.attach(copy).submit().name == tune.job_name()
    assert list(fake_azure.computes) == ["gpu"]


def test_a_workspace_shows_its_names_alone(fake_azure: FakeAzure) -> None:
    """Equality, hash and repr are those of the names."""
    one, other = fake_azure.workspace(), fake_azure.workspace()
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one).count("=") == len([*NAMES, "registry"])


def test_the_environment_of_tests_is_clean() -> None:
    """No variable of the machine's own account leads a test anywhere."""
    assert [name for name in os.environ if name.startswith(("AZURE_", "MSI_", "IDENTITY_"))] == []


def test_data_has_no_connection(workspace: pf.Workspace) -> None:
    """A data set belongs to no workspace, so it goes through a pickle as it is."""
    dataset = pf.ChatDataset.from_sample()
    assert pickle.loads(pickle.dumps(dataset)).digest == dataset.digest
    assert data().digest == data("renamed").digest
