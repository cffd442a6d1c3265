"""Write the page about the rights that each call needs, from the library's own table.

Run it after a call asks for something else::

    python scripts/make_permissions_page.py

A test compares the page with the table, and another one the table with what the calls ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phi_finetune._actions import ACTIONS

PAGE = Path(__file__).parent.parent / "docs" / "permissions.md"

HEAD = """\
<!-- Made by scripts/make_permissions_page.py from the table of actions; edit that. -->

# The rights that it needs

`ws.doctor()` tries everything that the library needs, changes nothing, and gives a
{py:class}`~phi_finetune.checkups.Checkup`: whether you can sign in, for both of Azure ML's audiences, whether
workspace, registry, machine sizes and blob store answer, and which calls lack a right. Printed, it is a table.

A call that lacks a right raises {py:class}`~phi_finetune.errors.PermissionMissing`, whose `next_call` names the action.

The built-in role *AzureML Data Scientist* is enough for all but making, changing and deleting clusters, for which there
is *AzureML Compute Operator*, and the region's sizes and quota, which are read in the subscription. Neither
*Contributor* nor *Owner* is needed. Where the workspace's store takes no keys, or you may not list its secrets, uploads
and downloads need the role *Storage Blob Data Contributor* on its storage account as well.

## The actions of each call

This is what each call was seen to ask for in the tests. An action that begins with a lower-case letter is one of the
provider `Microsoft.MachineLearningServices`. Of the registries that Azure keeps, everybody may read.

| call | actions |
|---|---|
"""

_PROVIDER = "Microsoft.MachineLearningServices/"


def render() -> str:
    """The page."""
    return HEAD + "".join(f"| `{call}` | {_listed(actions)} |\n" for call, actions in ACTIONS.items())


def _listed(actions: Sequence[str]) -> str:
    return ", ".join(f"`{action.removeprefix(_PROVIDER)}`" for action in actions) or "none"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
