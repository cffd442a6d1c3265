from __future__ import annotations

from collections.abc import Iterator

import pytest
from asking import Answer, ask
from azure.ai.ml import MLClient
from azure.core.exceptions import ResourceNotFoundError

from phi_finetune.emulator.catalogue import registry_models
from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.identity.state import ML_AUDIENCE
from phi_finetune.testing import FakeAzure

PIPELINE = "chat_completion_pipeline"
COMPONENTS = "azureml://registries/azureml/components"
RETIRED = "Phi-3-mini-4k-instruct"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud."""
    return Cloud(Settings(region="westeurope"))


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def registry(azure: FakeAzure) -> MLClient:
    """A real client of the registry."""
    return azure.ml_client("azureml")


def look(cloud: Cloud, path: str, registry: str = "azureml") -> Answer:
    """Read a path below a registry's."""
    group = f"subscriptions/{cloud.subscription_id}/resourceGroups/registries"
    place = f"providers/Microsoft.MachineLearningServices/registries/{registry}"
    host = "https://cert-westeurope.experiments.azureml.net/mferp/managementfrontend"
    return ask(cloud, "GET", f"{host}/{group}/{place}/{path}")


def names(answer: Answer) -> list[str]:
    """The names of the items of a list."""
    return [item["name"] for item in answer.body["value"]]


def test_client_finds_models(registry: MLClient) -> None:
    """The real client lists models and versions, and gets the latest and an older one."""
    listed = [model.name for model in registry.models.list()]
    assert "Phi-4" in listed
    assert RETIRED not in listed
    assert [model.version for model in registry.models.list("Phi-4")] == ["8", "7"]
    latest = registry.models.get("Phi-4", label="latest")
    assert (latest.version, latest.type) == ("8", "mlflow_model")
    assert latest.id == "azureml://registries/azureml/models/Phi-4/versions/8"
    assert (
        registry.models.get(RETIRED, version="13")
        .tags["finetune_compute_allow_list"]
        .startswith("['Standard_")
    )


def test_client_finds_components(registry: MLClient) -> None:
    """The real client gets the pipeline as the latest, by version, and by no version at all."""
    latest = registry.components.get(PIPELINE, label="latest")
    assert (latest.version, len(latest.inputs)) == ("0.0.82", 69)
    assert "mlflow_model_folder" in latest.outputs
    assert registry.components.get(PIPELINE).id == latest.id
    assert registry.components.get(PIPELINE, version="0.0.80").version == "0.0.80"
    assert [one.name for one in registry.components.list()] == [PIPELINE]


def test_client_misses_what_is_not_there(azure: FakeAzure, registry: MLClient) -> None:
    """An unknown version and an unknown registry are not found, and an unknown name has no versions."""
    with pytest.raises(ResourceNotFoundError, match="Could not find asset with ID"):
        registry.models.get("Phi-4", version="999")
    with pytest.raises(ResourceNotFoundError):
        azure.ml_client("nowhere")
    assert list(registry.models.list("Phi-99")) == []


def test_discovery(cloud: Cloud) -> None:
    """Discovery names the subscription of the cloud and the region's host."""
    url = "https://eastus.api.azureml.ms/registrymanagement/v1.0/registries/azureml/discovery"
    found = ask(cloud, "GET", url).body
    assert found["subscriptionId"] == cloud.subscription_id
    assert found["primaryRegionResourceProviderUri"] == "https://cert-westeurope.experiments.azureml.net/"
    assert ask(cloud, "GET", url.replace("/azureml/", "/other/")).status == 404


def test_discovery_takes_either_audience(cloud: Cloud) -> None:
    """A token for ml.azure.com is good for discovery, and none is not."""
    url = "https://eastus.api.azureml.ms/registrymanagement/v1.0/registries/azureml/discovery"
    token, _ = cloud.identity.issue(ML_AUDIENCE)
    assert cloud.handle(Request("GET", url, {"authorization": f"Bearer {token}"})).status == 200
    assert cloud.handle(Request("GET", url, {})).status == 401


@pytest.mark.parametrize(
    ("view", "seen"),
    [
        ("", []),
        ("?listViewType=ActiveOnly", []),
        ("?listViewType=ListViewType.ACTIVE_ONLY", []),
        ("?listViewType=ArchivedOnly", ["15", "13"]),
        ("?listViewType=ListViewType.ALL", ["15", "13"]),
    ],
)
def test_views(cloud: Cloud, view: str, seen: list[str]) -> None:
    """Archived versions are left out unless asked for, in either spelling; the newest comes first."""
    assert names(look(cloud, f"models/{RETIRED}/versions{view}")) == seen


def test_archived_names(cloud: Cloud) -> None:
    """A name whose versions are all archived is listed among archived ones only."""
    assert RETIRED not in names(look(cloud, "models"))
    assert RETIRED in names(look(cloud, "models?listViewType=ArchivedOnly"))
    assert look(cloud, f"models/{RETIRED}").body["properties"]["isArchived"] is True


def test_order_and_top(cloud: Cloud) -> None:
    """The latest is the one made last; the order can be turned, and nothing else can be ordered by."""
    assert names(look(cloud, "models/Phi-4/versions?$orderBy=createdtime%20desc&$top=1")) == ["8"]
    assert names(look(cloud, "models/Phi-4/versions?$orderBy=createdtime%20asc")) == ["7", "8"]
    assert look(cloud, "models/Phi-4/versions?$orderBy=name").status == 400
    assert look(cloud, "models/Phi-4/versions?listViewType=Some").status == 400


def test_container(cloud: Cloud) -> None:
    """A name tells its latest and next version; an unknown one is a 404."""
    properties = look(cloud, "models/Phi-4").body["properties"]
    assert (properties["latestVersion"], properties["nextVersion"]) == ("8", "9")
    assert look(cloud, "models/Phi-99").status == 404


