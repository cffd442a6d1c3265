"""A runner that does what a test wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from phi_finetune.emulator.jobs.hardware import FINETUNE
from phi_finetune.emulator.runners.replies import BadRequest, read_request
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Metric, Reply, Run, Step

__all__ = ["GREETING", "JobScript", "ReplyScript", "ScriptedRunner", "model_files"]

_MARK: Final = "fake_model.txt"
"""The file of a model that says whose replies it gives."""
GREETING: Final = "Hello."
"""What a model answers that was given no replies."""
_LASTS: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class JobScript:
    """What a job does: all that it logs is there when its fine-tune step has begun.

    Attributes:
        metrics: The values of each metric, in order.
        log: What the fine-tune step writes.
        fails: Whether the fine-tune step fails.
        lasts: How long the fine-tune step runs.
    """

    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    log: str = ""
    fails: bool = False
    lasts: timedelta = timedelta(seconds=1)


class ReplyScript:
    """What a model answers.

    Args:
        replies: Answers in the order in which they are given, the last one again and again; or the answer to
            each question.
    """

    def __init__(self, replies: Sequence[str] | Mapping[str, str]) -> None:
        self._by_question = dict(replies) if isinstance(replies, Mapping) else None
        self._waiting = [] if isinstance(replies, Mapping) else list(replies)

    def answer(self, question: str) -> str | None:
        """The answer to a question; None where there is none."""
        if self._by_question is not None:
            return self._by_question.get(question)
        if len(self._waiting) > 1:
            return self._waiting.pop(0)
        return self._waiting[0] if self._waiting else None


class ScriptedRunner:
    """Runs jobs by their scripts, and answers by those of the models.

    Attributes:
        jobs: The script of each job, by its name.
        replies: The script of each model, by the name in its files.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, JobScript] = {}
        self.replies: dict[str, ReplyScript] = {}

    def run(self, job: JobInputs) -> Run:
        """Run a job's steps up to the first that fails."""
        script = self.jobs.get(job.name, JobScript())
        if not script.fails:
            steps = [_step(name, script) for name in job.steps]
            return Run(steps, {"mlflow_model_folder": model_files(job.name)})
        until = job.steps.index(FINETUNE) + 1
        return Run([_step(name, script) for name in job.steps[:until]], {})

    def reply(self, model: Mapping[str, bytes], body: Any) -> Reply:
        """Answer a request; 400 where it is none, 500 where the script has no answer to it."""
        try:
            request = read_request(body)
        except BadRequest as error:
            return Reply(400, {"error": str(error)}, f"ERROR bad request: {error}")
        script = self.replies.get(_whose(model), ReplyScript([GREETING]))
        answer = script.answer(request.messages[-1]["content"])
        if answer is None:
            return Reply(
                500, {"error": "The fake has no reply to this."}, "ERROR no reply is set for a request"
            )
        return Reply(200, {"output": answer}, "INFO answered")


def model_files(name: str) -> dict[str, bytes]:
    """The files of an MLflow model that gives the replies of this name."""
    return {"MLmodel": b"flavors:\n  phi_finetune_fake: {}\n", _MARK: name.encode()}


def _step(name: str, script: JobScript) -> Step:
    if name != FINETUNE:
        return Step(name, _LASTS, [(_LASTS, f"{name} is done.")])
    lines = script.log.splitlines()
    told = next((line for line in reversed(lines) if line.strip()), "The step failed.")
    return Step(
        name,
        script.lasts,
        [(timedelta(0), line) for line in lines],
        [
            Metric(key, value, step, timedelta(0))
            for key, values in script.metrics.items()
            for step, value in enumerate(values, 1)
        ],
        failure=Failure("UserError", told) if script.fails else None,
    )


def _whose(files: Mapping[str, bytes]) -> str:
    marks = (data.decode() for path, data in files.items() if path.rpartition("/")[2] == _MARK)
    return next(marks, "")
