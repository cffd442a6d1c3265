"""A model on this machine: taken in from a folder, checked, loaded, wrapped with adapters, and merged with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from phi_finetune.errors import ConfigurationError, InvalidParameter, UntrustedModel
from phi_finetune.local._files import read_json, take_in
from phi_finetune.local._needs import require
from phi_finetune.local.hardware import Hardware
from phi_finetune.local.parameters import Lora
from phi_finetune.local.templates import form_of
from phi_finetune.model_files import ModelReport, inspect

__all__ = [
    "FAMILIES",
    "ModelFacts",
    "facts_of",
    "find_model",
    "gather",
    "import_model",
    "is_whole",
    "load_model",
    "load_tokenizer",
    "merge",
    "model_folders",
    "pad_id_of",
    "with_adapters",
]

_FUSED: Final = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
_SPLIT: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "phi3": _FUSED,
    "llama": _SPLIT,
    "mistral": _SPLIT,
    "qwen2": _SPLIT,
    "qwen3": _SPLIT,
}
"""The families that are trained here, by ``model_type``, with the layers that get adapters. ``phi3`` is Phi-3-mini,
Phi-3-medium, Phi-3.5-mini, Phi-4 and Phi-4-mini; all linear layers are adapted, for attention alone learns little
(local.md 2b)."""

_SETTINGS: Final = (
    *("num_attention_heads", "max_position_embeddings", "vocab_size"),
    *("hidden_size", "num_hidden_layers", "intermediate_size"),
)
_PASSED: Final = (".json", ".jinja", ".model", ".txt")
_WEIGHTS: Final = ".safetensors"
_PARTS: Final = ("", "data/model", "artifacts/model", "model")
_BESIDE: Final = ("data/tokenizer", "data/config")
"""Where MLflow folders have the model, and what Azure's have beside it (model_converter.py of the pipeline's last step,
Azure/azureml-assets, read 2026-11)."""


@attrs.frozen
class ModelFacts:
    """What a model is, from its ``config.json`` and the headers of its weights.

    Attributes:
        family: Its ``model_type``.
        architecture: The class it is loaded with.
        parameters: Its weights.
        bytes: Their bytes on disk.
        context_length: The most tokens it takes.
        vocabulary: Tokens that it knows.
        hidden: Width of its layers.
        layers: Its layers.
        heads: Attention heads.
        key_value_heads: Those of them that have keys and values of their own.
        intermediate: Width of its feed-forward layers.
        tied: Whether the embeddings are the output layer as well.
    """

    family: str
    architecture: str
    parameters: int
    bytes: int
    context_length: int
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    tied: bool


def find_model(folder: str | os.PathLike[str]) -> Path:
    """The Hugging Face model within a folder: the folder itself, or the model of an MLflow folder.

    Raises:
        ConfigurationError: There is no such folder, or no ``config.json`` in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigurationError(
            f"There is no model at {root}",
            why="there is no such folder",
            next_call="name a folder with a model",
        )
    for part in _PARTS:
        if (root / part / "config.json").is_file():
            return root / part
    raise ConfigurationError(
        f"There is no model at {root}",
        why="it has no config.json",
        next_call="name a folder in the form of Hugging Face or MLflow, such as make_tiny_phi() makes",
    )


