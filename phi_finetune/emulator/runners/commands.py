"""What command jobs do. No command is ever run: a test says what its outcome is, or a short run is made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TypeAlias

from phi_finetune.emulator.runners.runner import Failure, Metric, Run, Step

__all__ = ["CommandInputs", "CommandResult", "Commands"]

_NOTICE = "SIMULATED RUN: the emulator runs no commands."
_LASTS = timedelta(minutes=5)

Files: TypeAlias = Mapping[str, bytes]
"""The content of files, by their path in a folder; a single file goes by its own name."""


@dataclass(frozen=True)
class CommandInputs:
    """What a command is given.

    Attributes:
        name: The name of the job's step, or of the job.
        line: The command line, with the values of its inputs, and a made-up path for each file and folder.
        values: Its literal inputs, as strings.
        files: The files of each other input, by the input's name.
        outputs: The type of each output (``"uri_folder"``, ``"mlflow_model"``, ...), by its name.
        code: The files of its code folder; none where it has no code of its own.
        environment: The environment, as the job names it.
        environment_variables: The variables that the job sets.
        instance_count: Its nodes.
    """

    name: str
    line: str
    values: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Files] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    code: Files = field(default_factory=dict)
    environment: str = ""
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    instance_count: int = 1


@dataclass(frozen=True)
class CommandResult:
    """What came of a command.

    Attributes:
        outputs: What it wrote, by the output's name: a file's bytes, or the files of a folder by their path. An
            output that is not named has a note in it that nothing ran.
        metrics: What it logged to MLflow: the values of each metric, one a step, evenly over its time.
        log: What it printed.
        exit_code: Anything but 0 fails the run.
        error: What the service says of the failure besides the exit code, as it takes it from the log.
        lasts: How long it ran.
    """

    outputs: Mapping[str, bytes | Files] = field(default_factory=dict)
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    log: str = ""
    exit_code: int = 0
    error: str = ""
    lasts: timedelta = _LASTS


Outcome: TypeAlias = CommandResult | Callable[[CommandInputs], CommandResult]
"""A result, or a function that makes one of what the command is given."""


class Commands:
    """The outcomes of commands, as a test sets them."""

    def __init__(self) -> None:
        self._outcomes: list[tuple[str, Outcome]] = []

    def on(self, pattern: str, outcome: Outcome) -> None:
        """Set what comes of every command line that is like a pattern.

        Args:
            pattern: The line, with ``*`` for anything: ``"python train.py *"``. Of several that fit, the one set
                last counts.
            outcome: The result, or a function that gets a :class:`CommandInputs` and gives the result.
        """
        self._outcomes.insert(0, (pattern, outcome))

    def run(self, command: CommandInputs) -> Run:
        """Run a command, as it were.

        Raises:
            ValueError: The outcome has an output that the command does not declare.
        """
        result = self._result(command)
        unknown = set(result.outputs) - set(command.outputs)
        if unknown:
            declared = ", ".join(command.outputs) or "none"
            raise ValueError(
                f"the command {command.name!r} has no output {', '.join(sorted(unknown))}: it has {declared}"
            )
        if result.exit_code:
            return Run([_step(command, result, _failure(command, result))], {})
        outputs = {
            name: _files(name, kind, result.outputs.get(name)) for name, kind in command.outputs.items()
        }
        return Run([_step(command, result, None)], outputs)

    def _result(self, command: CommandInputs) -> CommandResult:
        for pattern, outcome in self._outcomes:
            if fnmatchcase(command.line, pattern):
                return outcome if isinstance(outcome, CommandResult) else outcome(command)
        return CommandResult()


def _step(command: CommandInputs, result: CommandResult, failure: Failure | None) -> Step:
    start, end = timedelta(0), result.lasts
    log = [(start, _NOTICE), (start, f"$ {command.line}"), *((end, line) for line in result.log.splitlines())]
    metrics = [
        Metric(key, value, step, result.lasts * (step + 1) / (len(values) + 1))
        for key, values in result.metrics.items()
        for step, value in enumerate(values)
    ]
    return Step(command.name, result.lasts, log, metrics, failure=failure)


def _failure(command: CommandInputs, result: CommandResult) -> Failure:
    # The form is assumed: no source for it was found. What follows "Error:" is taken from the log's end.
    told = result.error or next((line for line in reversed(result.log.splitlines()) if line.strip()), "")
    program = command.line.split()[0] if command.line.split() else "bash"
    message = (
        f"Execution failed. User process '{program}' exited with status code {result.exit_code}. Please check "
        f"log file 'user_logs/std_log.txt' for error details. Error: {told}"
    )
    return Failure("UserError", message)


def _files(name: str, kind: str, given: bytes | Files | None) -> Files:
    if isinstance(given, bytes):
        return {name: given}
    if given is not None:
        return given
    if kind == "uri_file":
        return {name: f"{_NOTICE}\n".encode()}
    if kind == "mlflow_model":
        return {"MLmodel": f"flavors: {{}}\nmetadata:\n  note: {json.dumps(_NOTICE)}\n".encode()}
    if kind == "mltable":
        return {"MLTable": b"type: mltable\npaths: []\n", "note.txt": f"{_NOTICE}\n".encode()}
    return {"note.txt": f"{_NOTICE}\n".encode()}
