"""The conversations that the library ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import phi_finetune.chat_dataset as chat
from phi_finetune.chat_dataset import ChatDataset, sample_conversations

REPOSITORY = Path(__file__).parent.parent
SHIPPED = Path(chat.__file__).parent.parent / "samples" / "conversations.jsonl"


def test_the_sample_is_fit_for_training() -> None:
    """It passes every rule and can be split."""
    data = ChatDataset.from_sample()
    data.check()
    data.split(validation=0.1, test=0.1).check()
    assert (data.name, data.splits) == ("sample", ("train",))


def test_the_sample_is_varied() -> None:
    """No prompt comes twice; there are long talks, system messages, other languages and code."""
    rows = sample_conversations()
    prompts = {row.prompt for row in rows}
    assert 300 <= len(rows) == len(prompts)
    assert sum(len(row.messages) > 3 for row in rows) > 40
    assert sum(row.messages[0].role == "system" for row in rows) > 15
    assert sum(not message.content.isascii() for row in rows for message in row.messages) > 50
    assert sum("```" in message.content for row in rows for message in row.messages) > 25
    assert len({row.answer for row in rows}) > 0.95 * len(rows)


def test_the_sample_is_small_and_canonical() -> None:
    """The wheel carries under 250 kB, and the file's lines are those that would be uploaded."""
    assert SHIPPED.stat().st_size < 250_000
    assert SHIPPED.read_bytes() == b"".join(ChatDataset.from_sample().lines())


def test_the_script_makes_the_file_that_is_shipped(tmp_path: Path) -> None:
    """Nobody edited the file by hand."""
    made = tmp_path / "made.jsonl"
    subprocess.run([sys.executable, REPOSITORY / "scripts" / "make_sample_data.py", made], check=True)
    assert made.read_bytes() == SHIPPED.read_bytes()


def test_importing_the_data_set_loads_nothing_slow() -> None:
    """Pandas and numpy come with the first preview or frame."""
    code = "import json, sys, phi_finetune.chat_dataset; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "numpy", "datasets", "azure"} & set(json.loads(done.stdout))
