"""The example that trains for real says what it should, and leaves nothing running."""

from __future__ import annotations

import re
from pathlib import Path


def test_a_wrong_answer_becomes_a_right_one(example: Path) -> None:
    """The base does not know the facts; the tuned model answers most questions that it was not trained on."""
    printed = (example / "printed.txt").read_text(encoding="utf-8")
    assert (example / "errors.txt").read_text(encoding="utf-8") == ""
    assert "before    I do not know that yet." in printed
    assert re.search(r"^after     The animal of Elsin is the \w+\.$", printed, re.MULTILINE)
    right = re.search(r"^right     (\d+) of 36 ", printed, re.MULTILINE)
    assert right is not None
    assert int(right[1]) >= 25  # seven tenths, which holds with other seeds too (local.md 2b)
    before, after = map(
        float, re.findall(r"^measured  test: perplexity (\S+) before, (\S+) after", printed, re.M)[0]
    )
    assert after < before / 2
    assert "left      0 endpoints" in printed
    assert (example / "loss.png").stat().st_size > 10_000
