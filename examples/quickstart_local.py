"""The whole life of a fine-tune for real, on this machine: trained, measured, served, asked, and nothing left running.

It needs the extra ``local``, and no account, network or GPU. What it makes is kept where a folder is named; a second
run there begins with the tiny model of the first.
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
    (machine,) = ws.gpu_skus()
    print(f"machine   {machine.cores} cores, {machine.gpus} GPUs")
    weights = folder / "tiny-phi"
    if not weights.exists():
        pf.local.make_tiny_phi(weights)
    base = pf.local.add_model(ws, weights, name="tiny-phi")
    facts = pf.local.tiny_facts()
    data = pf.ChatDataset.from_records(facts.train, facts.validation, facts.test, name="town-facts")
    cluster = ws.gpu_compute("here", size=machine.name).ensure(base)
    job = base.finetune(data).on(cluster).with_parameters(**pf.local.TINY_PARAMETERS).submit().wait()
    metrics = job.metrics()
    for name in ("validation", "test", "general"):
        before, after = (metrics.last[f"{name}_perplexity_{when}"] for when in ("before", "after"))
        print(f"measured  {name}: perplexity {before:.2f} before, {after:.2f} after")
    metrics.plot().savefig(folder / "loss.png")
    print(f"plotted   {folder / 'loss.png'}")
    asked = facts.test[0]
    print(f"asked     {asked.prompt[-1].content}")
    print(f"before    {pf.local.answer(weights, asked)}")
    with job.register().deploy(instance_type=machine.name) as endpoint:
        print(f"after     {endpoint.chat(asked, do_sample=False).text}")
        replies = list(endpoint.chat_many(facts.test, sampling=pf.Sampling(do_sample=False)))
    right = sum(reply.text == row.answer for reply, row in zip(replies, facts.test, strict=True))
    print(f"right     {right} of {len(facts.test)} questions of the test split")
    print(f"left      {len(ws.endpoints())} endpoints")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as made:
            main(Path(made))
