"""Jobs of the local engine, on the facts that it ships."""

from __future__ import annotations

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
