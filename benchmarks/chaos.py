"""Whole fine-tunes while every request fails with a probability: this library, plain azure-ai-ml, and naive retries.

    python benchmarks/chaos.py [--seeds N] [--others N] [--p P] [--jobs N] [--json]

Each seed draws the faults (the twelve kinds of reliability.md 1.3) and is met by every client: ``ours`` with
``PatientRetries``, ``standard`` with the default policy, ``plain`` azure-ai-ml, and ``naive``, which tries each call of
that up to three times. The first configuration has no late reads. In the others new things are absent from the first
two or five reads, deleted ones still shown by as many, and traffic lags by two. The last has twice the probability,
and 200 seeds at most.

- ``completed``: the model was trained, registered and deployed, and the answer is the right one.
- ``doubled``: more than one job, model version, deployment or cluster was made.
- ``left_billing``: an hour later something still bills, or an endpoint is there.
- ``wrong_answers``: an answer was given for good that is not the model's.
- ``requests_ratio``: requests beside those of a run without faults: the mean, then the 99th percentile and the maximum.

``plain`` and ``naive`` go the tutorial's way, without its metrics. Their blob client sleeps for real, so in this
benchmark ``time.sleep`` lets the fake's time pass. The fake refuses a second PUT of a job with 409; a service that took
it would show more doubles. Modules are imported, and each client run once, before the processes fork.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tutorial_way
from azure.core.exceptions import ResourceNotFoundError

import phi_finetune as pf
from phi_finetune.protocols import RetryPolicy
from phi_finetune.retries import PatientRetries, StandardRetries
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"
ROWS = pf.ChatDataset.from_sample()
TRIES = 3


@dataclass(frozen=True)
class Weather:
    """What a run meets: the probability of a fault, and how many reads are late."""

    p: float
    late: int = 0

    def azure(self, seed: int) -> FakeAzure:
        """A fake with these reads."""
        return FakeAzure(
            seed=seed,
            visible_after_reads=self.late,
            gone_after_reads=self.late,
            traffic_after_reads=min(2, self.late),
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    seed: int
    completed: bool
    doubled: bool
    left_billing: bool
    wrong: bool
    requests: int


Life = Callable[[FakeAzure, int, list[str]], None]
"""A whole fine-tune on a fake, with a seed; it adds the answers that it takes for good to the list."""


def library(
    policy: Callable[[random.Random], RetryPolicy], azure: FakeAzure, seed: int, told: list[str]
) -> None:
    """With this library."""
    workspace = azure.workspace(retries=policy(random.Random(seed)))
    base = workspace.foundation_model("Phi-4")
    cluster = workspace.gpu_compute("gpu-cluster", size=SIZE).ensure(base)
    job = base.finetune(ROWS).on(cluster).submit().wait()
    with job.register("tuned").deploy("chaos-endpoint", instance_type=SIZE) as endpoint:
        told.append(endpoint.chat(ROWS.row(0), do_sample=False).text)


def tutorial(tries: int, azure: FakeAzure, seed: int, told: list[str]) -> None:
    """With plain azure-ai-ml, each call tried so often."""
    client, registry = (Stubborn(azure.ml_client(name), tries, told) for name in (None, "azureml"))
    with time_passes_on(azure), quiet():
        tutorial_way.lifecycle(
            client,  # type: ignore[arg-type]
            registry,  # type: ignore[arg-type]
            model_name="Phi-4",
            size=SIZE,
            files=FILES,
            request_file=REQUEST,
            endpoint_name="chaos-endpoint",
            with_metrics=False,
        )


CLIENTS: dict[str, Life] = {
    "ours": partial(library, lambda rng: PatientRetries(rng=rng)),
    "standard": partial(library, lambda rng: StandardRetries(rng=rng)),
    "plain": partial(tutorial, 1),
    "naive": partial(tutorial, TRIES),
}


class Stubborn:
    """A client, or a group of its operations, whose every call is tried some times; a 404 is an answer."""

    def __init__(self, inner: Any, tries: int, told: list[str]) -> None:
        self._inner, self._tries, self._told = inner, tries, told

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if isinstance(found, str):
            return found
        if not callable(found) or not hasattr(found, "__self__"):
            return Stubborn(found, self._tries, self._told)
        return partial(self._call, name, found)

    def _call(self, name: str, method: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        for left in reversed(range(self._tries)):
            try:
                found = method(*args, **options)
                if name.startswith("begin_"):
                    return Done(found.result())
                if name == "invoke":
                    self._told.append(_answer(found))
                return list(found) if name == "list_sizes" else found
            except ResourceNotFoundError:
                raise
            except Exception:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")


@dataclass(frozen=True)
class Done:
    """A change that was waited for."""

    value: Any

    def wait(self) -> None:
        """It has been waited for."""

    def result(self) -> Any:
        """What it gave."""
        return self.value


def _answer(text: str) -> str:
    """The text in an answer, or the answer itself where it cannot be read."""
    try:
        return str(json.loads(text)["output"])
    except (ValueError, KeyError, TypeError):
        return text


@contextlib.contextmanager
def time_passes_on(azure: FakeAzure) -> Iterator[None]:
    """Let sleeping pass the fake's time: azure-storage-blob sleeps by itself."""
    real = time.sleep
    time.sleep = azure.clock.sleep
    try:
        yield
    finally:
        time.sleep = real


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what azure-ai-ml prints off the screen."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def run(client: str, weather: Weather, seed: int) -> Outcome:
    """One run of one client."""
    told: list[str] = []
    with weather.azure(seed) as azure:
        if weather.p:
            azure.faults.at_rate(weather.p, seed=seed)
        try:
            CLIENTS[client](azure, seed, told)
            ended = True
        except Exception:  # noqa: BLE001 - a script ends with whatever its client raises
            ended = False
        azure.faults.stop()
        requests = len(azure.journal)
        azure.clock.sleep(3600)
        made = (
            len(azure.jobs),
            sum(len(versions) for versions in azure.models.values()),
            len(azure.cloud.endpoints.made),
            len(azure.cloud.computes.made),
        )
        left = bool(azure.billing().leaks or azure.endpoints)
    wrong = any(answer != ROWS.row(0).answer for answer in told)
    return Outcome(seed, ended and bool(told) and not wrong, max(made) > 1, left, wrong, requests)


