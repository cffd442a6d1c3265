"""A job that fails: what the error says, and the next attempt, which costs nothing twice."""

from __future__ import annotations

import phi_finetune as pf
from phi_finetune.errors import JobFailed
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import JobFails


def main(azure: FakeAzure) -> None:
    """Run out of GPU memory once, and read the error as a program would."""
    ws = azure.workspace()
    tune = ws.foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample())
    tune = tune.on(pf.GpuCompute.serverless("Standard_NC24ads_A100_v4"))
    azure.faults.next(JobFails())
    try:
        tune.submit().wait()
    except JobFailed as error:
        print("status:", error.status)
        print("step:  ", error.child)
        print("why:   ", error.why)
        print("log:   ", error.log_tail.splitlines()[-1])
        print("next:  ", error.next_call)
        print("found: ", ws.job(tune.job_name()).diagnose().advice[:15])
    second = tune.submit().wait()
    print("the next attempt:", second.name.rpartition("-")[2], second.status)


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
