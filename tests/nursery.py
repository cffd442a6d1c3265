"""Processes for tests: forked from one that has imported everything already, so that each is there at once.

Run as a program, it is that process. It has one thread, so forking it is safe, whatever goes on in the tests' own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

__all__ = ["Ended", "Nursery"]


@attrs.frozen
class Ended:
    """How a process ended.

    Attributes:
        status: Its exit status; negative is the signal that killed it.
        value: What its script gave.
        error: The traceback of what its script raised.
    """

    status: int
    value: Any = None
    error: str | None = None


class Nursery:
    """A process that forks others."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._hear()

    @classmethod
    @contextmanager
    def opened(cls) -> Any:
        """One that ends with the block."""
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=_environment()) as process:
            yield cls(process)
            assert process.stdin is not None
            process.stdin.close()

    def run(
        self,
        script: str,
        environment: Mapping[str, str],
        *,
        count: int = 1,
        ready: Callable[[list[int]], None] | None = None,
        **arguments: Any,
    ) -> list[Ended]:
        """Run a function of ``programs`` in so many processes at once, and wait for all of them.

        Args:
            script: Its name.
            environment: The environment variables that each has besides its own.
            count: How many processes.
            ready: Called with their ids once all are there, before the first begins.
            arguments: What the function gets.
        """
        self._say(
            {"script": script, "environment": dict(environment), "count": count, "arguments": arguments}
        )
        pids = self._hear()
        if ready is not None:
            ready(pids)
        self._say("go")
        return [Ended(**ended) for ended in self._hear()]

    def _say(self, what: object) -> None:
        print(json.dumps(what), file=self._in, flush=True)

    def _hear(self) -> Any:
        return json.loads(self._out.readline())


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}


def _serve(orders: IO[str], answers: IO[str]) -> None:
    import programs

    programs.warm()

    def say(what: object) -> None:
        print(json.dumps(what), file=answers, flush=True)

    say("ready")
    for line in orders:
        order = json.loads(line)
        barrier, opener = os.pipe()
        children: list[tuple[int, int]] = []
        for _ in range(order["count"]):
            result, into = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(opener)
                _live(order, programs, barrier, into)
            os.close(into)
            children.append((pid, result))
        os.close(barrier)
        say([pid for pid, _ in children])
        orders.readline()
        os.close(opener)
        say([_ended(pid, result) for pid, result in children])


def _live(order: Mapping[str, Any], programs: object, barrier: int, into: int) -> None:
    """Be a child: wait until all are there, and run the script."""
    os.environ.update(order["environment"])
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.read(barrier, 1)
    status, ended = 0, dict[str, Any]()
    try:
        ended["value"] = getattr(programs, order["script"])(**order["arguments"])
    except BaseException:  # noqa: BLE001 - the test is told
        status, ended["error"] = 1, traceback.format_exc()
    with os.fdopen(into, "w") as pipe:
        json.dump(ended, pipe)
    os._exit(status)


def _ended(pid: int, result: int) -> dict[str, Any]:
    with os.fdopen(result) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return {"status": os.waitstatus_to_exitcode(status), **(json.loads(said) if said else {})}


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
