"""The example that trains for real says what it should, and leaves nothing running."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart_local.py"


def test_a_wrong_answer_becomes_a_right_one(tmp_path: Path, learned_phi: Path) -> None:
    """The base does not know the facts; the tuned model answers most questions that it was not trained on."""
    (tmp_path / "tiny-phi").symlink_to(learned_phi)
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "before    I do not know that yet." in done.stdout
    assert re.search(r"^after     The animal of Elsin is the \w+\.$", done.stdout, re.MULTILINE)
    right = re.search(r"^right     (\d+) of 36 ", done.stdout, re.MULTILINE)
    assert right is not None
    assert int(right[1]) >= 25  # seven tenths, which holds with other seeds too (local.md 2b)
    before, after = map(
        float, re.findall(r"^measured  test: perplexity (\S+) before, (\S+) after", done.stdout, re.M)[0]
    )
    assert after < before / 2
    assert "left      0 endpoints" in done.stdout
    assert (tmp_path / "loss.png").stat().st_size > 10_000
    assert done.stderr == ""
