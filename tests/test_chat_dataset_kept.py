"""Small splits are parsed once, and what is kept of them goes nowhere."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from phi_finetune import ChatDataset
from phi_finetune.chat_dataset import split_info


def written(path: Path, answer: str) -> ChatDataset:
    """A data set of one row in a file."""
    turns = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": answer}]
    path.write_text(json.dumps({"messages": turns}) + "\n")
    return ChatDataset.from_jsonl(path)


@pytest.mark.parametrize("most", [0, 4 * 1024 * 1024], ids=["nothing kept", "all kept"])
def test_lines_are_the_same_kept_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Whether a split is small enough to be kept changes nothing but the time that it takes."""
    data = written(tmp_path / "rows.jsonl", "The Danube,\nand the Rhine\x0b\x85.")
    lines = list(data.lines())
    monkeypatch.setattr(split_info, "KEPT_BYTES", most)
    info = data.describe()
    assert list(data.lines()) == lines
    assert (info.rows, info.size_bytes) == (1, sum(map(len, lines)))


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    """What was kept is good as long as the file is the same."""
    data = written(tmp_path / "rows.jsonl", "The Danube.")
    first = data.describe()
    written(tmp_path / "rows.jsonl", "The Rhine, or the Rhone.")
    assert data.describe() != first
    assert b"Rhone" in b"".join(data.lines())


def test_a_pickle_holds_no_rows_of_a_file(tmp_path: Path) -> None:
    """It holds the path, as before anything was measured."""
    data = written(tmp_path / "rows.jsonl", "The Danube.")
    before = len(pickle.dumps(data))
    data.describe()
    pickled = pickle.dumps(data)
    assert b"Danube" not in pickled
    assert len(pickled) == before
    assert pickle.loads(pickled).describe() == data.describe()
