"""The whole life of a fine-tune for real, on this machine: trained, measured, served, asked, and nothing left running.

It needs the extra ``local``, no GPU and no account. ``python examples/quickstart_local.py FOLDER`` keeps all it makes in
the folder; without one, a temporary folder is used.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import phi_finetune as pf
from phi_finetune.events import Event, RequestSent, Waiting, describe


def say(event: Event) -> None:
    """Print what happened, but not each look of a wait."""
    if not isinstance(event, RequestSent | Waiting):
        print("   ", describe(event))


def main(folder: Path) -> None:
    """From a model that does not know the answers to one that does."""
    ws = pf.Workspace.local(folder / "workspace", on_event=say)
    base = pf.local.add_model(ws, pf.local.make_tiny_phi(folder / "tiny-phi"), name="tiny-phi")
    facts = pf.local.tiny_facts()
    data = pf.ChatDataset.from_records(facts.train, facts.validation, facts.test, name="town-facts")
    (machine,) = ws.gpu_skus()
    cluster = ws.gpu_compute("here", size=machine.name).ensure(base)
    job = base.finetune(data).on(cluster).with_parameters(**pf.local.TINY_PARAMETERS).submit().wait()
    metrics = job.metrics()
    print(f"job       {job.status}, eval loss {metrics.eval_loss:.3f}, perplexity {metrics.perplexity:.2f}")
    metrics.plot().savefig(folder / "loss.png")
    with job.register().deploy(instance_type=machine.name) as endpoint:
        for row in list(data.rows("test"))[:3]:
            answer = endpoint.chat(row, do_sample=False)
            print(f"asked     {row.prompt[-1].content}")
            print(f"answered  {answer.text}")
    print(f"left      {len(ws.endpoints())} endpoints; {folder / 'loss.png'}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as made:
            main(Path(made))
