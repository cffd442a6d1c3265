"""Answering beside ``mlflow models serve``: the same MLflow model, the same held-out questions, one thread each.

Ours is ``python -m phi_finetune.local.serve``, the program that a deployment of this machine runs. Each server is
started anew for each run, the two taking turns, and asked over kept connections: first one question at a time, then
eight at once, by as many threads. Both take always the likeliest token. The tokens are those of the answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

import psutil
import requests
from local_runs import SETTINGS

AT_ONCE: Final = (1, 8)
ROUNDS: Final = 4
"""How often all questions are asked."""
_MOST_TOKENS: Final = 64
_KEY: Final = "a-key-for-a-benchmark"
_COMES_UP_S: Final = 180.0

Ask: TypeAlias = Callable[[requests.Session, str], str]
"""Asks a question, and gives the answer."""


class NotUp(Exception):
    """A server did not come up."""


def served(
    job: Path, questions: Sequence[str], *, runs: int, rounds: int = ROUNDS
) -> dict[str, list[dict[str, float]]]:
    """The tokens, the seconds, and the server's processor seconds of every run, by ``SERVER AT_ONCE``."""
    model, count = job / "outputs" / "mlflow_model_folder", _tokens_of(job)
    found: dict[str, list[dict[str, float]]] = {}
    texts: dict[str, list[str]] = {}
    for _ in range(runs):
        for name, server in (("ours", ours), ("mlflow", mlflow)):
            with server(model) as (ask, process):
                for at_once in AT_ONCE:
                    answers, run = _timed(ask, process, list(questions) * rounds, at_once)
                    texts.setdefault(name, answers)
                    run["tokens"] = sum(map(count, answers))
                    found.setdefault(f"{name} {at_once}", []).append(run)
    if texts["ours"] != texts["mlflow"]:
        raise SystemExit("the two servers do not answer the same, so their speeds cannot be compared")
    return found


def _tokens_of(job: Path) -> Callable[[str], int]:
    from phi_finetune.local.model import load_tokenizer

    tokenizer = load_tokenizer(job / "model")
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _timed(
    ask: Ask, process: psutil.Process, asked: Sequence[str], at_once: int
) -> tuple[list[str], dict[str, float]]:
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(requests.Session()) for _ in range(at_once)]
        pool = stack.enter_context(ThreadPoolExecutor(at_once))

        def all_of(number: int) -> list[str]:
            return [ask(sessions[number], question) for question in asked[number::at_once]]

        list(pool.map(ask, sessions, asked))  # the first answers take longer
        cpu, started = _cpu(process), time.perf_counter()
        parts = list(pool.map(all_of, range(at_once)))
        run = {"seconds": time.perf_counter() - started, "cpu": _cpu(process) - cpu}
    answers = [parts[number % at_once][number // at_once] for number in range(len(asked))]
    return answers, run


def _cpu(process: psutil.Process) -> float:
    """Processor seconds of a server so far, its own processes included."""
    every = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in every)


@contextlib.contextmanager
def ours(model: Path) -> Iterator[tuple[Ask, psutil.Process]]:
    """This library's server."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "model").symlink_to(model.resolve())
        told = {"deployment": "blue", "key": _KEY, "settings": {"maxConcurrentRequestsPerInstance": 8}}
        (folder / "server.json").write_text(json.dumps(told), encoding="utf-8")
        with _running([sys.executable, "-m", "phi_finetune.local.serve", scratch]) as process:
            port = _until(lambda: int((folder / "port").read_text(encoding="ascii")), process)
            _until(lambda: _healthy(f"http://127.0.0.1:{port}/health"), process)
            yield lambda session, question: _ask_ours(session, port, question), process


def _ask_ours(session: requests.Session, port: int, question: str) -> str:
    body = {
        "input_data": {
            "input_string": [{"role": "user", "content": question}],
            "parameters": {"max_new_tokens": _MOST_TOKENS, "do_sample": False},
        }
    }
    answer = session.post(
        f"http://127.0.0.1:{port}/score", json=body, headers={"Authorization": f"Bearer {_KEY}"}
    )
    answer.raise_for_status()
    return str(answer.json()["output"])


@contextlib.contextmanager
def mlflow(model: Path) -> Iterator[tuple[Ask, psutil.Process]]:
    """MLflow's own server, in this environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-m", str(model), "-p", str(port), "-h", "127.0.0.1", "--env-manager", "local"]
    with _running([sys.executable, "-m", "mlflow", "models", "serve", *options]) as process:
        _until(lambda: _healthy(f"http://127.0.0.1:{port}/ping"), process)
        yield lambda session, question: _ask_mlflow(session, port, question), process


def _ask_mlflow(session: requests.Session, port: int, question: str) -> str:
    body = {
        "dataframe_records": [{"messages": [{"role": "user", "content": question}]}],
        "params": {"max_new_tokens": _MOST_TOKENS, "do_sample": False},
    }
    answer = session.post(f"http://127.0.0.1:{port}/invocations", json=body)
    answer.raise_for_status()
    found: Any = answer.json()["predictions"]
    return str(found[0])


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[psutil.Process]:
    # MLflow looks for uvicorn on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    settings = {**os.environ, **SETTINGS, "PATH": path}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=settings, process_group=0)
        try:
            yield psutil.Process(server.pid)
        except NotUp:
            log.seek(0)
            raise SystemExit(f"{command} did not come up: {log.read()[-2000:].decode()}") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def _until(look: Callable[[], Any], process: psutil.Process) -> Any:
    """What a look gives, once it gives something."""
    until = time.monotonic() + _COMES_UP_S
    while time.monotonic() < until and process.status() != psutil.STATUS_ZOMBIE:
        with contextlib.suppress(OSError, ValueError, requests.RequestException):
            if found := look():
                return found
        time.sleep(0.1)
    raise NotUp


def _healthy(address: str) -> bool:
    return requests.get(address, timeout=5).status_code == 200
