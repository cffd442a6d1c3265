"""What Azure shows late: a thing that was accepted may be absent from the first looks, and traffic may lag."""

from __future__ import annotations

import pytest
from tuning import SIZE, data

import phi_finetune as pf
from phi_finetune.errors import NotFound
from phi_finetune.testing import FakeAzure


@pytest.mark.parametrize("traffic_late", [0, 2], ids=lambda reads: f"traffic-{reads}-late")
@pytest.mark.parametrize("late", [1, 2, 5], ids=lambda reads: f"{reads}-late")
def test_a_whole_life_with_late_reads(late: int, traffic_late: int) -> None:
    """It completes with one of each thing, and nothing is left: a 404 after an accepted PUT means "not yet"."""
    with FakeAzure(visible_after_reads=late, traffic_after_reads=traffic_late) as azure:
        workspace = azure.workspace()
        model = workspace.foundation_model("Phi-4")
        cluster = workspace.gpu_compute("gpu", size=SIZE).ensure(model)
        tuned = model.finetune(data()).on(cluster).submit().wait().register()
        with tuned.deploy(instance_type=SIZE) as endpoint:
            assert endpoint.traffic == {"default": 100}
            assert endpoint.chat("Name a river.").text
        assert (len(azure.jobs), len(azure.models), len(azure.computes)) == (1, 1, 1)
        assert workspace.endpoints() == ()
        for method, path in (("PUT", "*/jobs/*"), ("PUT", "*/computes/*"), ("PUT", "*/deployments/*")):
            assert len(azure.journal.filter(method=method, path=path)) == 1


def test_what_stays_absent_is_told(fake_azure: FakeAzure) -> None:
    """A job that never shows is waited for some looks, and is then not found."""
    job = fake_azure.workspace().attach(pf.FinetuneJob("never", "Running"))
    with pytest.raises(NotFound, match="never"):
        job.wait()
    assert 1 < len(fake_azure.journal) < 20
