"""Run ``examples/quickstart_local.py``, and write what it gave into the documentation.

``python scripts/make_local_run.py`` needs the extra ``local``. The page ``docs/local.md`` includes the text, which
shows the picture.
"""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent
TEXT, PICTURE = ROOT / "docs" / "local-run.inc", ROOT / "docs" / "local-loss.png"
SHOWN = 6
SETS = {"validation": "validation", "test": "test", "general": "general, which the tuning did not teach"}


def main() -> None:
    """Run it, and write both files."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        runpy.run_path(str(ROOT / "examples" / "quickstart_local.py"))["main"](folder)
        (found,) = folder.glob("workspace/jobs/*/evaluation.json")
        text = written(json.loads(found.read_bytes()))
        shutil.copyfile(folder / "loss.png", PICTURE)
    TEXT.write_text(text, encoding="utf-8")


def written(evaluation: dict[str, Any]) -> str:
    """The text: the losses before and after, and answers."""
    metrics, answers = evaluation["metrics"], evaluation["answers"]
    losses = [
        f"| {words} | {metrics[f'{name}_loss_before']:.2f} | {metrics[f'{name}_loss_after']:.2f} |"
        for name, words in SETS.items()
    ]
    said = [f"| {one['question']} | {one['before']} | {one['after']} |" for one in answers[:SHOWN]]
    lines = [
        "![Loss by step, of the training rows and of the held-out ones](local-loss.png)",
        "",
        "| rows | loss before | loss after |",
        "|---|---|---|",
        *losses,
        "",
        f"Of {len(answers)} held-out questions, {metrics['exact_before']:.0%} were answered word for word as they "
        f"should be before, and {metrics['exact_after']:.0%} after:",
        "",
        "| question | before | after |",
        "|---|---|---|",
        *said,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
