"""Write the page about what comes of each fault, from the verdicts that the tests hold the library to.

Run it after a verdict was changed::

    python scripts/make_verdicts_page.py

A test compares the page with the data.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from phi_finetune._verdicts import FAULTS, OPERATIONS, Fault, Operation, verdict

PAGE = Path(__file__).parent.parent / "docs" / "faults.md"

HEAD = """\
<!-- Made by scripts/make_verdicts_page.py from phi_finetune/_verdicts.py; edit that. -->

# What comes of each fault

{operations} kinds of requests, {faults} faults each, and what the library does. A test brings about every one of these
{cells} cells against the emulator, and counts what was sent and what was made.

- **retry**: the request is sent again, as often as the [retry policy](retries.md) says; then the error is told.
- **reconcile**: where sending again is safe, that too. Then what the request would have made is looked for, up to ten
  times, since Azure may not show at once what it has accepted; what is there is adopted. Where it does not show, the
  error is told; where looking fails as well, {{py:class}}`~phi_finetune.errors.OutcomeUnknown` says what may be
  running.
- **re-authenticate**: the request is sent again with a new token, whatever the policy.
- **fail**: the error is told at once.

A PUT or DELETE of something with a name is sent again after a lost answer, for the second one finds the first one's
work. A POST that changes something is not; a question to a model changes nothing. The looks of a wait may fail five
times in a row, each after its own retries.
"""


def render() -> str:
    """The page."""
    cells = len(OPERATIONS) * len(FAULTS)
    head = HEAD.format(operations=len(OPERATIONS), faults=len(FAULTS), cells=cells)
    return head + "".join(_table(list(group)) for _, group in groupby(OPERATIONS, key=lambda one: one.kind))


def _table(operations: list[Operation]) -> str:
    names = " | ".join(one.name for one in operations)
    requests = " | ".join(f"`{one.request}`" for one in operations)
    rows = "".join(_row(fault, operations) for fault in FAULTS)
    return f"\n| fault | {names} |\n|{'---|' * (len(operations) + 1)}\n| | {requests} |\n{rows}"


def _row(fault: Fault, operations: list[Operation]) -> str:
    cells = " | ".join(verdict(one, fault) for one in operations)
    return f"| {fault} | {cells} |\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
