"""How many requests and how much time a whole fine-tune takes, this library's way beside the tutorial's.

Both run against ``FakeAzure`` in one process, on the same rows, with the same polls to go through and the same
questions asked: ten unless said otherwise, about what a person asks a new model (wire.md's lifecycle asks eleven).
Modules are imported first; nothing sleeps. Each way is run several times and medians are shown.

    python benchmarks/lifecycle.py [--rows FILE] [--runs N] [--questions N] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tutorial_way

import phi_finetune as pf
from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.runners.runner import JobInputs, Reply, Run
from phi_finetune.emulator.runners.simulated import SimulatedRunner
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"
FIRST_TEST = """
def test_first(workspace):
    import phi_finetune as pf
    model = workspace.foundation_model("Phi-4")
    cluster = workspace.gpu_compute("gpu", size="Standard_NC24ads_A100_v4").ensure(model)
    job = model.finetune(pf.ChatDataset.from_sample()).on(cluster).submit().wait()
    with job.register().deploy(instance_type="Standard_NC24ads_A100_v4") as endpoint:
        assert endpoint.chat("Name a river.").text
"""


class TimedRunner:
    """The simulated runner, with the time that its fits and its answers take."""

    def __init__(self) -> None:
        self._inner = SimulatedRunner()
        self.fitting = self.answering = 0.0

    def run(self, job: JobInputs) -> Run:
        """Run a job, and add up what it takes."""
        started = time.perf_counter()
        run = self._inner.run(job)
        self.fitting += time.perf_counter() - started
        return run

    def reply(self, model: Any, body: Any) -> Reply:
        """Answer a request, and add up what it takes."""
        started = time.perf_counter()
        reply = self._inner.reply(model, body)
        self.answering += time.perf_counter() - started
        return reply


@contextlib.contextmanager
def handlers_timed() -> Iterator[list[float]]:
    """Measure what the emulator itself takes, by wrapping its one entrance."""
    spent: list[float] = []
    handle = Cloud.handle

    def timed(cloud: Cloud, request: Any) -> Any:
        started = time.perf_counter()
        answer = handle(cloud, request)
        spent.append(time.perf_counter() - started)
        return answer

    Cloud.handle = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        Cloud.handle = handle  # type: ignore[method-assign]


def ours(azure: FakeAzure, data: pf.ChatDataset, questions: int) -> None:
    """The whole path with this library."""
    ws = azure.workspace()
    base = ws.foundation_model("Phi-4")
    cluster = ws.gpu_compute("gpu-cluster", size=SIZE, max_nodes=2).ensure(base)
    tune = base.finetune(data).on(cluster).with_parameters(num_train_epochs=1, learning_rate=5e-6)
    job = tune.submit().wait()
    metrics = job.metrics()
    assert metrics.history("loss")
    assert metrics.history("eval_loss")
    with job.register("tuned").deploy(instance_type=SIZE) as endpoint:
        for _ in range(questions):
            assert endpoint.chat(data.row(0)).text


def tutorial(azure: FakeAzure, files: dict[str, str], request_file: str, questions: int) -> None:
    """The whole path with plain azure-ai-ml and mlflow."""
    found = tutorial_way.lifecycle(
        azure.ml_client(),
        azure.ml_client(registry_name="azureml"),
        model_name="Phi-4",
        size=SIZE,
        files=files,
        request_file=request_file,
        endpoint_name="tutorial-endpoint",
        questions=questions,
    )
    assert found["metrics"]["loss"]
    assert found["answers"]


def floor(azure: FakeAzure, data: pf.ChatDataset) -> float:
    """What azure-ai-ml takes to build and serialise the one job, in seconds; no request is sent in it."""
    from phi_finetune._azure.jobs import build_pipeline
    from phi_finetune._azure.registry import find_component

    ws = azure.workspace()
    component = find_component(ws._handle(), "azureml", "chat_completion_pipeline", None)
    base = ws.foundation_model("Phi-4")
    compute = pf.GpuCompute.serverless(SIZE)
    plan = base.finetune(data).on(ws.attach(compute)).plan()
    inputs = plan.parameters.as_component_inputs()
    files = {name: str(inputs.pop(name)) for name in (*plan.files, "mlflow_model_path")}
    started = time.perf_counter()
    job = build_pipeline(
        component,
        inputs=inputs,
        files=files,
        name="floor",
        experiment="floor",
        display_name="floor",
        description=None,
        tags={},
        properties={},
        force_rerun=False,
        continue_on_step_failure=False,
    )
    job._to_rest_object()
    return time.perf_counter() - started


def measure(run: Callable[[FakeAzure], None]) -> dict[str, float]:
    """Run once on a new Azure: requests, seconds, and the emulator's and the runner's share of them."""
    runner = TimedRunner()
    with handlers_timed() as spent, FakeAzure(runner=runner) as azure:
        silent = io.StringIO()
        started = time.perf_counter()
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            run(azure)
        seconds = time.perf_counter() - started
        requests = len(azure.journal)
    return {
        "requests": requests,
        "seconds": seconds,
        "emulator": sum(spent) - runner.fitting - runner.answering,
        "runner": runner.fitting,
        "answers": runner.answering,
    }


def import_ms() -> float:
    """What ``import phi_finetune`` adds to a bare interpreter, in milliseconds."""
    bare = statistics.median(_start("pass") for _ in range(9))
    loaded = statistics.median(_start("import phi_finetune") for _ in range(9))
    return (loaded - bare) * 1000


def first_test_s() -> float:
    """How long a process takes whose one test takes the whole path: start of pytest, imports and test, in seconds.

    Plugins of other packages are left out: hypothesis alone takes a second.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "phi_finetune.testing.plugin",
    ]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    times = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_first.py").write_text(FIRST_TEST)
        for _ in range(3):
            started = time.perf_counter()
            subprocess.run([*command, folder], check=True, capture_output=True, env=alone)
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def _start(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def figures(rows: Path | None, runs: int, questions: int) -> dict[str, float]:
    """Every figure of the table."""
    source = pf.ChatDataset.from_sample() if rows is None else pf.ChatDataset.from_jsonl(rows)
    data = source.split(validation=0.1, test=0.1, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        written = data.write(folder)
        files = {f"{split}_file_path": str(path) for split, path in written.items()}
        prompt = [{"role": turn.role, "content": turn.content} for turn in data.row(0).prompt]
        request = tutorial_way.request_file(Path(folder), prompt)
        ways: dict[str, Callable[[FakeAzure], None]] = {
            "tutorial": lambda azure: tutorial(azure, files, request, questions),
            "ours": lambda azure: ours(azure, data, questions),
        }
        found: dict[str, list[dict[str, float]]] = {"tutorial": [], "ours": []}
        for _ in range(runs + 1):
            for name, way in ways.items():
                found[name].append(measure(way))
        with FakeAzure() as azure:
            floors = [floor(azure, data) for _ in range(runs + 1)]
    return {
        # The first run of each imports modules and is left out.
        **{f"requests_{name}": _median(runs_of[1:], "requests") for name, runs_of in found.items()},
        **{f"seconds_{name}": _median(runs_of[1:], "seconds") for name, runs_of in found.items()},
        "floor_s": statistics.median(floors[1:]),
        "emulator_share_s": _median(found["ours"][1:], "emulator"),
        "runner_s": _median(found["ours"][1:], "runner"),
        "answers_s": _median(found["ours"][1:], "answers"),
        "first_test_s": first_test_s(),
        "import_ms": import_ms(),
    }


def _median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def table(found: dict[str, float]) -> str:
    """The figures for people, with the ratios that they are judged by."""
    ours_above = found["seconds_ours"] - found["floor_s"]
    theirs_above = found["seconds_tutorial"] - found["floor_s"]
    ratio = found["requests_ours"] / found["requests_tutorial"]
    rows = [
        ("", "tutorial", "ours", "ratio", "goal"),
        (
            "requests",
            f"{found['requests_tutorial']:.0f}",
            f"{found['requests_ours']:.0f}",
            f"{ratio:.2f}",
            "<= 0.60",
        ),
        ("seconds", f"{found['seconds_tutorial']:.2f}", f"{found['seconds_ours']:.2f}", "", ""),
        (
            "seconds above floor",
            f"{theirs_above:.2f}",
            f"{ours_above:.2f}",
            f"{ours_above / theirs_above:.2f}",
            "<= 0.50",
        ),
        ("floor: building the job (s)", "", f"{found['floor_s']:.3f}", "", ""),
        ("emulator's handlers (s)", "", f"{found['emulator_share_s']:.3f}", "", "< 0.1"),
        ("n-gram fit (s)", "", f"{found['runner_s']:.3f}", "", "< 0.5"),
        ("n-gram answers (s)", "", f"{found['answers_s']:.3f}", "", ""),
        ("first test of a process (s)", "", f"{found['first_test_s']:.2f}", "", "<= 5"),
        ("import phi_finetune (ms)", "", f"{found['import_ms']:.1f}", "", "< 40"),
    ]
    return "\n".join(
        f"{name:<30}{theirs:>10}{mine:>10}{share:>8}  {goal}" for name, theirs, mine, share, goal in rows
    )


def main() -> None:
    """Measure, print the table, and the figures as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, help="a JSON lines file; the shipped sample without it")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--questions", type=int, default=10, help="questions put to the endpoint, in both ways"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object, last")
    chosen = parser.parse_args()
    found = figures(chosen.rows, chosen.runs, chosen.questions)
    print(table(found))
    if chosen.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
