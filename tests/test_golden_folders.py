"""Folders that earlier versions wrote are opened, and what they did is seen as it was."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from golden_folders import GOLDEN, KINDS, listing, opened, restore

from phi_finetune.errors import ConfigurationError
from phi_finetune.local.log import FILE, FORMAT

FOLDERS = sorted(GOLDEN.glob("*.json"))
TODAYS = [file for file in FOLDERS if file.stem.startswith(f"format-{FORMAT}-")]


def kept(file: Path) -> dict[str, Any]:
    """What is kept of a folder."""
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def entries(place: Path) -> list[Any]:
    """The log of a folder."""
    base = sqlite3.connect(place / "runs" / FILE)
    found = base.execute("SELECT * FROM entries ORDER BY number").fetchall()
    base.close()
    return found


def test_there_is_one_of_today() -> None:
    """A new format, or kind of folder, has its own; it is written by ``python tests/golden_folders.py``."""
    assert {file.stem for file in TODAYS} == {f"format-{FORMAT}-{kind}" for kind in KINDS}
    assert {file.name for file in FOLDERS if file.stat().st_size > 20_000} == set()


@pytest.mark.parametrize("file", FOLDERS, ids=lambda file: file.stem)
def test_a_folder_is_seen_as_it_was(file: Path, tmp_path: Path) -> None:
    """The same jobs, steps, models, data, traffic and keys; reading writes nothing. A format that went is refused."""
    was, kind = kept(file), file.stem.rpartition("-")[2]
    restore(was, tmp_path)
    before = entries(tmp_path)
    if was["marks"]["user_version"] != FORMAT:
        with pytest.raises(ConfigurationError, match="its format is"):
            opened(kind, tmp_path)
        return
    assert listing(opened(kind, tmp_path)) == was["seen"]
    assert entries(tmp_path) == before


@pytest.mark.parametrize("file", TODAYS, ids=lambda file: file.stem)
def test_a_change_would_be_seen(file: Path, tmp_path: Path) -> None:
    """Without the last request in its log that made something, the folder is seen otherwise."""
    was, kind = kept(file), file.stem.rpartition("-")[2]
    made = [number for number, entry in enumerate(was["entries"]) if entry[3].get("method") == "PUT"]
    del was["entries"][made[-1]]
    restore(was, tmp_path)
    assert listing(opened(kind, tmp_path)) != was["seen"]
