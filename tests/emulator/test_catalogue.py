"""What the emulator holds from the start: its form on the wire, and that it agrees with the library."""

from __future__ import annotations

from datetime import date

import pytest

from phi_finetune import _tags, catalog
from phi_finetune.emulator import catalogue
from phi_finetune.emulator.catalogue import CatalogueModel, Generation


def find(name: str, version: str, generation: Generation | None = None) -> CatalogueModel:
    """The model version of a name and a number."""
    models = catalogue.registry_models(generation)
    return next(model for model in models if (model.name, model.version) == (name, version))


def test_all_three_generations_are_met() -> None:
    """Without a choice, some versions are in each of the three forms."""
    assert {model.generation for model in catalogue.registry_models()} == {"tags", "both", "system"}


def test_live_and_archived() -> None:
    """Phi-4 is live in the newest form; the retired Phi-3 models are archived, all their versions."""
    assert (find("Phi-4", "8").generation, find("Phi-4", "8").archived) == ("system", False)
    assert (find("Phi-4", "7").generation, find("Phi-4", "7").archived) == ("both", False)
    mini = [model for model in catalogue.registry_models() if model.name == "Phi-3-mini-4k-instruct"]
    assert [(model.version, model.generation, model.archived) for model in mini] == [
        ("13", "tags", True),
        ("15", "both", True),
    ]


def test_newest_version_was_made_last() -> None:
    """The creation order within a name is that of the versions, and no two are the same."""
    models = catalogue.registry_models()
    assert [model.created_order for model in models] == list(range(len(models)))
    by_name: dict[str, list[int]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(int(model.version))
    assert all(versions == sorted(versions) for versions in by_name.values())


@pytest.mark.parametrize("generation", [None, "tags", "both", "system"])
def test_tags_are_texts(generation: Generation | None) -> None:
    """On the wire every tag and every property is a text."""
    for model in catalogue.registry_models(generation):
        assert all(isinstance(text, str) for text in [*model.tags.values(), *model.properties.values()])


def test_oldest_generation_holds_python_literals() -> None:
    """The lists and the dictionary of the oldest form are written as Python writes them."""
    tags = find("Phi-3-mini-4k-instruct", "13").tags
    assert tags["finetune_compute_allow_list"].startswith(
        "['Standard_NC24ads_A100_v4', 'Standard_NC48ads_A100_v4'"
    )
    assert "Standard_NC6s_v3" in _tags.parse_names(tags["inference_compute_allow_list"])
    assert tags["model_specific_defaults"].startswith("{'apply_deepspeed': 'true', 'deepspeed_stage': 2, ")
    assert tags["maas-finetuning"] == "True"
    assert tags["textContextWindow"] == "4096"


def test_choice_of_generation() -> None:
    """A version published in two forms is given in the one asked for; one that has a single form keeps it."""
    assert find("Phi-4", "8", "both").properties["finetuning-tasks"] == "chat-completion"
    assert find("Phi-4", "8", "system").properties == {}
    assert find("Phi-4", "7", "system").generation == "both"
    assert find("Phi-3-vision-128k-instruct", "2", "tags").system_metadata == {}


def test_newest_generation_states_all_system_metadata() -> None:
    """The newest form has what the form before had, and what was added to it."""
    both, system = (find("Phi-4", "8", form).system_metadata for form in ("both", "system"))
    assert both.items() <= system.items()
    assert system["platformCapabilities"] == {"enableBatch": False, "maasInference": True}
    assert "Standard_NC40ads_H100_v5" in system["supportedComputes"]["finetuneComputes"]


def test_models_are_given_anew() -> None:
    """Changing what was given changes nothing for the next who asks."""
    find("Phi-4", "8").system_metadata["supportedComputes"].clear()
    assert find("Phi-4", "8").system_metadata["supportedComputes"]


def test_pipeline_versions() -> None:
    """The newest pipeline has 69 inputs, the older one lacks two that came later; both have two outputs."""
    older, newest = catalogue.pipeline_components()
    assert (older.version, newest.version) == ("0.0.80", "0.0.82")
    assert newest.spec["inputs"].keys() - older.spec["inputs"].keys() == {
        "finetune_config_path",
        "trust_remote_code",
    }
    assert len(newest.spec["inputs"]) == 69
    assert list(newest.spec["outputs"]) == ["pytorch_model_folder", "mlflow_model_folder"]


def test_numbers_and_booleans_of_the_pipeline_are_texts() -> None:
    """As the service answers, an input's default, limit and optionality are texts."""
    inputs = catalogue.pipeline_components()[-1].spec["inputs"]
    assert inputs["num_train_epochs"] == {"type": "integer", "min": "1", "default": "1", "optional": "True"}
    assert inputs["task_name"]["optional"] == "False"
    assert inputs["deepspeed_stage"]["enum"] == ["2", "3"]
    values = [value for spec in inputs.values() for key, value in spec.items() if key != "enum"]
    assert all(isinstance(value, str) for value in values)


def test_steps_of_the_pipeline() -> None:
    """The five steps run in order, each as a component of the registry, on the compute of an input."""
    pipeline = catalogue.pipeline_components()[-1]
    assert [step.name for step in pipeline.steps] == [
        "ft_nlp_common_validation",
        "chat_completion_model_import",
        "chat_completion_datapreprocess",
        "chat_completion_finetune",
        "ft_nlp_model_converter",
    ]
    training = pipeline.steps[3]
    assert (
        training.component
        == "azureml://registries/azureml/components/chat_completion_finetune/versions/0.0.81"
    )
    assert training.compute_input == "compute_finetune"
    assert training.outputs == ("pytorch_model_folder",)
    assert pipeline.spec["jobs"].keys() == {step.name for step in pipeline.steps}


def test_older_steps_lack_the_newer_inputs() -> None:
    """No step of the older pipeline takes an input that its pipeline does not have."""
    older = catalogue.pipeline_components()[0]
    taken = {name for step in older.steps for name in step.inputs}
    assert not taken & {"finetune_config_path", "trust_remote_code"}


def test_sizes_agree_with_the_library() -> None:
    """Two tables, written apart, state the same sizes."""
    emulated = {
        size.name: (
            size.family,
            size.vcpus,
            size.memory_gib,
            size.gpus,
            size.gpu_memory_gib,
            size.price_usd_per_hour,
            size.low_priority_price,
            size.exempt,
            size.retired_on and date.fromisoformat(size.retired_on),
        )
        for size in catalogue.vm_sizes()
    }
    known = {
        size.name: (
            size.family,
            size.vcpus,
            size.memory_gib,
            size.gpus,
            size.gpu_memory_gib,
            size.price_usd_per_hour,
            size.low_priority_usd_per_hour,
            size.exempt_from_reserve,
            size.retired_on,
        )
        for size in catalog.sizes.all_sizes()
    }
    assert emulated == known


def test_sizes_that_models_allow_are_offered() -> None:
    """Every size in a model's list exists in the region, and in the library's catalog."""
    names = {size.name for size in catalogue.vm_sizes()}
    for model in catalogue.registry_models("system"):
        computes = model.system_metadata.get("supportedComputes", {})
        assert {name for sizes in computes.values() for name in sizes} <= names


def test_successors_name_models_of_the_catalogue() -> None:
    """Each archived chat model that could be fine-tuned is followed by one that is live."""
    live = {model.name for model in catalogue.registry_models() if not model.archived}
    for model in catalogue.registry_models("system"):
        if model.archived and model.system_metadata.get("tasks", {}).get("fineTuningTasks"):
            successor = catalog.successors.find(model.name)
            assert successor is not None
            assert successor.fine_tuning in live
