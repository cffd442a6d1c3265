"""``python -m phi_finetune.local.tracking begin|end FOLDER...``: jobs' runs in MLflow's store of the workspace.

It is a program of its own, as MLflow takes seconds to load. A job has a run, and each of its steps one below it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from phi_finetune.local.contents import write_whole
from phi_finetune.local.libraries import TRACKING, load
from phi_finetune.local.processes import alone
from phi_finetune.local.run_folder import RunFolder

__all__ = ["is_possible", "main"]

_EXPERIMENT: Final = "phi-finetune"
_STATES: Final = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}


def is_possible() -> bool:
    """Whether MLflow is here, and all that its store needs."""
    return find_spec("mlflow") is not None and find_spec("sqlalchemy") is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Begin or end the runs of jobs.

    Args:
        arguments: ``begin`` or ``end``, and the jobs' folders; None takes them from the command line.

    Returns:
        0 where all was done; 1 where a folder is broken, and the rest was done.
    """
    what, *paths = sys.argv[1:] if arguments is None else arguments
    load(TRACKING)
    done = [_did(what, RunFolder(Path(path))) for path in paths]
    return 0 if all(done) else 1


def _did(what: str, folder: RunFolder) -> bool:
    """Whether it could be done; a folder that is broken is told of, and keeps no other job from it."""
    from mlflow.exceptions import MlflowException

    try:
        # Whoever finds a job's process killed ends its runs, while this may still begin them.
        with alone(folder.path / "tracking.lock"):
            if not folder.runs_ended.exists():
                (_begin if what == "begin" else _end)(folder)
    except (OSError, LookupError, TypeError, ValueError, MlflowException) as error:
        sys.stderr.write(f"{folder.path}: {error!r}\n")
        return False
    return True


def _begin(folder: RunFolder) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Param

    file = folder.path / "job.json"
    job = json.loads(file.read_bytes())
    # MLflow makes its tables at the first call; two processes that do so at once leave them broken.
    with alone(Path(job["tracking_uri"].removeprefix("sqlite:///")).with_suffix(".lock")):
        client = MlflowClient(tracking_uri=job["tracking_uri"])
        found = client.get_experiment_by_name(_EXPERIMENT)
        experiment = client.create_experiment(_EXPERIMENT) if found is None else found.experiment_id
    parent = client.create_run(experiment, run_name=job["name"]).info.run_id
    values = job["values"]
    runs = {"": parent}
    for step in folder.run()["steps"]:
        # Each is written down before the next, so that a kill leaves none that nobody ends.
        write_whole(folder.path / "tracking.json", json.dumps(runs).encode())
        run = client.create_run(experiment, run_name=step, tags={"mlflow.parentRunId": parent})
        runs[step] = run.info.run_id
    write_whole(folder.path / "tracking.json", json.dumps(runs).encode())
    client.log_batch(parent, params=list(map(Param, values, map(str, values.values()))))
    write_whole(
        file, json.dumps({**job, "runs": {step: runs[step] for step in runs if step}}, indent=1).encode()
    )


def _end(folder: RunFolder) -> None:
    runs = folder.path / "tracking.json"
    if runs.exists():
        _end_runs(folder, dict(json.loads(runs.read_bytes())))
    folder.runs_ended.touch(mode=0o600)


def _end_runs(folder: RunFolder, runs: Mapping[str, str]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=json.loads((folder.path / "job.json").read_bytes())["tracking_uri"])
    experiment = client.get_experiment_by_name(_EXPERIMENT)
    # Somebody may have deleted some, or ended them before being killed: their end stays what it was.
    these = ", ".join(f"'{run}'" for run in runs.values())
    asked = f"attributes.status = 'RUNNING' AND attributes.run_id IN ({these})"
    found = client.search_runs([experiment.experiment_id], asked) if experiment else []
    going = {run.info.run_id for run in found}
    states = {getattr(event, "step", ""): event.state for event in folder.events()}
    for step, run in runs.items():
        if run in going:
            client.set_terminated(run, _STATES.get(states.get(step, "Canceled"), "KILLED"))


if __name__ == "__main__":
    sys.exit(main())
