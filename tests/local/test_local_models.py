"""A model is taken in from a folder, checked before it is loaded, and packaged so that plain MLflow loads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_finetune.errors import ConfigurationError, InvalidParameter, UntrustedModel
from phi_finetune.local import tiny_facts
from phi_finetune.local.batches import Padding
from phi_finetune.local.hardware import Hardware
from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.losses import measure
from phi_finetune.local.memory import check_fits, estimate, shown, what_would_fit
from phi_finetune.local.model import (
    FAMILIES,
    ModelFacts,
    facts_of,
    find_model,
    import_model,
    load_model,
    load_tokenizer,
    with_adapters,
)
from phi_finetune.local.parameters import settle
from phi_finetune.local.preprocess import Rows, prepare

CPU = Hardware("cpu", "a processor", 0, 8 * 10**9, bf16=False)
GPU_24, GPU_80 = (Hardware("cuda", f"a GPU of {size} GB", 1, size * 10**9, bf16=True) for size in (24, 80))
PHI_3_MINI = ModelFacts(
    family="phi3",
    architecture="Phi3ForCausalLM",
    parameters=3_821_079_552,
    bytes=7_642_181_880,
    context_length=4096,
    vocabulary=32064,
    hidden=3072,
    layers=32,
    heads=32,
    key_value_heads=32,
    intermediate=8192,
    tied=False,
)
PHI_4 = attrs.evolve(
    PHI_3_MINI,
    parameters=14_659_507_200,
    vocabulary=100_352,
    hidden=5120,
    layers=40,
    heads=40,
    key_value_heads=10,
    intermediate=17920,
)


@pytest.fixture
def phi(random_phi: Path, tmp_path: Path) -> Path:
    """A copy of the random model, to be broken."""
    return Path(shutil.copytree(random_phi, tmp_path / "phi"))


def change(folder: Path, **values: object) -> None:
    """Change the model's settings."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **values}), encoding="utf-8")


