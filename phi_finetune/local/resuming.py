"""What a training goes on from: its own last checkpoint, or that of an earlier job of the workspace, which was killed.

A job that has ended is never begun again: who submits the same fine-tune gets a new job, in a folder beside the old
one. A checkpoint is taken from there only if the earlier job was the same fine-tune in all but its length.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from phi_finetune.errors import ConfigurationError, InvalidParameter
from phi_finetune.local._files import read_json, take_in, write_json
from phi_finetune.local.hardware import this_machine
from phi_finetune.local.job_folder import Job, JobFolder
from phi_finetune.local.parameters import Given, Settled, settle
from phi_finetune.local.preprocess import Rows
from phi_finetune.local.processes import read_process
from phi_finetune.local.run_folder import RunFolder
from phi_finetune.local.train import last_checkpoint, step_of

__all__ = ["resume"]

_MAY_DIFFER: Final = ("resume_from_checkpoint", "max_steps", "num_train_epochs")
"""A training may be made longer, or have begun without a word of going on."""
_STATE: Final = "trainer_state.json"


def resume(folder: JobFolder, job: Job, settled: Settled, *, say: Callable[[str], None]) -> None:
    """Let a job that asks for it go on from where an earlier one ended, and say from where, or that there is nothing.

    The checkpoint is put into the job's own folder; the earlier job's stays as it is.

    Args:
        folder: The job's folder; its model is taken in and its rows are prepared.
        job: The job.
        settled: Its parameters.
        say: Takes a line for the step's log.
    """
    own = last_checkpoint(folder.checkpoints)
    if own is not None:
        say(f"goes on from step {step_of(own)}, where it was interrupted")
        return
    steps = settled.steps(len(Rows.read(folder.data, "train")))
    found = {other: checkpoint for other in _ended(folder) if (checkpoint := _left(other, steps)) is not None}
    for other in sorted(found, key=lambda one: step_of(found[one]), reverse=True):
        if _is_same(folder, job, settled, other):
            _take(found[other], folder.checkpoints)
            say(
                f"goes on from step {step_of(found[other])} of job {other.job().name}, "
                "which has what was measured up to there"
            )
            return
    say(
        "resume_from_checkpoint: there is nothing to go on from, for no earlier job of this workspace that has ended "
        "was the same fine-tune and left a checkpoint; it begins with the first step"
    )


def _left(folder: JobFolder, steps: int) -> Path | None:
    # From its last step a training has nowhere to go.
    return last_checkpoint(folder.checkpoints, before=steps)


def _ended(folder: JobFolder) -> Iterator[JobFolder]:
    """The folders of the workspace's other jobs of which no process is left; a job outside one has none beside it."""
    beside = sorted(folder.path.parent.iterdir()) if RunFolder(folder.path).exists else ()
    for path in beside:
        other = RunFolder(path)
        if path == folder.path or not other.exists:
            continue
        processes = (read_process(file) for file in (other.process, other.step_process))
        if not any(process is not None and process.alive for process in processes):
            yield JobFolder(path)


def _is_same(folder: JobFolder, job: Job, settled: Settled, other: JobFolder) -> bool:
    """Whether another job trains the same model on the same rows in the same way, be it longer or shorter."""
    try:
        before = other.job()
        values = settle(before.parameters, this_machine()).values
    except (ConfigurationError, InvalidParameter):  # one of another version of this library
        return False
    files = {name: folder.resolved(path) for name, path in job.files.items()}
    return (
        _compared(job, settled.values) == _compared(before, values)
        and all(_same_bytes(path, other.resolved(before.files[name])) for name, path in files.items())
        and _same_files(folder.data, other.data)
        and _same_files(folder.model, other.model)
    )


def _compared(job: Job, values: Mapping[str, Given]) -> dict[str, Given]:
    """What is the same in jobs of which one can go on where the other ended; of a file, that there is one."""
    left_out = (*_MAY_DIFFER, *job.files)
    kept = {name: value for name, value in values.items() if name not in left_out}
    return kept | dict.fromkeys(job.files, True) | {"": job.model_id}


def _same_files(one: Path, other: Path) -> bool:
    names = sorted(os.listdir(one))
    if not other.is_dir() or names != sorted(os.listdir(other)):
        return False
    return all(_same_bytes(one / name, other / name) for name in names)


def _same_bytes(one: Path, other: Path) -> bool:
    return other.is_file() and (one.samefile(other) or filecmp.cmp(one, other, shallow=False))


def _take(checkpoint: Path, target: Path) -> None:
    """Put a checkpoint into another folder, and with it the one that was best, which stopping early needs."""
    state = read_json(checkpoint / _STATE)
    best = state.get("best_model_checkpoint")
    if best is not None and Path(best).is_dir():
        state["best_model_checkpoint"] = str(target / Path(best).name)
        _copy(Path(best), target, read_json(Path(best) / _STATE))
    _copy(checkpoint, target, state)


def _copy(checkpoint: Path, target: Path, state: Mapping[str, object]) -> None:
    making, made = target / f".{checkpoint.name}", target / checkpoint.name
    for path in (making, made):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(checkpoint, making, copy_function=take_in)
    write_json(making / _STATE, state)
    making.rename(made)
