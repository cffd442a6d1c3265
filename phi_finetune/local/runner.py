"""What runs the jobs and serves the models of a folder, in processes that outlive whoever asked."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from requests.models import PreparedRequest
from requests.models import Response as RequestsResponse

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.jobs.job import Job
from phi_finetune.emulator.runners.engine import JobReport, Report, StepReport, Written
from phi_finetune.emulator.runners.runner import Failure
from phi_finetune.emulator.storage.blobs import StoredFile
from phi_finetune.local.processes import read_process, spawn, started_here
from phi_finetune.local.programs import PYTHON, Programs
from phi_finetune.local.run_folder import RunFolder, folder_name, tracking_uri
from phi_finetune.local.servers import Servers
from phi_finetune.local.tracking import is_possible

__all__ = ["Processes"]


class Processes:
    """The engine of a folder, and whoever brings about what its cloud says.

    Args:
        folder: The folder of the workspace.
        programs: What a step and a server are.
    """

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._path = folder
        self._jobs = folder / "jobs"
        self._tracking_uri = tracking_uri(folder)
        self._programs = programs
        self._started: dict[str, int] = {}
        self._settled: set[str] = set()
        self.servers = Servers(folder / "servers", programs)

    @property
    def engine(self) -> Processes:
        """Where what it runs writes to: itself."""
        return self

    def written(self, job: str, step: str) -> Written:
        """What a step has written so far."""
        return self._folder(job).written(step)

    def output(self, job: str, output: str, path: str) -> Callable[[], bytes]:
        """What gives the bytes of a file of an output."""
        return StoredFile(self._folder(job).output(output, path))

    def server_log(self, server: str) -> str:
        """What a server has written."""
        return self.servers.log(server)

    def reports(self, cloud: Cloud) -> list[Report]:
        """What the cloud has not been told yet."""
        jobs = [job for job in cloud.jobs.all() if job.is_underway]
        found: list[Report] = [
            report for job in jobs for report in self._of_job(job) if not job.knows(report)
        ]
        return [*found, *self.servers.reports(cloud)]

    def bring_about(self, cloud: Cloud) -> None:
        """Start what should run and does not, end what runs and should not."""
        for job in cloud.jobs.all():
            if job.is_wanted:
                self._start(job)
        self._settle([job for job in cloud.jobs.all() if job.ended and job.name not in self._settled])
        self.servers.bring_about(cloud)

    def ask(self, server: str, request: PreparedRequest, *, stream: bool, timeout: Any) -> RequestsResponse:
        """A server's own answer to a request."""
        return self.servers.ask(server, request, stream=stream, timeout=timeout)

    def reach(self, server: str, within_s: float) -> tuple[str, str]:
        """Where a server listens, and its key, once it is up."""
        return self.servers.reach(server, within_s)

    def _folder(self, job: str) -> RunFolder:
        return RunFolder(self._jobs / folder_name(job))

    def _start(self, job: Job) -> None:
        folder = self._folder(job.name)
        if not folder.exists:
            folder.prepare(job.work(), self._programs, self._tracking_uri)
        if read_process(folder.process) is None and not started_here(self._started.get(job.name, 0)):
            command = [*PYTHON, "phi_finetune.local.run_job", str(folder.path)]
            self._started[job.name] = spawn(command, log=folder.path / "run_job.txt")

    def _settle(self, ended: Sequence[Job]) -> None:
        """Do what the processes of jobs left undone that were killed; MLflow is loaded in another one."""
        left = []
        for job in ended:
            folder = self._folder(job.name)
            process = read_process(folder.process)
            if process is not None and process.alive:
                continue
            self._settled.add(job.name)
            if process is not None and not folder.runs_ended.exists():
                _tell_end(job, folder)
                left.append(str(folder.path))
        if left and is_possible():
            command = [*PYTHON, "phi_finetune.local.tracking", "end", *left]
            spawn(command, log=self._path / "tracking.txt", environment={"MLFLOW_DISABLE_TELEMETRY": "true"})

    def _of_job(self, job: Job) -> Iterator[StepReport | JobReport]:
        folder = self._folder(job.name)
        process = read_process(folder.process)
        # In this order: what has ended since has written its last event before.
        alive = process.alive if process is not None else None
        yield from folder.events()
        canceled = job.status == "CancelRequested"
        if alive:
            if canceled and process is not None:
                process.tell(signal.SIGTERM)
            return
        if any(isinstance(event, JobReport) for event in folder.events()):
            return
        if process is None and job.name in self._started and not started_here(self._started[job.name]):
            # It may have written the file in between.
            if read_process(folder.process) is None:
                yield from self._lost(job, folder, f"could not be started: {_last_words(folder)}")
        elif process is None and canceled and not folder.exists:
            yield JobReport(job.name, "Canceled", datetime.now(UTC))
        elif process is not None:
            yield from self._lost(job, folder, "was killed, and the step that it ran was ended with it")

    def _lost(self, job: Job, folder: RunFolder, what: str) -> Iterator[StepReport | JobReport]:
        """The end of a job whose process has ended without a word."""
        step = read_process(folder.step_process)
        if step is not None:
            step.kill_group()
        now = datetime.now(UTC)
        failure = Failure("UserError", f"The process that ran job {job.name} {what}.")
        canceled = job.status == "CancelRequested"
        state: Literal["Canceled", "Failed"] = "Canceled" if canceled else "Failed"
        for name in [child.slot.step.name for child in job.children if child.ended is None]:
            yield StepReport(job.name, name, state, now, None if canceled else failure)
        yield JobReport(job.name, state, now, failure=None if canceled else failure)


def _tell_end(job: Job, folder: RunFolder) -> None:
    """Write down how a job ended whose process was killed before it did."""
    events = list(folder.events())
    if any(isinstance(event, JobReport) for event in events):
        return
    states = {event.step: event.state for event in events if isinstance(event, StepReport)}
    for step in [step for step, state in states.items() if state == "Running"]:
        folder.tell({"step": step, "state": job.status})
    folder.tell({"state": job.status})


def _last_words(folder: RunFolder) -> str:
    with suppress(OSError):
        lines = (folder.path / "run_job.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it wrote nothing"
    return "it wrote nothing"
