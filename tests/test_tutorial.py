from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS, ROOT, Block, blocks, run

import phi_finetune as pf
from phi_finetune.testing import FakeAzure

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
WITH_TESTS = "testing"
"""The page whose Python is a file of tests, which pytest runs."""

TRAINS = "local"
"""The page whose Python trains a model of the reader's; ``examples/quickstart_local.py`` does the same in a test."""


def python(page: str) -> list[Block]:
    """The blocks of a page that hold Python."""
    return [block for block in blocks(page) if block.language == "python"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, in which pages run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", [name for name, page in PAGES.items() if python(page) and name not in (WITH_TESTS, TRAINS)]
)
def test_a_page_runs_from_top_to_bottom(name: str) -> None:
    """Every block of Python runs, after those before it, and prints what the page shows."""
    wrong = run(f"docs/{name}.md", PAGES[name], {"__name__": name})
    assert not wrong, "\n\n".join(wrong)


def test_the_tests_on_the_page_about_tests_pass(folder: Path) -> None:
    """They run in a pytest of their own, which has the fixtures from the installed plugin alone."""
    source = "\n\n".join(block.text for block in python(PAGES[WITH_TESTS]))
    (folder / "test_page.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "test_page.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert f"{source.count('def test_')} passed" in done.stdout


def test_the_readme_does_what_it_says(folder: Path) -> None:
    """Its program runs with the fake's connection in place of Azure's, and then its test passes."""
    program, test = python((ROOT / "README.md").read_text(encoding="utf-8"))
    before, after = program.text.split("pf.Workspace.connect()")
    call = "test_the_nightly_run_leaves_nothing_behind(ws, azure)"
    pf.ChatDataset.from_sample().write(folder)
    with FakeAzure() as azure:
        source = f"{before}azure.workspace(){after}{test.text}{call}"
        run("README.md", _fenced(source), {"azure": azure, "nightly_run": pf.Workspace.endpoints})
        assert [job.status for job in azure.jobs.values()] == ["Completed"]
        assert list(azure.models) == ["phi-4-chat"]
        assert not azure.endpoints


def test_what_a_page_does_not_show_is_noticed() -> None:
    """A block that prints something else than the text after it, or prints with none there, is reported."""
    shown = _fenced("print(1 + 1)") + "```text\n{}\n```\n"
    assert run("a", shown.format(2), {}) == []
    assert run("a", shown.format("..."), {}) == []
    assert len(run("a", shown.format(3), {})) == 1
    assert len(run("a", _fenced("print(1)") + _fenced("x = 1"), {})) == 1


def _fenced(source: str) -> str:
    return f"```python\n{source}\n```\n"
