"""Follow a job: its states, those of its steps, and the training's log, each line once."""

from __future__ import annotations

import phi_finetune as pf
from phi_finetune.events import JobMoved, LogLine
from phi_finetune.testing import FakeAzure


def main(azure: FakeAzure) -> None:
    """Print the time since the start with each change of state."""
    ws = azure.workspace()
    tune = ws.foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample().split(validation=0.1))
    job = tune.on(pf.GpuCompute.serverless("Standard_NC24ads_A100_v4")).submit()
    for event in job.events():
        match event:
            case JobMoved(resource=resource, status=status):
                print(f"{azure.clock.now() - azure.jobs[job.name].created}  {resource}: {status}")
            case LogLine(text=text):
                print("  log", text)
    print(*job.logs("chat_completion_finetune").splitlines()[-3:], sep="\n")
    print(job.metrics().to_frame(["loss", "eval_loss"]).tail(3))


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
