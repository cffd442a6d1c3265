"""Workspaces in folders of this machine, and small programs that do the work of a step and of a server."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pipelines

import phi_finetune as pf
from phi_finetune.emulator.runners.simulated import SimulatedRunner
from phi_finetune.local.programs import Programs

__all__ = ["SIZE", "finetune", "programs", "simulated", "until", "with_programs"]

SIZE = "Standard_NC24ads_A100_v4"

_STEP = """
import json, os, pathlib, signal, sys, time
step, folder = sys.argv[1], pathlib.Path(sys.argv[2])
job = json.loads((folder / "job.json").read_text())
here = folder / "steps" / step
print(step, "begins", flush=True)
if step == "chat_completion_finetune":
    for number in range(1, 4):
        row = {"key": "loss", "value": 4.0 - number, "step": 10 * number, "time": time.time()}
        with open(here / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + chr(10))
    (here / "params.json").write_text(json.dumps({"epochs": job["values"]["num_train_epochs"]}))
    WHAT
    rows = (folder / job["files"]["train_file_path"]).read_bytes()
    for output in ("mlflow_model_folder", "pytorch_model_folder"):
        (folder / "outputs" / output / "data").mkdir(parents=True)
        (folder / "outputs" / output / "MLmodel").write_text("flavors: {}")
        (folder / "outputs" / output / "data" / "rows.jsonl").write_bytes(rows)
"""

_SERVER = """
import json, os, pathlib, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
folder = pathlib.Path(sys.argv[1])
told = json.loads((folder / "server.json").read_text())
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *words): print(self.command, self.path, flush=True)
    def do_GET(self): self.give(200, {})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer " + told["key"]: return self.give(401, {"error": "key"})
        if "break" in json.dumps(asked): return self.give(400, {"error": "broken"})
        files = sorted(str(one.relative_to(folder)) for one in folder.glob("model/**/*") if one.is_file())
        self.give(200, {"output": told["deployment"] + " of " + str(os.getpid()) + " has " + " ".join(files)})
    def give(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
WHAT
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
(folder / "port.new").write_text(str(server.server_port))
os.replace(folder / "port.new", folder / "port")
print("listens", flush=True)
server.serve_forever()
"""


def simulated(folder: Path, heard: list[object] | None = None) -> pf.Workspace:
    """A workspace in a folder, whose jobs are made up."""
    return pf.Workspace.local(
        folder, runner=SimulatedRunner(), on_event=None if heard is None else heard.append
    )


def programs(place: Path, *, step: str = "pass", server: str = "pass") -> Programs:
    """Programs that do a step and serve in a moment; what is given is done in the middle of it."""
    place.mkdir(exist_ok=True)
    for name, text, what in (("step", _STEP, step), ("server", _SERVER, server)):
        (place / f"{name}.py").write_text(text.replace("WHAT", what))
    return Programs(
        step=(sys.executable, "-S", str(place / "step.py")),
        server=(sys.executable, "-S", str(place / "server.py")),
    )


def with_programs(folder: Path, doing: Programs, heard: list[object] | None = None) -> pf.Workspace:
    """A workspace in a folder, whose jobs run in processes."""
    return pf.Workspace.local(folder, runner=doing, on_event=None if heard is None else heard.append)


def finetune(workspace: pf.Workspace, name: str = "facts") -> pf.Finetune:
    """A small fine-tune on serverless compute."""
    data = pf.ChatDataset.from_records(pipelines.conversations(24), name=name)
    return workspace.foundation_model("Phi-4").finetune(data).on(pf.GpuCompute.serverless(SIZE))


def trained(workspace: pf.Workspace) -> pf.RegisteredModel:
    """A registered model."""
    return finetune(workspace).submit().wait().register("facts")


def until(done: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Wait for another process."""
    ends, never = time.monotonic() + limit_s, threading.Event()
    while not done():
        assert time.monotonic() < ends, "it did not come about"
        never.wait(0.02)


def told(folder: Path) -> dict[str, object]:
    """What a JSON file says."""
    value: dict[str, object] = json.loads(folder.read_bytes())
    return value
