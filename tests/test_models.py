from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import attrs
import pytest
from tuning import data, sent

import phi_finetune as pf
from phi_finetune.emulator.catalogue import Generation, registry_models
from phi_finetune.errors import InvalidParameter, ModelRetired, NotFound, SizeNotAllowed
from phi_finetune.models import from_registry
from phi_finetune.testing import FakeAzure

PHI_4 = "azureml://registries/azureml/models/Phi-4/versions/8"


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeAzure]:
    """A fake of which these tests only read the registries."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def ws(shared: FakeAzure) -> pf.Workspace:
    """A new connection to it, which remembers nothing."""
    return shared.workspace()


# Looking up


def test_the_latest_version_is_taken_unless_one_is_named(ws: pf.Workspace) -> None:
    """A version that was named is pinned, the latest is not."""
    latest, named = ws.foundation_model("Phi-4"), ws.foundation_model("Phi-4", version="7")
    assert (latest.version, latest.pinned) == ("8", False)
    assert (named.version, named.pinned) == ("7", True)


@pytest.mark.parametrize(
    ("name", "version", "pinned"),
    [
        (PHI_4, "8", True),
        ("azureml://registries/azureml-phi/models/Phi-4/versions/7", "7", True),
        ("azureml://registries/azureml/models/Phi-4", "8", False),
    ],
)
def test_an_asset_id_names_a_model(ws: pf.Workspace, name: str, version: str, pinned: bool) -> None:
    """Registry, name and version are taken from the id."""
    model = ws.foundation_model(name)
    assert (model.name, model.version, model.pinned) == ("Phi-4", version, pinned)
    assert name.startswith(f"azureml://registries/{model.registry}/")


def test_another_registry_can_be_named(ws: pf.Workspace) -> None:
    """The Phi models are also in a registry of their own; an id says which one is meant."""
    model = ws.foundation_model("Phi-4", registry="azureml-phi")
    assert model.id == "azureml://registries/azureml-phi/models/Phi-4/versions/8"


def test_a_model_is_asked_for_once(shared: FakeAzure) -> None:
    """Discovery, the latest version and its facts take three requests; a version looked up again takes none."""
    ws = shared.workspace()
    before = len(shared.journal)
    model = ws.foundation_model("Phi-4")
    assert len(shared.journal) - before == 3
    ws.foundation_model(model.id)
    assert len(shared.journal) - before == 3


def test_models_that_can_be_tuned_for_chat_are_listed(ws: pf.Workspace) -> None:
    """Retired models, and those for other tasks, are left out."""
    assert [model.name for model in ws.foundation_models()] == ["Phi-4"]


@pytest.mark.parametrize(("name", "near"), [("Phi4", "Phi-4"), ("phi-2", "microsoft-phi-2")])
def test_an_unknown_model_has_near_ones(ws: pf.Workspace, name: str, near: str) -> None:
    """A misspelt name is answered with what comes near."""
    with pytest.raises(NotFound) as caught:
        ws.foundation_model(name)
    assert caught.value.resource == f"model {name}:latest in registry azureml"
    assert "did you mean" in str(caught.value)
    assert near in (caught.value.next_call or "")


def test_an_unknown_model_with_nothing_near(ws: pf.Workspace) -> None:
    """Where nothing comes near, the error says how to list what there is."""
    with pytest.raises(NotFound, match=r"ws\.foundation_models\(\)"):
        ws.foundation_model("Zebra")


def test_an_unknown_version_has_those_that_exist(ws: pf.Workspace) -> None:
    """A version that is not there is answered with those that are."""
    with pytest.raises(NotFound, match="versions that exist: 8, 7"):
        ws.foundation_model("Phi-4", version="99")


def test_an_unknown_registry_is_named(ws: pf.Workspace) -> None:
    """A registry that is not there is what is not found, rather than the model."""
    with pytest.raises(NotFound) as caught:
        ws.foundation_model("Phi-4", registry="mine")
    assert caught.value.resource == "registry mine"
    assert caught.value.next_call


# Retired models


def test_a_retired_model_names_its_successor(ws: pf.Workspace) -> None:
    """A model whose versions are all archived is retired, and not merely absent."""
    with pytest.raises(ModelRetired) as caught:
        ws.foundation_model("Phi-3-mini-4k-instruct")
    assert caught.value.successor == "Phi-4"
    assert "its versions (15, 13) are all archived" in str(caught.value)
    assert caught.value.next_call == 'use its successor: ws.foundation_model("Phi-4")'


@pytest.mark.parametrize(
    ("version", "why"), [("13", "the registry has archived it"), ("15", "it retired on 2025-08-30")]
)
def test_a_retired_version_is_found_and_not_tuned(ws: pf.Workspace, version: str, why: str) -> None:
    """By its version it can still be looked at; fine-tuning it is refused with the reason and the successor."""
    model = ws.foundation_model("Phi-3-mini-4k-instruct", version=version)
    assert model.archived
    with pytest.raises(ModelRetired, match=why) as caught:
        model.finetune(data())
    assert caught.value.successor == "Phi-4"


def test_a_model_that_retired_by_date_alone_is_not_tuned(ws: pf.Workspace) -> None:
    """The date counts, although the registry still lists the model."""
    model = ws.foundation_model("Phi-3-small-8k-instruct")
    assert not model.archived
    with pytest.raises(ModelRetired, match="2025-08-30"):
        model.finetune(data())


def test_a_retirement_begins_on_its_day(ws: pf.Workspace) -> None:
    """The day before, the model is good; on the day it is not."""
    model = ws.foundation_model("Phi-3-small-8k-instruct")
    model.check_finetunable(date(2025, 8, 29))
    with pytest.raises(ModelRetired):
        model.check_finetunable(date(2025, 8, 30))


def test_a_model_for_another_task_is_not_tuned_for_chat(ws: pf.Workspace) -> None:
    """What the registry lists for text generation is refused, with what it is listed for."""
    model = attrs.evolve(ws.foundation_model("microsoft-phi-2"), finetune_retires_on=None, archived=False)
    with pytest.raises(InvalidParameter, match="text-generation") as caught:
        model.finetune(data())
    assert caught.value.name == "model"


# The three generations of metadata


def facts(generation: Generation, name: str, version: str) -> pf.FoundationModel:
    """A model read from the registry's answer in one generation's form."""
    (row,) = [row for row in registry_models(generation) if (row.name, row.version) == (name, version)]
    properties: dict[str, Any] = {
        "tags": row.tags,
        "properties": row.properties,
        "system_metadata": row.system_metadata,
        "isArchived": row.archived,
    }
    with FakeAzure() as azure:
        client = azure.workspace()._handle()
    body = {"id": f"azureml://registries/azureml/models/{name}/versions/{version}", "properties": properties}
    return from_registry(body, "azureml", client, pinned=False)


@pytest.mark.parametrize(
    ("name", "version", "generations"),
    [
        ("Phi-4", "8", ("both", "system")),
        ("Phi-3.5-mini-instruct", "6", ("both", "system")),
        ("Phi-3-small-8k-instruct", "6", ("both", "system")),
        ("Phi-3.5-vision-instruct", "2", ("tags", "both", "system")),
    ],
)
def test_every_generation_says_the_same(name: str, version: str, generations: tuple[Generation, ...]) -> None:
    """Sizes, tasks and dates do not depend on where the registry keeps them."""
    first, *others = (facts(generation, name, version) for generation in generations)
    assert first.inference_sizes
    for other in others:
        assert set(other.finetune_sizes) == set(first.finetune_sizes)
        assert set(other.inference_sizes) == set(first.inference_sizes)
        assert other.defaults == first.defaults


def test_the_oldest_generation_is_read_from_tags(ws: pf.Workspace) -> None:
    """Allow lists and defaults that are Python literals in tags become values."""
    model = ws.foundation_model("Phi-3-mini-4k-instruct", version="13")
    assert "Standard_NC24ads_A100_v4" in model.finetune_sizes
    assert "Standard_NC6s_v3" in model.inference_sizes
    assert model.defaults["deepspeed_stage"] == 2
    assert model.context_length == 4096


def test_bounds_among_the_defaults_are_kept(ws: pf.Workspace) -> None:
    """A model's defaults may hold keys that the pipeline does not declare."""
    model = ws.foundation_model("Phi-3-mini-4k-instruct", version="15")
    assert (model.defaults["learning_rate_min"], model.defaults["learning_rate_max"]) == ("5e-7", "5e-5")