def facts_of(folder: Path) -> ModelFacts:
    """What the model in a folder is. Nothing of it is loaded.

    Raises:
        InvalidParameter: Its architecture is not one that is trained here.
        UntrustedModel: Its weights are a pickle, which runs what its maker wrote when it is loaded.
        ConfigurationError: Its files are incomplete or broken.
    """
    config = _config(folder)
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise InvalidParameter(
            f"A model of the architecture {family!r} cannot be trained on this machine",
            name="model",
            value=family,
            allowed=", ".join(sorted(FAMILIES)),
            next_call="take Phi-3-mini, Phi-3-medium, Phi-3.5-mini, Phi-4 or Phi-4-mini",
        )
    parameters, size = _weights(folder)
    heads = int(config["num_attention_heads"])
    return ModelFacts(
        family=family,
        architecture=str((config.get("architectures") or ["unknown"])[0]),
        parameters=parameters,
        bytes=size,
        context_length=int(config["max_position_embeddings"]),
        vocabulary=int(config["vocab_size"]),
        hidden=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        key_value_heads=int(config.get("num_key_value_heads") or heads),
        intermediate=int(config["intermediate_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise _broken(folder, str(error)) from None
    lacking = [key for key in _SETTINGS if not isinstance(config.get(key), int)]
    if str(config.get("model_type")) in FAMILIES and lacking:
        raise _broken(folder, f"its config.json does not say {', '.join(lacking)}")
    return config


def _weights(folder: Path) -> tuple[int, int]:
    """Parameters and bytes of the weights, read from their headers."""
    require("safetensors")
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob(f"*{_WEIGHTS}"))
    if not files:
        report = inspect(folder)
        if "pickle" in report.formats:
            raise _pickled(folder, report)
        raise _broken(folder, "it has no weights in safetensors")
    _check_shards(folder)
    count = 0
    for path in files:
        try:
            with safe_open(path, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                    size = 1
                    for side in tensors.get_slice(name).get_shape():
                        size *= side
                    count += size
        except (SafetensorError, OSError) as error:
            raise _broken(folder, f"{path.name}: {error}") from None
    return count, sum(path.stat().st_size for path in files)


def is_whole(folder: Path) -> bool:
    """Whether a folder has a ``config.json`` and weights in safetensors, with every part that its index names."""
    try:
        _check_shards(folder)
    except ConfigurationError:
        return False
    return (folder / "config.json").is_file() and any(folder.glob(f"*{_WEIGHTS}"))


def _check_shards(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        named = set(read_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise _broken(folder, f"{index.name} cannot be read") from None
    lacking = sorted(name for name in named if not (folder / name).is_file())
    if lacking:
        raise _broken(folder, f"it lacks {', '.join(lacking)}")


def _pickled(folder: Path, report: ModelReport) -> UntrustedModel:
    return UntrustedModel(
        "The model's weights are a pickle, and loading one runs what its maker wrote",
        resource=f"model {folder.name}",
        why=report.describe(),
        next_call="take the model in safetensors: save_pretrained(folder) of transformers writes it so",
        findings=tuple(f"{one.file}: {one.why}" for one in report.findings),
    )


def _broken(folder: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The model in {folder} cannot be used", why=why, next_call="fetch or save the model again"
    )


def import_model(source: str | os.PathLike[str], target: Path) -> ModelFacts:
    """Take a model in: check it, and put what training needs of it into a folder of its own.

    Weights in safetensors, settings and the tokenizer are taken; pickles and code stay behind. Weights are linked
    where the disk allows it, else copied. A model with an adapter that was not merged is merged.

    Args:
        source: A folder in the form of Hugging Face, or of MLflow.
        target: Where the model goes.

    Raises:
        ConfigurationError: There is no model, or it is incomplete.
        InvalidParameter: Its architecture is not one that is trained here, or its chat template cannot be trained with.
        UntrustedModel: Its weights are a pickle.
        MissingDependency: transformers is not installed.
    """
    require("torch", "transformers", "safetensors")
    root, found = Path(source), find_model(source)
    facts = facts_of(found)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    gather(root, target)
    if (found / "adapter" / "adapter_config.json").is_file():
        _merge_in(found / "adapter", target)
    form_of(load_tokenizer(target))
    return facts


def model_folders(root: Path) -> tuple[Path, ...]:
    """The folders that together have what a model consists of, the model's own last.

    Args:
        root: A folder in the form of Hugging Face, or of MLflow.

    Raises:
        ConfigurationError: There is no model.
    """
    beside = (root / part for part in _BESIDE)
    return (*(folder for folder in beside if folder.is_dir()), find_model(root))


def gather(root: Path, target: Path) -> None:
    """Put what a model consists of into one folder, also what an MLflow folder of Azure's has beside the model.

    Args:
        root: A folder in the form of Hugging Face, or of MLflow.
        target: Where it goes: an empty folder. Weights are linked where the disk allows it, else copied.
    """
    for folder in model_folders(root):
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name.endswith((*_PASSED, _WEIGHTS)):
                take_in(path, target / path.name)


def _merge_in(adapter: Path, folder: Path) -> None:
    require("peft")
    from peft import PeftModel

    merged = merge(PeftModel.from_pretrained(load_model(folder), adapter))
    for path in folder.glob(f"*{_WEIGHTS}*"):
        path.unlink()  # linked: writing into them would change the source
    merged.save_pretrained(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder.

    Raises:
        ConfigurationError: There is none, or it is not one that says where in the text a token stands.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder.resolve(), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise _broken(folder, f"its tokenizer cannot be loaded: {str(error).splitlines()[0]}") from None
    if not tokenizer.is_fast:
        raise _broken(folder, "its tokenizer has no tokenizer.json")
    return tokenizer


def pad_id_of(tokenizer: Any) -> int:
    """The token that rows are padded with; where there is none for that, the one that ends a text."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def load_model(
    folder: Path,
    *,
    hardware: Hardware | None = None,
    half: bool = False,
    ignore_mismatched_sizes: bool = False,
) -> Any:
    """The model of a folder, on the processor, or on the GPU where the hardware has one.

    Args:
        folder: A model that was taken in.
        hardware: Where it goes. Default: the processor.
        half: Whether its weights are held in 16 bits; else in 32.
        ignore_mismatched_sizes: Whether weights of another shape than the settings say are drawn anew.

    Raises:
        ConfigurationError: Weights are missing, or have another shape.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with_bf16 = hardware is not None and hardware.bf16
    kind = (torch.bfloat16 if with_bf16 else torch.float16) if half else torch.float32
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder.resolve(),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=kind,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise _broken(folder, str(error).splitlines()[0]) from None
    if lacking := sorted(report["missing_keys"]):
        raise _broken(
            folder, f"its weights lack {', '.join(map(str, lacking[:3]))} and {len(lacking)} in all"
        )
    model.config.use_cache = False
    return model.to("cuda") if hardware is not None and hardware.device == "cuda" else model


def with_adapters(model: Any, lora: Lora, *, seed: int) -> Any:
    """The model with adapters on all linear layers of its family; only they are trained.

    Args:
        model: A model of one of the families.
        lora: The adapters' rank, scale and dropout.
        seed: Seed of their first weights.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    settings = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(FAMILIES[model.config.model_type]),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, settings)


def merge(model: Any) -> Any:
    """The model with its adapters added to its weights; what it answers stays the same."""
    return model.merge_and_unload()
