from __future__ import annotations

from typing import Any

import pytest
from asking import Answer, ask
from hypothesis import given
from hypothesis import strategies as st
from making import COMMAND, put_code, put_component, put_environment, versions

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.errors import ServiceError

PIPELINE = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud with the environment that the components name."""
    cloud = Cloud()
    put_environment(cloud)
    return cloud


def spec(answer: Answer) -> dict[str, Any]:
    """The component's spec in an answer."""
    found: dict[str, Any] = answer.body["properties"]["componentSpec"]
    return found


def inner(answer: Answer) -> list[str]:
    """The chain of inner error codes of a refusal."""
    notes = {note["type"]: note["info"]["value"] for note in answer.body["error"]["additionalInfo"]}
    codes, error = [], notes["InnerError"]
    while error:
        codes.append(error["code"])
        error = error["innerError"]
    return codes


def test_what_the_service_makes_of_a_spec(cloud: Cloud) -> None:
    """Numbers and booleans become texts, inputs tell whether they are optional, one node is asked for."""
    made = put_component(cloud, body={"tags": {"team": "nlp"}}, description="trains", _source="CLASS")
    assert made.status == 201
    kept = spec(made)
    assert kept["is_deterministic"] == "True"
    assert kept["inputs"]["epochs"] == {"type": "integer", "default": "3", "optional": "False"}
    assert kept["inputs"]["data"]["optional"] == "True"
    assert kept["resources"] == {"instance_count": "1"}
    assert kept["environment"] == f"azureml:{cloud.assets.environment('tools:1').id}"
    assert "_source" not in kept
    assert (made.body["properties"]["description"], kept["description"]) == (None, "trains")
    assert made.body["properties"]["tags"] == {"team": "nlp"}
    assert "lastModifiedBy" in made.body["systemData"]


def test_a_curated_environment_becomes_the_registrys(cloud: Cloud) -> None:
    """A short name, or the workspace's id, of a curated environment is kept as the registry's id (service.md)."""
    whole = "azureml://registries/azureml/environments/sklearn-1.5/versions/1"
    arm_id = f"azureml:{cloud.arm_id('environments', 'sklearn-1.5', 'versions', '1')}"
    for number, reference in enumerate(
        ("azureml:sklearn-1.5:1", arm_id, "azureml:sklearn-1.5@latest", whole)
    ):
        assert spec(put_component(cloud, version=str(number), environment=reference))["environment"] == whole


@pytest.mark.parametrize("change", [{"command": "echo"}, {"inputs": {}}, {"is_deterministic": False}])
def test_what_cannot_change(cloud: Cloud, change: dict[str, Any]) -> None:
    """A version that would change is a 400 that names the field, and stays as it was."""
    put_component(cloud)
    refused = put_component(cloud, **change)
    field = next(iter(change))
    assert (refused.status, refused.message) == (
        400,
        f'Failed to update component train since field "{field}" is immutable, try specifying a new version.',
    )
    assert inner(refused) == ["BadArgument", "ArgumentInvalid", "UpdateComponentFailed"]
    assert cloud.assets.component("train:1").spec["command"] == COMMAND["command"]


def test_other_code_under_the_same_version(cloud: Cloud) -> None:
    """The service's own example: new code needs a new version."""
    first, second = (put_code(cloud, {"a.py": b""}, name).body["id"] for name in ("one", "two"))
    assert put_component(cloud, code=f"azureml:{first}").status == 201
    refused = put_component(cloud, code=f"azureml:{second}")
    assert 'since field "code" is immutable' in refused.message


def test_what_can_change(cloud: Cloud) -> None:
    """Description, display name, tags and the archive flag of a version change (200)."""
    put_component(cloud)
    changed = put_component(
        cloud, body={"tags": {"a": "1"}, "isArchived": True}, description="better", display_name="Train"
    )
    assert changed.status == 200
    assert (spec(changed)["description"], spec(changed)["display_name"]) == ("better", "Train")
    assert changed.body["properties"]["tags"] == {"a": "1"}
    assert versions(ask(cloud, "GET", "components/train/versions")) == []
    assert versions(ask(cloud, "GET", "components/train/versions?listViewType=ArchivedOnly")) == ["1"]