def test_a_model_is_taken_in(phi: Path, tmp_path: Path) -> None:
    """With what training needs; code and pickles beside it stay behind."""
    for name in ("modeling_phi3.py", "training_args.bin"):
        (phi / name).write_bytes(b"anything")
    facts = import_model(phi, tmp_path / "in")
    assert (facts.family, facts.layers, facts.context_length, facts.tied) == ("phi3", 2, 512, True)
    assert facts.parameters == sum(each.numel() for each in load_model(tmp_path / "in").parameters())
    names = {path.name for path in (tmp_path / "in").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert not names & {"modeling_phi3.py", "training_args.bin"}


def test_a_pickle_is_refused(phi: Path, tmp_path: Path) -> None:
    """It is not opened: whoever made it would decide what runs."""
    (phi / "model.safetensors").unlink()
    (phi / "pytorch_model.bin").write_bytes(b"\x80\x04c__main__\nowned\n.")
    with pytest.raises(UntrustedModel, match="pickle") as caught:
        import_model(phi, tmp_path / "in")
    assert "save_pretrained" in str(caught.value.next_call)


def test_another_architecture_is_refused(phi: Path, tmp_path: Path) -> None:
    """The error names those that are trained."""
    change(phi, model_type="bert")
    with pytest.raises(InvalidParameter, match="'bert'") as caught:
        import_model(phi, tmp_path / "in")
    assert "phi3" in str(caught.value.allowed)


def test_what_is_missing_is_told(phi: Path, tmp_path: Path) -> None:
    """No folder, no settings, no weights, half of the weights, no tokenizer, no template."""
    with pytest.raises(ConfigurationError, match="no such folder"):
        find_model(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        find_model(tmp_path)
    weights = (phi / "model.safetensors").read_bytes()
    (phi / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ConfigurationError, match=r"model\.safetensors"):
        facts_of(phi)
    (phi / "model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match="no weights"):
        facts_of(phi)
    (phi / "model.safetensors").write_bytes(weights)
    (phi / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002.safetensors"}}')
    with pytest.raises(ConfigurationError, match="it lacks model-00002"):
        facts_of(phi)
    (phi / "model.safetensors.index.json").unlink()
    (phi / "chat_template.jinja").unlink()
    with pytest.raises(InvalidParameter, match="chat template"):
        import_model(phi, tmp_path / "in")
    (phi / "tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match="tokenizer"):
        import_model(phi, tmp_path / "in")


def test_weights_of_another_shape_are_refused_or_drawn_anew(phi: Path) -> None:
    """As ``ignore_mismatched_sizes`` says."""
    change(phi, intermediate_size=256)
    with pytest.raises(ConfigurationError):
        load_model(phi)
    assert load_model(phi, ignore_mismatched_sizes=True).config.intermediate_size == 256


def test_an_mlflow_folder_is_a_model_too(tuned: JobFolder, tmp_path: Path) -> None:
    """So that what was tuned can be tuned on."""
    facts = import_model(tuned.output("mlflow_model_folder"), tmp_path / "in")
    assert facts == attrs.evolve(facts_of(tuned.model), bytes=facts.bytes)


def test_the_outputs_lie_as_the_pipelines_do(tuned: JobFolder) -> None:
    """The model below data/model, and an MLmodel that says what it was made of and names no place outside."""
    folder = tuned.output("mlflow_model_folder")
    assert (folder / "data/model/model.safetensors").is_file()
    assert (folder / "data/config/config.json").is_file()
    text = (folder / "MLmodel").read_text(encoding="utf-8")
    assert "base_model_asset_id: azureml://registries/azureml/models/tiny-phi/versions/1" in text
    assert "base_model_task: chat-completion" in text
    assert str(tuned.path) not in text
    assert "/tmp" not in text
    assert (tuned.output("pytorch_model_folder") / "tokenizer.json").is_file()


def test_the_estimate_counts_the_adapters_weights(random_phi: Path) -> None:
    """To the last of them."""
    settled = settle({"apply_lora": True, "lora_r": 16}, CPU)
    assert settled.lora is not None
    model = with_adapters(load_model(random_phi), settled.lora, seed=0)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    need = estimate(facts_of(random_phi), settled, CPU, longest_row=1)
    assert need.gradients == 4 * trained
    assert need.optimizer == 8 * trained


def test_what_fits_which_gpu() -> None:
    """As the arithmetic of local.md 7 has it, for Phi-3-mini and Phi-4."""
    half = {"precision": 16, "apply_deepspeed": True}
    adapters = settle({**half, "apply_lora": True, "lora_r": 16}, GPU_80, checkpointing=True)
    whole = settle(half, GPU_80, checkpointing=True)
    assert check_fits(PHI_3_MINI, adapters, GPU_24, longest_row=2048).total < 24e9
    assert check_fits(PHI_4, adapters, GPU_80, longest_row=2048).weights == pytest.approx(29.5e9, rel=0.01)
    for facts, settled, gpu in (
        (PHI_4, adapters, GPU_24),
        (PHI_4, whole, GPU_80),
        (PHI_3_MINI, whole, GPU_24),
    ):
        with pytest.raises(ConfigurationError, match="does not fit"):
            check_fits(facts, settled, gpu, longest_row=2048)


def test_what_would_fit_is_said() -> None:
    """As parameters to set; and nothing where nothing would."""
    settled = settle({"per_device_train_batch_size": 16, "precision": 16}, GPU_24)
    with pytest.raises(ConfigurationError) as caught:
        check_fits(PHI_3_MINI, settled, GPU_24, longest_row=512)
    assert "apply_lora=True" in str(caught.value.next_call)
    assert what_would_fit(PHI_4, settled, GPU_24, longest_row=512) == ()
    with pytest.raises(ConfigurationError) as caught:
        check_fits(PHI_4, settled, GPU_24, longest_row=512)
    assert "no parameters would make it fit, the smallest .with_parameters(" in str(caught.value.next_call)


def test_a_processor_without_bfloat16_is_not_told_to_calculate_with_it() -> None:
    """Nor is what a suggestion rests on left out of it."""
    rows = {"apply_lora": True, "per_device_train_batch_size": 4}
    bare = attrs.evolve(CPU, memory_bytes=20 * 10**9)
    with pytest.raises(ConfigurationError) as caught:
        check_fits(PHI_3_MINI, settle(rows, bare, checkpointing=True), bare, longest_row=4096)
    assert caught.value.next_call == (
        ".with_parameters(per_device_train_batch_size=1, gradient_accumulation_steps=4, max_seq_length=512)"
        "  # about 17.2 GB"
    )


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 60),
    memory=st.integers(1, 200),
    row=st.integers(1, 4096),
    share=st.floats(0.01, 1),
    bf16=st.booleans(),
    gpus=st.integers(0, 2),
    values=st.fixed_dictionaries(
        {
            "apply_lora": st.booleans(),
            "precision": st.sampled_from((16, 32)),
            "per_device_train_batch_size": st.integers(1, 8),
            "gradient_accumulation_steps": st.integers(1, 3),
            "optim": st.sampled_from(("adamw_torch", "adafactor")),
            "apply_deepspeed": st.booleans(),
            "deepspeed_stage": st.sampled_from((2, 3)),
        }
    ),
)
def test_what_is_suggested_is_honoured_and_fits(
    size: int, memory: int, row: int, share: float, bf16: bool, gpus: int, values: dict[str, Any]
) -> None:
    """By the machine that it is told on, with the memory that it says, and as code that can be pasted."""
    facts = attrs.evolve(PHI_3_MINI, parameters=size * 250_000_000)
    values = {**values, "number_of_gpu_to_use_finetuning": max(gpus, 1)}
    machine = Hardware("cuda" if gpus else "cpu", "it", gpus, memory * 10**9, bf16=bf16, deepspeed=True)
    wanted = settle(values, machine, checkpointing=True)
    for change in what_would_fit(facts, wanted, machine, longest_row=row, trained_share=share):
        pasted = eval(f"dict{str(change).removeprefix('.with_parameters')}")  # noqa: S307 - it says that it is code
        changed = settle({**values, **pasted}, machine, checkpointing=True)
        changed.check()
        cut = min(row, pasted.get("max_seq_length", row))
        need = check_fits(facts, changed, machine, longest_row=cut, trained_share=share)
        assert need.total == change.need
        assert str(change).endswith(f"  # about {shown(need.total)}")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_trained(family: str, random_phi: Path, tmp_path: Path) -> None:
    """Its layers have the names that adapters are put on, and the estimate knows their sizes."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"vocab_size": 640, "hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 128}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    ends = {"pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 3}
    config = AutoConfig.for_model(family, **sizes, **heads, **ends)
    folder = Path(shutil.copytree(random_phi, tmp_path / family))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    facts = import_model(folder, tmp_path / "in")
    settled = settle({"apply_lora": True, "lora_r": 2}, CPU)
    assert settled.lora is not None
    model = with_adapters(load_model(tmp_path / "in"), settled.lora, seed=0)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert estimate(facts, settled, CPU, longest_row=1).gradients == 4 * trained
    layers = {
        name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_" in name
    }
    assert layers == set(FAMILIES[family])
    loss = measure(model, _rows(tmp_path / "in", tmp_path), Padding(3)).loss
    assert 4 < loss < 9  # about log 640: it learned nothing


def _rows(model: Path, folder: Path) -> Rows:
    prepare(tiny_facts().validation, load_tokenizer(model), folder, "rows")
    return Rows.read(folder, "rows")


def test_several_gpus_take_more_each_unless_deepspeed_divides() -> None:
    """The gradients that they exchange come on top; with DeepSpeed there are parts of most things."""
    several = {"number_of_gpu_to_use_finetuning": 4, "precision": 16}
    found = [
        estimate(PHI_3_MINI, settle(values, GPU_80), GPU_80, longest_row=512)
        for values in (
            {"precision": 16},
            several,
            {**several, "apply_deepspeed": True},
            {**several, "apply_deepspeed": True, "deepspeed_stage": 3},
        )
    ]
    one, plain, second, third = (each.total for each in found)
    assert plain == one + 4 * PHI_3_MINI.parameters
    assert third < second < one
    assert found[3].weights * 4 == pytest.approx(found[0].weights)