def test_model_body(cloud: Cloud) -> None:
    """A model's answer has what the client fails without, and its facts where the version keeps them."""
    new = look(cloud, "models/Phi-4/versions/8").body
    assert new["id"] == "azureml://registries/azureml/models/Phi-4/versions/8"
    assert new["properties"]["flavors"] == {}
    assert new["properties"]["system_metadata"]["textContextWindow"] == 16384
    old = look(cloud, f"models/{RETIRED}/versions/13").body["properties"]
    assert "system_metadata" not in old
    assert all(isinstance(value, str) for value in old["tags"].values())


def test_default_version_is_for_components(cloud: Cloud) -> None:
    """The name of the default version is understood of components, and of nothing else."""
    assert look(cloud, f"components/{PIPELINE}/versions/azureml_default").body["name"] == "0.0.82"
    assert look(cloud, "components/nothing/versions/azureml_default").status == 404
    assert look(cloud, "models/Phi-4/versions/azureml_default").status == 404


def test_vanity_registry(cloud: Cloud) -> None:
    """The second registry shows the models under its own ids, and no components; a third does not exist."""
    assert (
        look(cloud, "models/Phi-4/versions/8", "azureml-phi")
        .body["id"]
        .startswith("azureml://registries/azureml-phi/")
    )
    assert names(look(cloud, "components", "azureml-phi")) == []
    assert look(cloud, "models", "elsewhere").status == 404


def test_every_version_is_listed(cloud: Cloud) -> None:
    """All versions of the catalogue, archived or not, are found under their names."""
    expected = {(model.name, model.version) for model in registry_models()}
    models = names(look(cloud, "models?listViewType=All"))
    lists = {name: names(look(cloud, f"models/{name}/versions?listViewType=All")) for name in models}
    assert {(name, version) for name, versions in lists.items() for version in versions} == expected


def test_lookup_by_id(cloud: Cloud) -> None:
    """Jobs find a model or component by its id, of the right kind only."""
    model_id = "azureml://registries/azureml/models/Phi-4/versions/8"
    component_id = f"azureml://registries/azureml/components/{PIPELINE}/versions/0.0.82"
    assert cloud.registries.model(model_id).version == "8"
    assert cloud.registries.component(component_id).version == "0.0.82"
    for wrong in (component_id, "Phi-4", model_id.replace("/8", "/999")):
        with pytest.raises(ServiceError, match="Could not find asset"):
            cloud.registries.model(wrong)
    with pytest.raises(ServiceError, match="Could not find asset"):
        cloud.registries.component(model_id)


def test_a_newer_model_is_published(azure: FakeAzure, registry: MLClient) -> None:
    """A test can give a model a newer version, through both registries, in its own fake only."""
    azure.publish_model("Phi-4", version="9", like="8")
    latest = registry.models.get("Phi-4", label="latest")
    assert (latest.version, latest.tags) == ("9", registry.models.get("Phi-4", version="8").tags)
    assert [model.version for model in registry.models.list("Phi-4")] == ["9", "8", "7"]
    assert azure.ml_client("azureml-phi").models.get("Phi-4", version="9").version == "9"
    assert FakeAzure().cloud.registries.store("azureml").of("models", "Phi-4")[-1].version == "8"


def test_an_archived_model_comes_back(azure: FakeAzure, registry: MLClient) -> None:
    """A version that is like an archived one is active."""
    newest = azure.cloud.registries.store("azureml").of("models", RETIRED)[-1].version
    azure.publish_model(RETIRED, version="999", like=newest)
    assert [model.version for model in registry.models.list(RETIRED)] == ["999"]


def test_a_newer_component_is_published(azure: FakeAzure, registry: MLClient) -> None:
    """A test can give the pipeline a newer version, which the client then takes as the latest."""
    azure.publish_component(PIPELINE, version="0.0.83", like="0.0.82")
    for found in (registry.components.get(PIPELINE), registry.components.get(PIPELINE, label="latest")):
        assert found.version == "0.0.83"
    assets = azure.cloud.assets
    older, newer = (assets.component(f"{COMPONENTS}/{PIPELINE}/versions/{n}") for n in ("0.0.82", "0.0.83"))
    assert newer.spec == {**older.spec, "version": "0.0.83"}


def test_a_curated_environment_is_published(azure: FakeAzure) -> None:
    """The fake knows few of them, and takes what a test adds; the workspace sees it as its own."""
    name = "acpt-pytorch-2.8-cuda12.6"
    known = azure.ml_client().environments.get(name, label="latest").version
    azure.publish_environment(name, version="41", image="mcr.microsoft.com/azureml/curated/acpt:41")
    azure.publish_environment("AzureML-own", version="1")
    assert known != "41"
    assert azure.ml_client().environments.get(name, version="41").image.endswith("acpt:41")
    assert azure.ml_client("azureml").environments.get("AzureML-own", label="latest").version == "1"
    with pytest.raises(ValueError, match=r"a version '41' of .* already"):
        azure.publish_environment(name, version="41")


@pytest.mark.parametrize(
    ("name", "version", "like", "words"),
    [
        ("Phi-4", "9", "99", "no version '99' of 'Phi-4': 7, 8"),
        ("Phi-5", "1", "8", "no version '8' of 'Phi-5': none"),
        ("Phi-4", "8", "7", "a version '8' of 'Phi-4' already"),
    ],
)
def test_what_cannot_be_published(azure: FakeAzure, name: str, version: str, like: str, words: str) -> None:
    """A mistake in a test is told."""
    with pytest.raises(ValueError, match=words):
        azure.publish_model(name, version=version, like=like)
