"""Reports of jobs and servers as JSON, for the log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from phi_finetune.emulator.runners.engine import JobReport, Report, ServerReport, StepReport
from phi_finetune.emulator.runners.runner import Failure

__all__ = ["as_json", "from_json"]


def as_json(report: Report) -> dict[str, Any]:
    """A report as JSON has it."""
    failure = report.failure
    told: dict[str, Any] = (
        {} if failure is None else {"failure": {"code": failure.code, "message": failure.message}}
    )
    if isinstance(report, ServerReport):
        return {"server": report.server, **told}
    when = report.when.isoformat()
    if isinstance(report, StepReport):
        return {"job": report.job, "step": report.step, "state": report.state, "when": when, **told}
    outputs = {name: list(files) for name, files in report.outputs.items()}
    return {"job": report.job, "state": report.state, "when": when, "outputs": outputs, **told}


def from_json(told: Mapping[str, Any]) -> Report:
    """The report that JSON has."""
    failure = Failure(**told["failure"]) if "failure" in told else None
    if "server" in told:
        return ServerReport(told["server"], failure)
    when = datetime.fromisoformat(told["when"])
    if "step" in told:
        return StepReport(told["job"], told["step"], told["state"], when, failure)
    return JobReport(told["job"], told["state"], when, told["outputs"], failure)