def row(client: str, weather: Weather, outcomes: Sequence[Outcome], calm: int) -> dict[str, Any]:
    """One line of the table; ``calm`` is how many requests a run without faults takes."""
    ratios = sorted(outcome.requests / calm for outcome in outcomes)
    failing = [outcome.seed for outcome in outcomes if not outcome.completed]
    return {
        "client": client,
        "p": weather.p,
        "late_reads": weather.late,
        "seeds": len(outcomes),
        "completed": sum(outcome.completed for outcome in outcomes),
        "doubled": sum(outcome.doubled for outcome in outcomes),
        "left_billing": sum(outcome.left_billing for outcome in outcomes),
        "wrong_answers": sum(outcome.wrong for outcome in outcomes),
        "requests_ratio": round(sum(ratios) / len(ratios), 2),
        "requests_p99": round(ratios[int(0.99 * (len(ratios) - 1))], 2),
        "requests_max": round(ratios[-1], 2),
        "failing_seeds": failing[:10],
    }


def table(weathers: Sequence[tuple[Weather, int]], others: int, jobs: int) -> Iterator[dict[str, Any]]:
    """Every client in every weather, with so many seeds."""
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for weather, seeds in weathers:
            for client in CLIENTS:
                count = seeds if client == "ours" else min(seeds, others)
                calm = run(client, Weather(0, weather.late), 0).requests
                outcomes = pool.map(partial(run, client, weather), range(count), chunksize=5)
                yield row(client, weather, outcomes, calm)


def show(found: dict[str, Any]) -> str:
    """A line for people."""
    ratios = "/".join(f"{found[f'requests_{name}']:.2f}" for name in ("ratio", "p99", "max"))
    failing = f"  failing seeds {found['failing_seeds']}" if found["client"] == "ours" else ""
    return (
        f"{found['client']:9}p={found['p']:<5} late={found['late_reads']}  "
        f"completed={found['completed']}/{found['seeds']}  doubled={found['doubled']}  "
        f"left_billing={found['left_billing']}  wrong_answers={found['wrong_answers']}  "
        f"requests_ratio={ratios}{failing}"
    )


def main() -> None:
    """Run it, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000, help="for this library")
    parser.add_argument(
        "--others", type=int, default=200, help="for the other clients, and the default policy"
    )
    parser.add_argument("--p", type=float, default=0.2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    weathers = [
        *((Weather(given.p, late), given.seeds) for late in (0, 2, 5)),
        (Weather(2 * given.p), min(given.seeds, 200)),
    ]
    for client in CLIENTS:
        if not run(client, Weather(0), 0).completed:
            raise SystemExit(f"{client} does not complete without faults, so its figures would mean nothing")
    rows = []
    for found in table(weathers, given.others, given.jobs):
        rows.append(found)
        if not given.json:
            print(show(found), flush=True)
    if given.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        splits = ROWS.split(validation=0.1, seed=1).write(folder)
        FILES = {f"{split}_file_path": str(path) for split, path in splits.items()}
        prompt = [{"role": turn.role, "content": turn.content} for turn in ROWS.row(0).prompt]
        REQUEST = tutorial_way.request_file(folder, prompt)
        main()
