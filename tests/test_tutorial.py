from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS, ROOT, blocks, run

from phi_finetune.chat_dataset import ChatDataset
from phi_finetune.testing import FakeAzure

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
WITH_TESTS = "testing"
"""The page whose Python is a file of tests; pytest runs it."""
WITH_CODE = [
    name for name, page in PAGES.items() if name != WITH_TESTS and any(b.language == "python" for b in blocks(page))
]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page writes does not stay."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", WITH_CODE)
def test_a_page_runs_from_top_to_bottom(name: str) -> None:
    """Every Python block runs, after those before it, and prints what the page shows."""
    wrong = run(f"docs/{name}.md", PAGES[name], {"__name__": name})
    assert not wrong, "\n\n".join(wrong)
