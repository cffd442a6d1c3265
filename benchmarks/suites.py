"""How long test suites on the fake take.

    python benchmarks/suites.py [--tests N] [--json]

- ``nightly_s``: the tests of ``examples/nightly.py``, their fixtures included: a whole night and four faults. They run
  in a process that has run them before, so that nothing is left to import. ``nightly_cpu_s`` is the processor's
  share, which other work on the machine does not lengthen.
- ``suite_200_s``: 200 tests, or as many as are asked for, each of which takes a whole fine-tune on a fake of its own,
  from look-up to the endpoint's deletion, with this library. From the start of pytest to its end, imports included;
  in two processes where pytest-xdist is there, else in one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALONE = ["-q", "--disable-plugin-autoload", "-p", "no:cacheprovider", "-p", "phi_finetune.testing.plugin"]
"""Plugins of other packages are left out: hypothesis alone takes a second to import."""

GOALS = {"nightly_s": "<= 1", "suite_200_s": "<= 180 on two cores"}

LIFECYCLES = """
import phi_finetune as pf
import pytest

SIZE = "Standard_NC24ads_A100_v4"


@pytest.mark.parametrize("number", range({tests}))
def test_lifecycle(workspace, number):
    model = workspace.foundation_model("Phi-4")
    cluster = workspace.gpu_compute("gpu", size=SIZE).ensure(model)
    job = model.finetune(pf.ChatDataset.from_sample()).on(cluster).submit().wait()
    assert job.metrics().loss
    with job.register().deploy(instance_type=SIZE) as endpoint:
        assert endpoint.chat("Name a river.").text
"""


class Seconds:
    """Adds up what the set-up, the calls and the tear-down of tests take: all of it, and the processor's share."""

    def __init__(self) -> None:
        self.total = self.cpu = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        """Add a test's processor time."""
        started = time.process_time()
        result = yield
        self.cpu += time.process_time() - started
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a phase of a test."""
        self.total += report.duration


def nightly() -> Seconds:
    """What the tests of the nightly run take once everything is imported."""
    command = [*ALONE, "--rootdir", str(ROOT), str(ROOT / "examples" / "test_nightly.py")]
    for _ in range(2):
        seconds = Seconds()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            if pytest.main(command, plugins=[seconds]) != 0:
                raise RuntimeError(printed.getvalue())
    return seconds


def suite_s(tests: int) -> float:
    """What so many tests of a whole lifecycle take, in seconds."""
    two = ["-p", "xdist.plugin", "-n", "2"] if importlib.util.find_spec("xdist") else []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_lifecycles.py").write_text(LIFECYCLES.format(tests=tests), encoding="utf-8")
        started = time.perf_counter()
        command = [sys.executable, "-m", "pytest", *ALONE, *two, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
    if f"{tests} passed" not in done.stdout:
        raise RuntimeError(done.stdout + done.stderr)
    return seconds


def figures(tests: int) -> dict[str, float]:
    """Every figure."""
    night = nightly()
    return {"nightly_s": night.total, "nightly_cpu_s": night.cpu, f"suite_{tests}_s": suite_s(tests)}


def main() -> None:
    """Measure, print the figures, and as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=200, help="tests of a whole lifecycle")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object, last")
    chosen = parser.parse_args()
    found = figures(chosen.tests)
    for name, value in found.items():
        goal = f"  goal: {GOALS[name]}" if name in GOALS else ""
        print(f"{name:<26}{value:>10.2f}{goal}")
    if chosen.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