def test_names_and_versions(cloud: Cloud) -> None:
    """The list is the newest first; the default version is the latest active one; the next is a number more."""
    for version in ("1", "7", "3"):
        put_component(cloud, version=version)
    assert versions(ask(cloud, "GET", "components/train/versions")) == ["3", "7", "1"]
    assert ask(cloud, "GET", "components/train/versions/azureml_default").body["name"] == "3"
    put_component(cloud, version="3", body={"isArchived": True})
    assert ask(cloud, "GET", "components/train/versions/azureml_default").body["name"] == "7"
    assert ask(cloud, "GET", "components/train").body["properties"]["nextVersion"] == "8"
    assert ask(cloud, "GET", "components/other/versions/azureml_default").status == 404


def test_an_anonymous_component_keeps_its_first_guid(cloud: Cloud) -> None:
    """The same content gives the same guid back, whatever guid and name the client made up (service.md)."""
    anonymous = {"isAnonymous": True}
    first = put_component(cloud, "azureml_anonymous", "guid-1", body=anonymous)
    again = put_component(cloud, "azureml_anonymous", "guid-2", body=anonymous)
    assert (first.status, again.status) == (201, 200)
    assert again.body == first.body
    other = put_component(cloud, "azureml_anonymous", "guid-2", body=anonymous, command="echo")
    assert other.body["name"] == "guid-2"
    assert len(cloud.assets.components()["azureml_anonymous"]) == 2


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"command": ""}, 400),
        ({"command": None}, 400),
        ({"environment": None}, 400),
        ({"environment": "azureml:nothing:1"}, 400),
        ({"code": "azureml:nothing:1"}, 400),
        ({"inputs": ["epochs"]}, 400),
        ({"type": "sweep"}, 501),
        ({"type": "parallel"}, 501),
        ({"type": None}, 501),
    ],
    ids=str,
)
def test_what_is_no_component(cloud: Cloud, change: dict[str, Any], status: int) -> None:
    """What a component names must be there, and its type must be one that the emulator runs."""
    assert put_component(cloud, **change).status == status
    assert cloud.assets.components() == {}
    assert len(cloud.unrouted) == (status == 501)


def test_a_pipeline_of_components(cloud: Cloud) -> None:
    """The jobs of a pipeline component name components that are there, in the workspace or in a registry."""
    arm_id = put_component(cloud).body["id"]
    jobs = {
        "train": {"type": "command", "componentId": arm_id, "resources": {"instance_count": 2}},
        "finetune": {"type": "pipeline", "componentId": PIPELINE},
    }
    pipeline = {"type": "pipeline", "command": None, "environment": None}
    made = put_component(cloud, "both", **pipeline, jobs=jobs)
    assert made.status == 201
    assert spec(made)["jobs"]["train"]["resources"] == {"instance_count": "2"}
    assert "resources" not in spec(made)
    lost = {"train": {"type": "command", "componentId": arm_id.replace("train", "nothing")}}
    refused = put_component(cloud, "lost", **pipeline, jobs=lost)
    assert (refused.status, "component of job train" in refused.message) == (400, True)


def test_lookup_for_other_families(cloud: Cloud) -> None:
    """A job finds a component by ARM id in any case, by short name, and in a registry."""
    arm_id = put_component(cloud).body["id"]
    for reference in (arm_id, f"azureml:{arm_id}", arm_id.replace("/components/", "/Components/"), "train:1"):
        found = cloud.assets.component(reference)
        assert (found.id, found.name, found.version) == (arm_id, "train", "1")
    assert cloud.assets.component(PIPELINE).spec["type"] == "pipeline"
    for missing in ("train:2", "azureml:other:1", PIPELINE.replace("0.0.82", "9.9.9")):
        with pytest.raises(ServiceError) as refused:
            cloud.assets.component(missing)
        assert refused.value.status == 404


JSON = st.recursive(
    st.text(max_size=5) | st.integers() | st.booleans(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc_", min_size=1, max_size=6), JSON, max_size=4))
def test_what_is_read_can_be_put_again(more: dict[str, Any]) -> None:
    """A spec that the service gave, put as it is, changes nothing: so the client archives."""
    cloud = Cloud(Settings(seed=1))
    put_environment(cloud)
    first = put_component(cloud, **{f"x_{key}": value for key, value in more.items()})
    again = ask(cloud, "PUT", "components/train/versions/1", {"properties": first.body["properties"]})
    assert (first.status, again.status) == (201, 200)
    assert spec(again) == spec(first)
    assert not {type(value) for value in leaves(spec(first))} - {str}


def leaves(value: Any) -> list[Any]:
    """The values in a nest of lists and objects."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return [leaf for each in inside for leaf in leaves(each)]
    return [value]
