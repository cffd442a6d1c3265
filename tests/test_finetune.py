from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pipelines
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning import SIZE, data, finetune, sent

import phi_finetune as pf
from phi_finetune.errors import ConfigurationError, InvalidData, InvalidParameter
from phi_finetune.testing import FakeAzure

PHI_4 = pf.FoundationModel("Phi-4", "8", "azureml")
COMPUTE = pf.GpuCompute.serverless(SIZE)


def tune(model: pf.FoundationModel = PHI_4, dataset: pf.ChatDataset | None = None) -> pf.Finetune:
    """A fine-tune that knows no workspace."""
    return model.finetune(dataset or data()).on(COMPUTE)


# Putting it together


def test_each_method_gives_a_new_request() -> None:
    """The one it was called on stays as it was."""
    first = PHI_4.finetune(data())
    second = first.on(COMPUTE)
    third = second.with_parameters(num_train_epochs=2).with_parameters(lora_r=4).named("mine")
    assert (first.computes, first.parameters, first.name) == (None, {}, None)
    assert second.parameters == {}
    assert (third.parameters, third.name) == ({"num_train_epochs": 2, "lora_r": 4}, "mine")


def test_nothing_is_sent_before_a_plan(fake_azure: FakeAzure) -> None:
    """Putting a fine-tune together is no I/O."""
    model = fake_azure.workspace().foundation_model("Phi-4")
    asked = len(fake_azure.journal)
    model.finetune(data()).on(COMPUTE).with_parameters(lora_r=4).with_settings(experiment="e").named("n")
    assert len(fake_azure.journal) == asked


def test_it_must_say_where_it_runs(workspace: pf.Workspace) -> None:
    """Without a compute the error shows how to name one."""
    with pytest.raises(ConfigurationError, match="does not say where it runs") as caught:
        workspace.foundation_model("Phi-4").finetune(data()).plan()
    assert (caught.value.next_call or "").startswith(".on(")


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a b", "x" * 256])
def test_a_name_that_no_job_may_have_is_refused(name: str) -> None:
    """The rule is told when the name is set."""
    with pytest.raises(InvalidParameter, match="is no name for a job") as caught:
        tune().named(name)
    assert (caught.value.name, caught.value.value) == ("name", name)


# The name


def test_the_name_is_made_from_the_intent() -> None:
    """What the user wrote decides; the order in which it was written does not."""
    one = tune().with_parameters(lora_r=4, seed=1)
    other = tune().with_parameters(seed=1).with_parameters(lora_r=4)
    assert one.job_name() == other.job_name() == "-".join(["phi-4-facts", one.job_name()[-10:]])
    assert one.job_name(2) == f"{one.job_name()}-2"


def test_whatever_changes_the_intent_changes_the_name() -> None:
    """Model, pinned version, registry, data, parameters and each step's compute are all in it."""
    base = tune()
    rows = pipelines.conversations(25)
    variants = [
        base,
        tune(pf.FoundationModel("Phi-4", "8", "azureml", pinned=True)),
        tune(pf.FoundationModel("Phi-4", "7", "azureml", pinned=True)),
        tune(pf.FoundationModel("Phi-4", "8", "azureml-phi")),
        tune(dataset=pf.ChatDataset.from_records(rows, name="facts")),
        base.with_parameters(lora_r=4),
        base.with_parameters(lora_r=16),
        base.on(pf.GpuCompute("gpu", SIZE)),
        base.on(COMPUTE, preprocess=pf.GpuCompute("cpu", SIZE)),
        base.on(COMPUTE, model_import=pf.GpuCompute("cpu", SIZE)),
    ]
    assert len({variant.job_name() for variant in variants}) == len(variants)


def test_what_is_looked_up_is_not_in_the_name() -> None:
    """The latest version, the settings and a cluster's state change nothing."""
    base = tune()
    later = tune(pf.FoundationModel("Phi-4", "9", "azureml"))
    settings = base.with_settings(experiment="e", display_name="d", tags={"a": "b"}, force_rerun=True)
    assert base.job_name() == later.job_name() == settings.job_name()
    cold, warm = pf.GpuCompute("gpu", SIZE), pf.GpuCompute("gpu", provisioning_state="Succeeded", nodes=1)
    assert base.on(cold).job_name() == base.on(warm).job_name()


@given(st.text(min_size=1).filter(str.strip))
def test_a_name_can_be_used_whatever_the_data_is_called(name: str) -> None:
    """Letters, digits and dashes, short enough for Azure, whatever the data set's name holds."""
    dataset = pf.ChatDataset.from_records(pipelines.conversations(10), name=name)
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,60}[a-z0-9]", tune(dataset=dataset).job_name(12))


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    """A DeepSpeed file of the same content under another path is the same intent."""
    names = []
    for folder, content in (("a", "{}"), ("b", "{}"), ("c", '{"x": 1}')):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "zero3.json"
        path.write_text(content, encoding="utf-8")
        names.append(tune().with_parameters(deepspeed=path).job_name())
    assert names[0] == names[1] != names[2]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error has the file's name and the reason."""
    with pytest.raises(InvalidParameter, match=r"zero3\.json cannot be read: No such file"):
        tune().with_parameters(deepspeed=tmp_path / "zero3.json").job_name()


# The plan


