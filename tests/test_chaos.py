from __future__ import annotations

import random
from functools import cache

import pytest
from tuning import SIZE

import phi_finetune as pf
from phi_finetune.retries import StandardRetries
from phi_finetune.testing import FakeAzure

SEEDS = range(25)


@cache
def sample() -> pf.ChatDataset:
    """Rows that are read and checked once for all runs."""
    return pf.ChatDataset.from_sample()


def lifecycle(azure: FakeAzure, seed: int) -> str:
    """Train, register, deploy, ask one question, delete; what was answered is returned."""
    retries = StandardRetries(attempts=10, budget_s=7200, rng=random.Random(seed))
    tune = azure.workspace(retries=retries).foundation_model("Phi-4").finetune(sample())
    job = tune.on(pf.GpuCompute.serverless(SIZE)).submit().wait()
    with job.register("nightly").deploy("phi-chaos", instance_type=SIZE) as endpoint:
        return endpoint.chat(sample().row(0), do_sample=False).text


def completes(probability: float, seed: int) -> bool:
    """Whether a lifecycle completes at a rate of faults; what may never happen does not, either way."""
    with FakeAzure(seed=seed) as azure:
        azure.faults.at_rate(probability, seed=seed)
        answer = None
        try:
            answer = lifecycle(azure, seed)
        except pf.PhiFinetuneError:
            assert probability > 0, f"seed {seed}: it failed without faults"
        assert answer in (None, sample().row(0).answer), f"seed {seed}: a wrong answer"
        assert len(azure.jobs) <= 1, f"seed {seed}: more than one job (R2)"
        assert sum(len(versions) for versions in azure.models.values()) <= 1, (
            f"seed {seed}: registered twice (R2)"
        )
        assert not azure.endpoints, f"seed {seed}: an endpoint is left (R3)"
        assert not azure.computes, f"seed {seed}: a cluster is left (R3)"
        return answer is not None


def test_without_faults_it_completes() -> None:
    """At a rate of 0 nothing goes wrong, so that what the other tests see is due to the faults."""
    assert completes(0, seed=1)


@pytest.mark.parametrize(("probability", "least"), [(0.05, 22), (0.2, 20)])
def test_a_lifecycle_under_faults_leaves_nothing_behind(probability: float, least: int) -> None:
    """Whatever is met, there is one job at most, nothing that bills is left, and no answer is wrong.

    ``least`` is how many complete at the very least, so that these runs are about more than giving up early.
    """
    assert sum(completes(probability, seed) for seed in SEEDS) >= least
