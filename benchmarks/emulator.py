"""How fast the fake is, and how much memory its jobs take.

    python benchmarks/emulator.py [--runs N] [--requests N] [--jobs N] [--tests N] [--json]

- ``lifecycles_per_s``: whole fine-tunes with this library, from look-up to the endpoint's deletion, one after
  another in one process, each on a new ``FakeAzure``.
- ``requests_per_s_inprocess``, ``requests_per_s_proxy``: reads of the workspace over one session of ``requests``,
  through each door. Client and proxy share one process, and so one core.
- ``mb_per_1000_jobs``: what the fake holds (``tracemalloc``) after N completed fine-tunes, journal included,
  once Python's collector has run.
- ``nightly_s``, ``suite_200_s``: see ``suites.py``.

Modules are imported first, and the first lifecycle is left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import tracemalloc

import lifecycle
import requests
import suites

import phi_finetune as pf
from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.core.journal import Entry
from phi_finetune.emulator.identity.state import ARM_AUDIENCE
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.proxy import ProxyDoor

GOALS = {"lifecycles_per_s": f">= {200 / 180:.2f} on one of two cores", **suites.GOALS}
"""200 lifecycles in three minutes, and those of ``suites.py``."""


def lifecycles_per_s(runs: int) -> float:
    """How many whole fine-tunes fit into a second."""
    data = pf.ChatDataset.from_sample().split(validation=0.1, test=0.1, seed=1)
    seconds = [
        lifecycle.measure(lambda azure: lifecycle.ours(azure, data, 1))["seconds"] for _ in range(runs + 1)
    ]
    return 1 / statistics.median(seconds[1:])


def requests_per_s_inprocess(count: int) -> float:
    """How many requests a second are answered in this process."""
    with FakeAzure() as azure, requests.Session() as session:
        return _rate(azure.cloud, session, count)


def requests_per_s_proxy(count: int) -> float:
    """How many requests a second are answered through the proxy."""
    cloud = Cloud()
    with ProxyDoor(cloud) as door, requests.Session() as session:
        session.trust_env = False
        session.proxies = {"https": door.url}
        session.verify = str(door.ca_file)
        return _rate(cloud, session, count)


def mb_per_1000_jobs(jobs: int) -> float:
    """How much memory a thousand completed fine-tunes take, in MB, from so many."""
    with FakeAzure() as azure:
        tune = azure.workspace().foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample())
        job = tune.on(pf.GpuCompute.serverless(lifecycle.SIZE)).submit()
        submission = next(entry for entry in azure.journal if entry.method == "PUT" and "/jobs/" in entry.url)
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(jobs):
            _complete(azure.cloud, submission, submission.url.replace(job.name, f"{job.name}-{number}"))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return (after - before) / jobs * 1000 / 1e6


def figures(runs: int, count: int, jobs: int, tests: int) -> dict[str, float]:
    """Every figure."""
    return {
        "lifecycles_per_s": lifecycles_per_s(runs),
        "requests_per_s_inprocess": requests_per_s_inprocess(count),
        "requests_per_s_proxy": requests_per_s_proxy(count),
        "mb_per_1000_jobs": mb_per_1000_jobs(jobs),
        **suites.figures(tests),
    }


def _rate(cloud: Cloud, session: requests.Session, count: int) -> float:
    url = f"https://management.azure.com{cloud.workspace.id}?api-version=2024-10-01"
    session.headers.update(_bearer(cloud))
    session.get(url, timeout=10).raise_for_status()
    started = time.perf_counter()
    for _ in range(count):
        session.get(url, timeout=10).raise_for_status()
    return count / (time.perf_counter() - started)


def _complete(cloud: Cloud, submission: Entry, url: str) -> None:
    """Send a submission under another name, and poll until the job has ended."""
    answer = cloud.handle(Request("PUT", url, _bearer(cloud), submission.body))
    while (status := json.loads(answer.body)["properties"]["status"]) != "Completed":
        assert status not in ("Failed", "Canceled")
        answer = cloud.handle(Request("GET", url, _bearer(cloud)))


def _bearer(cloud: Cloud) -> dict[str, str]:
    return {"authorization": f"Bearer {cloud.identity.issue(ARM_AUDIENCE)[0]}"}


def main() -> None:
    """Measure, print the figures, and as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="lifecycles")
    parser.add_argument("--requests", type=int, default=1000, help="requests through each door")
    parser.add_argument("--jobs", type=int, default=50, help="jobs whose memory is measured")
    parser.add_argument("--tests", type=int, default=200, help="tests of a whole lifecycle")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object, last")
    chosen = parser.parse_args()
    found = figures(chosen.runs, chosen.requests, chosen.jobs, chosen.tests)
    for name, value in found.items():
        goal = f"  goal: {GOALS[name]}" if name in GOALS else ""
        print(f"{name:<26}{value:>10.2f}{goal}")
    if chosen.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
