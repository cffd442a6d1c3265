"""Go on in another process: by the job's name, by submitting again, or with an object that was pickled."""

from __future__ import annotations

import pickle

import phi_finetune as pf
from phi_finetune.events import AdoptedExisting, Event
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"


def submit(ws: pf.Workspace) -> pf.FinetuneJob:
    """The work, as any process would submit it."""
    data = pf.ChatDataset.from_sample()
    return ws.foundation_model("Phi-4").finetune(data).on(pf.GpuCompute.serverless(SIZE)).submit()


def main(azure: FakeAzure) -> None:
    """Submit once, and find the same job three times."""
    job = submit(azure.workspace())
    kept = pickle.dumps(job)
    adopted: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, AdoptedExisting):
            adopted.append(event.resource)

    later = azure.workspace(on_event=listen)  # stands for another process, days later
    print("by name:   ", later.job(job.name).status)
    print("submitted: ", submit(later).name == job.name, adopted == [job.resource])
    print("unpickled: ", later.attach(pickle.loads(kept)).wait().status)  # noqa: S301 - made here
    print("jobs paid: ", len(azure.jobs))


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