def test_a_plan_says_everything_and_sends_nothing(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Name, model, data, machines, price and parameters are there before anything is submitted."""
    cluster = workspace.gpu_compute("gpu", size="Standard_NC48ads_A100_v4", max_nodes=2)
    parameters: pf.ParameterValues = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "num_nodes_finetune": 2,
    }
    request = finetune(workspace, parameters, on=cluster)
    plan = request.plan()
    assert plan.job_name == request.job_name()
    assert (plan.gpus, plan.nodes, plan.total_batch_size) == (2, 2, 2 * 4 * 2 * 2)
    assert plan.price_usd_per_hour == pytest.approx(2 * 7.346)
    assert plan.component_version == "0.0.82"
    told = plan.explain()
    for part in (plan.job_name, plan.model_id, "14.69 US dollars", "learning_rate", "2 x Standard_NC48ads"):
        assert part in told
    assert {entry.method for entry in fake_azure.journal} == {"GET"}


def test_a_plan_says_who_gave_a_value(workspace: pf.Workspace) -> None:
    """User before compute and data, before the model, before the pipeline."""
    parameters = finetune(workspace, {"learning_rate": 1e-4}).plan().parameters
    assert (parameters["learning_rate"], parameters.origin("learning_rate")) == (1e-4, "user")
    assert parameters.origin("number_of_gpu_to_use_finetuning") == "compute and data"
    assert parameters.origin("apply_lora") == "model"
    assert parameters.origin("seed") == "pipeline"


def test_a_price_that_is_not_known_is_not_made_up() -> None:
    """A size without a price gives none, and says so."""
    with FakeAzure(quota={"standardNDSH100v5Family": 960}) as azure:
        ws = azure.workspace()
        model = pf.FoundationModel("Phi-4", "8", "azureml")
        tuned = ws.attach(model.finetune(data()).on(pf.GpuCompute.serverless("Standard_ND96is_H100_v5")))
        plan = tuned.plan()
    assert plan.price_usd_per_hour is None
    assert "price not known" in plan.explain()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"lr_scheduler_type": "zigzag"}, "lr_scheduler_type"),
        ({"num_train_epochs": "two"}, "num_train_epochs"),
        ({"number_of_gpu_to_use_finetuning": 2}, "number_of_gpu_to_use_finetuning"),
        ({"num_nodes_finetune": 2}, "num_nodes_finetune"),
        ({"epochs": 3}, "epochs"),
    ],
)
def test_a_bad_parameter_is_refused_before_anything_is_sent(
    fake_azure: FakeAzure, workspace: pf.Workspace, values: Any, name: str
) -> None:
    """The error has the parameter, the value and what is allowed."""
    with pytest.raises(InvalidParameter) as caught:
        finetune(workspace, values).submit()
    assert (caught.value.name, caught.value.value) == (name, values[name])
    assert caught.value.allowed
    assert sent(fake_azure, "PUT", "*") == []


def test_bad_data_is_refused_before_anything_is_sent(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """The error has the file and the row, and not the row's text."""
    rows: list[Any] = pipelines.conversations(12)
    rows[6] = {"messages": [{"role": "oracle", "content": "my secret"}]}
    path = tmp_path / "chats.jsonl"
    path.write_bytes(pipelines.jsonl(rows))
    model = workspace.foundation_model("Phi-4")
    with pytest.raises(InvalidData) as caught:
        model.finetune(pf.ChatDataset.from_jsonl(path)).on(COMPUTE).submit()
    assert (Path(caught.value.file or "").name, caught.value.row) == ("chats.jsonl", 7)
    assert "my secret" not in str(caught.value)
    assert sent(fake_azure, "PUT", "*") == []


def test_empty_data_is_refused(workspace: pf.Workspace, tmp_path: Path) -> None:
    """A file without rows names itself."""
    path = tmp_path / "empty.jsonl"
    path.write_text("\n", encoding="utf-8")
    model = workspace.foundation_model("Phi-4")
    with pytest.raises(InvalidData, match="empty"):
        model.finetune(pf.ChatDataset.from_jsonl(path)).on(COMPUTE).plan()


# What is held out


def rows_planned(workspace: pf.Workspace, count: int, **parameters: Any) -> dict[str, int]:
    """The rows of each split in the plan for a data set of so many training rows."""
    dataset = pf.ChatDataset.from_records(pipelines.conversations(count))
    tuning = tune(workspace.foundation_model("Phi-4"), dataset).with_parameters(**parameters)
    return dict(tuning.plan().rows)


@pytest.mark.parametrize(
    ("count", "held_out"), [(300, 30), (24, 2), (13, 1), (12, 1), (11, 1)], ids=lambda value: str(value)
)
def test_a_tenth_is_held_out(workspace: pf.Workspace, count: int, held_out: int) -> None:
    """Without a validation split the last tenth becomes one, as long as enough is left to train on."""
    assert rows_planned(workspace, count) == {"train": count - held_out, "validation": held_out}


def test_the_least_that_can_be_trained_on_is_trained_on(workspace: pf.Workspace) -> None:
    """Of ten rows none can be held out; a warning says what the evaluation loss is then worth."""
    dataset = pf.ChatDataset.from_records(pipelines.conversations(10))
    plan = tune(workspace.foundation_model("Phi-4"), dataset).plan()
    assert plan.rows == {"train": 10}
    assert any("measured on the training rows" in warning for warning in plan.warnings)


def test_nothing_is_held_out_where_nothing_is_evaluated(workspace: pf.Workspace) -> None:
    """Without an evaluation all rows are trained on, and no warning is due."""
    assert rows_planned(workspace, 300, evaluation_strategy="disable") == {"train": 300}


def test_the_service_is_left_nothing_to_hold_out(workspace: pf.Workspace) -> None:
    """All three files are named: for one that is not given, the service takes rows from the train split."""
    sent_inputs = tune(workspace.foundation_model("Phi-4")).plan().parameters.as_component_inputs()
    assert sent_inputs["test_file_path"] == sent_inputs["validation_file_path"]
    assert sent_inputs["train_file_path"] != sent_inputs["validation_file_path"]
