from __future__ import annotations

from typing import Any

import pytest
from asking import ask
from making import IMAGE, put_environment, registry_url, versions

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.errors import ServiceError

CONDA = "name: tools\ndependencies:\n- python=3.11\n"
CURATED = "sklearn-1.5"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud."""
    return Cloud()


def test_what_an_environment_is(cloud: Cloud) -> None:
    """An answer has what was sent, and what the service fills in."""
    made = put_environment(cloud, condaFile=CONDA, description="tools", tags={"team": "nlp"})
    assert made.status == 201
    assert made.body["id"].endswith("/environments/tools/versions/1")
    properties = made.body["properties"]
    assert (properties["image"], properties["condaFile"]) == (IMAGE, CONDA)
    assert (properties["description"], properties["tags"]) == ("tools", {"team": "nlp"})
    assert (properties["osType"], properties["isArchived"], properties["isAnonymous"]) == (
        "Linux",
        False,
        False,
    )
    assert "build" not in properties


def test_an_environment_of_a_build_context(cloud: Cloud) -> None:
    """A build context has a Dockerfile, named so unless another name is sent."""
    context = {"contextUri": f"https://{cloud.storage.host}/some/context/"}
    assert put_environment(cloud, build=context).body["properties"]["build"] == {
        **context,
        "dockerfilePath": "Dockerfile",
    }
    named = put_environment(cloud, version="2", build={**context, "dockerfilePath": "gpu.Dockerfile"})
    assert named.body["properties"]["build"]["dockerfilePath"] == "gpu.Dockerfile"


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"image": IMAGE, "build": {"contextUri": "https://example.com/context/"}},
        {"build": {"contextUri": "https://example.com/context/"}, "condaFile": CONDA},
        {"build": {"dockerfilePath": "Dockerfile"}},
    ],
    ids=["nothing", "image and build", "build and conda", "no context"],
)
def test_what_is_no_environment(cloud: Cloud, sent: dict[str, Any]) -> None:
    """An environment is of an image or of a build context, and a conda file needs an image."""
    assert ask(cloud, "PUT", "environments/tools/versions/1", {"properties": sent}).status == 400
    assert cloud.assets.environments() == {}


@pytest.mark.parametrize("change", [{"image": "python:3.12"}, {"condaFile": CONDA}])
def test_a_definition_stays(cloud: Cloud, change: dict[str, str]) -> None:
    """A version's definition is refused with 409 where it would change; tags and description may."""
    put_environment(cloud)
    refused = put_environment(cloud, **change)
    assert (refused.status, refused.message[:19]) == (409, "An environment with")
    assert put_environment(cloud, description="better").body["properties"]["description"] == "better"
    assert cloud.assets.environments()["tools"][0].image == IMAGE


def test_reserved_names(cloud: Cloud) -> None:
    """Names that begin as the curated environments' do are theirs."""
    assert put_environment(cloud, "AzureML-mine").status == 400


def test_curated_environments_are_seen(cloud: Cloud) -> None:
    """A workspace lists the curated environments, and gives one by its name; they cannot be changed there."""
    put_environment(cloud)
    names = versions(ask(cloud, "GET", "environments"))
    assert names[0] == "tools"
    assert {CURATED, "acft-hf-nlp-gpu"} <= set(names)
    found = ask(cloud, "GET", f"environments/{CURATED}/versions?$orderBy=createdtime%20desc&$top=1")
    assert found.body["value"][0]["id"] == f"azureml://registries/azureml/environments/{CURATED}/versions/1"
    assert ask(cloud, "PUT", f"environments/{CURATED}", {"properties": {"isArchived": True}}).status == 404


def test_an_own_environment_hides_a_curated_one(cloud: Cloud) -> None:
    """A name that the workspace has is its own."""
    put_environment(cloud, CURATED, "1")
    assert ask(cloud, "GET", f"environments/{CURATED}/versions/1").body["properties"]["image"] == IMAGE
    assert cloud.assets.environment(f"azureml:{CURATED}:1").image == IMAGE
    assert versions(ask(cloud, "GET", "environments")).count(CURATED) == 1


def test_every_form_of_a_reference(cloud: Cloud) -> None:
    """Other families find an environment by ARM id, short name, label, asset id, and in a registry."""
    arm_id = put_environment(cloud).body["id"]
    newer = put_environment(cloud, version="2", image="python:3.12").body["id"]
    guid = f"azureml://locations/eastus/workspaces/{cloud.workspace.guid}"
    for reference in (arm_id, f"azureml:{arm_id}", arm_id.upper().replace("TOOLS", "tools"), "tools:1"):
        assert cloud.assets.environment(reference).id == arm_id
    for reference in ("azureml:tools@latest", "tools@latest", f"{guid}/environments/tools/versions/2"):
        assert cloud.assets.environment(reference).id == newer
    curated = f"azureml://registries/azureml/environments/{CURATED}/labels/latest"
    assert cloud.assets.environment(curated).image == f"mcr.microsoft.com/azureml/curated/{CURATED}:1"


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ("tools:2", 404),
        ("other@latest", 404),
        ("tools@newest", 404),
        ("azureml://registries/azureml/environments/sklearn-1.5/versions/999", 404),
        ("azureml://registries/elsewhere/environments/sklearn-1.5/versions/1", 404),
        ("azureml://registries/azureml/models/Phi-4/versions/8", 400),
        ("tools", 400),
        ("", 400),
    ],
)
def test_references_that_lead_nowhere(cloud: Cloud, reference: str, status: int) -> None:
    """What is not there is a 404; what names no environment is a 400."""
    put_environment(cloud)
    with pytest.raises(ServiceError) as refused:
        cloud.assets.environment(reference)
    assert refused.value.status == status


def test_the_curated_registry_is_read(cloud: Cloud) -> None:
    """The registry lists the curated environments; of data it has none."""
    found = ask(cloud, "GET", registry_url(cloud, "environments", "azureml"))
    assert CURATED in versions(found)
    assert versions(ask(cloud, "GET", registry_url(cloud, "environments", "azureml-phi"))) == []
    assert versions(ask(cloud, "GET", registry_url(cloud, "data", "azureml"))) == []
