"""``python -m phi_finetune sweep``: delete what has outlived its lease, for a scheduler.

The workspace is the one that the environment or a ``config.json`` names, as for ``Workspace.connect()``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from phi_finetune.errors import PhiFinetuneError
from phi_finetune.workspace import Workspace

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep a workspace, and print one line for each thing whose lease has ended.

    Args:
        arguments: The command line's words; None takes those of the process.

    Returns:
        The exit status: 0 where nothing is left that has outlived its lease, or in a dry run; 1 where something could
        not be deleted, or the workspace not be asked.
    """
    parser = argparse.ArgumentParser(prog="python -m phi_finetune")
    commands = parser.add_subparsers(required=True)
    sweep = commands.add_parser("sweep", help="delete what this library made and whose lease has ended")
    sweep.add_argument("--dry-run", action="store_true", help="only say what that would be")
    sweep.add_argument("--local", metavar="FOLDER", help="of the local workspace in this folder")
    chosen = parser.parse_args(arguments)
    try:
        workspace = Workspace.connect() if chosen.local is None else Workspace.local(chosen.local)
        found = workspace.sweep(dry_run=chosen.dry_run)
    except PhiFinetuneError as error:
        print(error, file=sys.stderr)
        return 1
    for one in found:
        print(one)
    return 1 if any(one.outcome == "left" for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
