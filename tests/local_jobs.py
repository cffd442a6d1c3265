"""Jobs of the local engine, on the facts that it ships."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
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
said = []
for folder, questions in json.loads(sys.argv[1]):
    talks = pandas.DataFrame({"messages": [[{"role": "user", "content": question}] for question in questions]})
    way = {"temperature": 0.0, "max_new_tokens": 16}
    said.append(list(mlflow.pyfunc.load_model(folder).predict(talks, params=way)))
print(json.dumps(said))
"""


def answers_of_mlflow(*asked: tuple[Path, Sequence[str]]) -> list[list[str]]:
    """What models answer, each to its questions, in a process that has MLflow and cannot import this library."""
    given = json.dumps([(str(folder), list(questions)) for folder, questions in asked])
    command = [sys.executable, "-W", "ignore", "-c", MLFLOW, given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return answers