def test_what_a_registry_writes_badly_is_left_out(shared: FakeAzure) -> None:
    """Tags that are no literals give no facts, and no error."""
    body = {
        "id": PHI_4,
        "properties": {
            "tags": {
                "finetune_compute_allow_list": "[__import__('os')]",
                "model_specific_defaults": "{'a': ",
                "textContextWindow": "many",
            }
        },
    }
    model = from_registry(body, "azureml", shared.workspace()._handle(), pinned=False)
    assert (model.finetune_sizes, model.defaults, model.context_length) == ((), {}, None)
    model.check_finetune_size("Standard_NC24ads_A100_v4")


# Sizes


def test_sizes_compare_without_case(ws: pf.Workspace) -> None:
    """Azure answers in upper case what the lists spell in mixed case."""
    model = ws.foundation_model("Phi-4")
    model.check_finetune_size("STANDARD_NC24ADS_A100_V4")
    model.check_inference_size("standard_nc24ads_a100_v4")


@pytest.mark.parametrize("check", ["check_finetune_size", "check_inference_size"])
def test_a_size_that_is_not_permitted_lists_those_that_are(ws: pf.Workspace, check: str) -> None:
    """The error names the model, the size asked for and every permitted one."""
    model = ws.foundation_model("Phi-4")
    with pytest.raises(SizeNotAllowed) as caught:
        getattr(model, check)("Standard_NC4as_T4_v3")
    assert caught.value.size == "Standard_NC4as_T4_v3"
    assert set(caught.value.allowed) in (set(model.finetune_sizes), set(model.inference_sizes))
    assert all(size in str(caught.value) for size in caught.value.allowed)


def test_equality_ignores_the_connection(shared: FakeAzure) -> None:
    """Two connections give equal models, with equal hashes."""
    one, other = (shared.workspace().foundation_model("Phi-4") for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert "client" not in repr(one)


def test_a_lookup_sends_nothing_that_changes_anything(fake_azure: FakeAzure) -> None:
    """Looking models up is reading alone."""
    list(fake_azure.workspace().foundation_models())
    assert sent(fake_azure, "GET", "*")
    assert {entry.method for entry in fake_azure.journal} == {"GET"}
