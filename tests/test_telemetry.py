"""Nothing is told to anybody but Azure: sockets are closed, and whatever tries to open one is listed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
CI = ("CI", "DO_NOT_TRACK", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "TF_BUILD")
"""Where one of these is set MLflow tells nothing anyway."""

CLOSED = """
import socket, sys, types

def refuse(*asked):
    print("tried", *asked, flush=True)
    raise OSError("no sockets in this test")

socket.getaddrinfo = refuse
socket.socket.connect = lambda self, address: refuse(address)
socket.socket.connect_ex = lambda self, address: refuse(address)
"""

NOTEBOOK = """
kernel = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: kernel
"""

LIFE = """
from tuning import PROMPT, REPLY, deployed, finetune
from phi_finetune.testing import FakeAzure

with FakeAzure() as azure:
    workspace = azure.workspace()
    with deployed(azure, workspace) as endpoint:
        assert endpoint.chat(PROMPT, do_sample=False).text == REPLY
    job = finetune(workspace).submit().wait()
    assert job.metrics().loss
    mlflow = workspace.mlflow_client()
    assert mlflow.get_run(job.name).info.run_id == job.name
    mlflow.log_batch(job.name)  # MLflow tells of this call, which sends nothing
"""
WAIT = """
import threading
for thread in set(threading.enumerate()) - {threading.main_thread()}:
    thread.join(5)
"""


def tried(*parts: str, **environment: str) -> list[str]:
    """What code tried to reach, in a process of its own without sockets, until that process has ended."""
    kept = {name: value for name, value in os.environ.items() if name not in CI}
    path = os.pathsep.join([str(TESTS), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(parts)],
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_life_reaches_nobody_else() -> None:
    """From training to deletion, with MLflow's client, no other host is looked up or connected to.

    It is lived in a notebook: there azure-ai-ml has telemetry unless told otherwise. MLflow has it anywhere
    (reliability.md 1.6).
    """
    assert tried(CLOSED, NOTEBOOK, LIFE, WAIT) == []


def test_who_chose_mlflows_telemetry_keeps_it() -> None:
    """Its variable, where it is set, is left as it is, and so is what it leads to."""
    code = """
import os
from phi_finetune._azure.mlflow import _client_class
_client_class()
from mlflow.telemetry import get_telemetry_client
print(os.environ.get("MLFLOW_DISABLE_TELEMETRY"), get_telemetry_client() is not None)
"""
    assert tried(CLOSED, code) == ["None False"]
    assert tried(CLOSED, code, MLFLOW_DISABLE_TELEMETRY="false") == ["false True"]


def test_what_is_tried_is_seen() -> None:
    """The list would not be empty if anything were tried."""
    code = (
        'import contextlib\nwith contextlib.suppress(OSError): socket.create_connection(("example.org", 443))'
    )
    assert tried(CLOSED, code) == ["tried example.org 443 0 1"]
