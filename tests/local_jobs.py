"""Jobs of the local engine, on the facts that it ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec

from phi_finetune.chat_dataset import Conversation
from phi_finetune.local import TINY_PARAMETERS, tiny_facts
from phi_finetune.local.job_folder import Job, JobFolder


def write_rows(path: Path, rows: tuple[Conversation, ...]) -> str:
    """Write conversations as JSON lines; the file's name."""
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path.name


def job_of(folder: Path, model: Path, **values: bool | int | float | str) -> JobFolder:
    """The folder of a job that tunes a model on the sample facts."""
    facts = tiny_facts()
    folder.mkdir(parents=True)
    files = {
        f"{name}_file_path": write_rows(folder / f"{name}.jsonl", getattr(facts, name))
        for name in ("train", "validation", "test")
    }
    general = write_rows(folder / "general.jsonl", facts.general)
    job = Job("try", {**TINY_PARAMETERS, **values}, files, str(model), "tiny", general_file=general)
    return JobFolder.create(folder, job)


MLFLOW = """
import sys
sys.modules["phi_finetune"] = None
import json, mlflow, pandas
folder, questions = sys.argv[1], json.loads(sys.argv[2])
talks = [[{"role": "user", "content": question}] for question in questions]
model = mlflow.pyfunc.load_model(folder)
said = model.predict(pandas.DataFrame({"messages": talks}), params={"temperature": 0.0, "max_new_tokens": 16})
print(json.dumps(list(said)))
"""


def answers_of_mlflow(folder: Path, *questions: str) -> list[str]:
    """What a model says in a process that has MLflow, and cannot import this library."""
    command = [sys.executable, "-W", "ignore", "-c", MLFLOW, str(folder), json.dumps(questions)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout.splitlines()[-1])
    return answers
