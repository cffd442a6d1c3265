"""``python -m phi_finetune.local.rank JOBFOLDER``: one of several processes that train a model together.

``RANK`` and the other variables that torch goes by say which one it is. It ends when the process does that started it,
which it knows by its standard input. It exits with 0 where it is done, and 1 where it failed; its ``status.json`` says
why.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from phi_finetune.local.finetune import tune
from phi_finetune.local.hardware import this_machine
from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.ranks import STEP, folder_of, plan_of
from phi_finetune.local.recorder import Recorder
from phi_finetune.local.step import log_of, use_settings
from phi_finetune.local.steps import StepLog

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Do this process's part of the training of the job that the arguments name."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m phi_finetune.local.rank JOBFOLDER\n")
        return 2
    threading.Thread(target=_end_with_starter, daemon=True).start()
    use_settings()
    folder, number = JobFolder(Path(arguments[0]).resolve()), int(os.environ["RANK"])
    with Recorder(folder_of(folder, number)) as recorder:
        _take_gpu(number)
        log = log_of(folder, STEP) if number == 0 else _SILENT
        tune(folder, folder.job(), log, plan_of(folder), rank=number)
    return 0 if recorder.status.state == "Completed" else 1


def _end_with_starter() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _take_gpu(number: int) -> None:
    if this_machine().device == "cuda":
        import torch

        torch.cuda.set_device(number)


def _nothing(*anything: object) -> None:
    return


def _no_metrics(step: int, values: Mapping[str, float]) -> None:
    return


_SILENT = StepLog(_nothing, _no_metrics, _nothing, _nothing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
