"""Why a job failed: the step that failed first, its own error, and the end of its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune.errors import JobCanceled, JobFailed, PhiFinetuneError

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client

__all__ = ["Diagnosis", "JobStep"]

LOG_TAIL_LINES = 20


@attrs.frozen
class JobStep:
    """One step of a job's pipeline.

    Attributes:
        name: The step's name, such as ``"chat_completion_finetune"``.
        run: The name of its run.
        status: Its state, as Azure names it.
        started_at: When it began; None before that.
        ended_at: When it ended; None before that.
    """

    name: str
    run: str
    status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None


@attrs.frozen
class Diagnosis:
    """Why a job ended as it did.

    Attributes:
        job: The job.
        status: The state it ended in.
        step: The step that failed first; None where no step did.
        code: The error's code, of the step where one failed.
        message: The error's message, of the step where one failed.
        log_tail: The last lines of the step's log.
        advice: What to change; empty where there is nothing to say.
    """

    job: str
    status: str
    step: str | None
    code: str | None
    message: str
    log_tail: str
    advice: str


def log_of(client: Client, run: str, details: Mapping[str, Any]) -> str:
    """All that a run has written so far, from the log files that its details name."""
    written = written_since(client, run, details, {})
    return "".join(content.decode(errors="replace") for content in written.values())


def written_since(
    client: Client, run: str, details: Mapping[str, Any], read: Mapping[str, int]
) -> dict[str, bytes]:
    """What each log file of a run holds beyond the bytes that were read of it, by the files' names in order."""
    from phi_finetune._azure.run_history import log_from

    files: Mapping[str, str] = details.get("logFiles") or {}
    return {name: log_from(client, run, details, name, read.get(name, 0)) for name in sorted(files)}


def _log_tail(client: Client, run: str, details: Mapping[str, Any]) -> str:
    try:
        log = log_of(client, run, details)
    except PhiFinetuneError as error:
        return f"(the log could not be read: {error.what})"
    return "\n".join(log.splitlines()[-LOG_TAIL_LINES:])


def diagnose(client: Client, job: str, steps: Sequence[JobStep]) -> Diagnosis:
    """Find out why a job ended as it did."""
    from phi_finetune._azure.run_history import run_details

    details = run_details(client, job)
    status = str(details.get("status"))
    late = datetime.max.replace(tzinfo=UTC)
    failed = [step for step in steps if step.status in ("Failed", "NotResponding")]
    first = min(failed, key=lambda step: step.ended_at or late, default=None)
    source = run_details(client, first.run) if first else details
    error = ((source.get("error") or {}).get("error")) or {}
    tail = _log_tail(client, first.run, source) if first else ""
    message = str(error.get("message") or "")
    return Diagnosis(
        job=job,
        status=status,
        step=first.name if first else None,
        code=error.get("code"),
        message=message,
        log_tail=tail,
        advice=_advice(f"{message}\n{tail}"),
    )


def _advice(text: str) -> str:
    lowered = text.lower()
    if "out of memory" in lowered:
        return (
            "use less memory: a lower max_seq_length, per_device_train_batch_size or lora_r in with_parameters(), "
            "or a larger size"
        )
    if "preempt" in lowered:
        return "the low-priority machines were taken away: submit() again, or use dedicated ones"
    return ""


def failure(found: Diagnosis, resource: str) -> JobFailed:
    """The error that a diagnosis comes to."""
    step = "" if found.step is None else repr(found.step)
    next_call = found.advice or f'read ws.job("{found.job}").logs({step}), mend it, and submit() again'
    if found.status == "Canceled":
        return JobCanceled(
            "The job was canceled",
            resource=resource,
            next_call="submit() starts the next attempt",
            job=found.job,
            status=found.status,
        )
    if found.status == "Paused":
        next_call = "resume it in the studio, or cancel() it"
    where = f"Step {found.step} of the job failed" if found.step else f"The job ended as {found.status}"
    return JobFailed(
        where,
        resource=resource,
        why=f"{found.code}: {found.message}"
        if found.code
        else found.message or "the service gives no reason",
        next_call=next_call,
        code=found.code,
        job=found.job,
        status=found.status,
        child=found.step,
        log_tail=found.log_tail,
    )
