"""Rows become ids and labels on disk, and what was cut or left out is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phi_finetune import Conversation, Message
from phi_finetune.errors import InvalidData, InvalidParameter
from phi_finetune.local import tiny_facts
from phi_finetune.local.model import load_tokenizer
from phi_finetune.local.preprocess import (
    IGNORED,
    Rows,
    prepare,
    read_conversations,
    row_limit,
    split_rows,
)


@pytest.fixture
def tokenizer(random_phi: Path) -> Any:
    """The tiny model's own."""
    return load_tokenizer(random_phi)


def talk(*texts: str) -> Conversation:
    """Turns of the user and the assistant."""
    roles = ["user", "assistant"] * len(texts)
    return Conversation(tuple(Message(role, text) for role, text in zip(roles, texts, strict=False)))  # type: ignore[arg-type]


def test_labels_are_the_answers(tokenizer: Any, tmp_path: Path) -> None:
    """With the token that ends each; all else is not trained on."""
    counts = prepare([talk("Hello.", "Hi.", "Who?", "Me.")], tokenizer, tmp_path, "train")
    (row,) = Rows.read(tmp_path, "train")
    trained = [label for label in row["labels"] if label != IGNORED]
    assert tokenizer.decode(trained) == "Hi.<|end|>Me.<|end|>"
    assert tokenizer.decode(row["input_ids"]).startswith(
        "<|user|>\nHello.<|end|>\n<|assistant|>\nHi.<|end|>\n"
    )
    assert all(label in (IGNORED, one) for label, one in zip(row["labels"], row["input_ids"], strict=True))
    assert (counts.kept, counts.tokens, counts.trained_tokens) == (1, len(row["input_ids"]), len(trained))


def test_the_prompt_has_the_ids_that_serving_gives_it(tokenizer: Any, tmp_path: Path) -> None:
    """Not only the same text: the same tokens, for every sample row."""
    rows = tiny_facts().train
    prepare(rows, tokenizer, tmp_path, "train")
    for row, prepared in zip(rows, Rows.read(tmp_path, "train"), strict=True):
        turns = [{"role": turn.role, "content": turn.content} for turn in row.messages[:-1]]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert prepared["input_ids"][: len(prompt)] == prompt
        assert prepared["labels"][len(prompt)] == prepared["input_ids"][len(prompt)]


def test_a_row_read_back_is_the_row(tokenizer: Any, tmp_path: Path) -> None:
    """Rows taken a few at a time are those taken at once."""
    rows = tiny_facts().train
    prepare(rows, tokenizer, tmp_path, "a", batch_size=7)
    prepare(rows, tokenizer, tmp_path, "b")
    first, second = Rows.read(tmp_path, "a"), Rows.read(tmp_path, "b")
    assert len(first) == len(rows)
    assert list(first) == list(second)
    assert first.lengths() == [len(row["input_ids"]) for row in second]
    with pytest.raises(IndexError):
        first[len(rows)]


def test_what_is_cut_is_counted(tokenizer: Any, tmp_path: Path) -> None:
    """Tokens lost, answers without an end, and rows of which nothing is left to train on."""
    short, long, asked = talk("Hello.", "Hi."), talk("Hello.", "Hi. " * 9), talk("Hello? " * 9, "Hi.")
    whole = prepare([short, long, asked], tokenizer, tmp_path, "whole")
    lengths = Rows.read(tmp_path, "whole").lengths()
    counts = prepare([short, long, asked], tokenizer, tmp_path, "cut", limit=lengths[0])
    assert (whole.kept, whole.truncated, whole.lost_tokens) == (3, 0, 0)
    assert (counts.rows, counts.kept, counts.truncated) == (3, 2, 2)
    assert counts.lost_tokens == sum(lengths) - 3 * lengths[0]
    assert counts.lost_trained_tokens == whole.trained_tokens - counts.trained_tokens
    assert (counts.unfinished, counts.dropped_by_cut) == (1, 1)
    assert any("were cut" in line for line in counts.lines())
    assert Rows.read(tmp_path, "cut").lengths() == [lengths[0]] * 2


def test_rows_in_which_nobody_answers_are_left_out(tokenizer: Any, tmp_path: Path) -> None:
    """And counted; with no other rows there is nothing to train on."""
    counts = prepare([talk("Hello."), talk("Hello.", "Hi.")], tokenizer, tmp_path, "train")
    assert (counts.kept, counts.dropped_without_answer) == (1, 1)
    with pytest.raises(InvalidData, match="No row has an answer") as caught:
        prepare([talk("Hello.")], tokenizer, tmp_path, "train")
    assert caught.value.rule == "no-assistant"
    with pytest.raises(InvalidData) as caught:
        prepare([talk("Hello.", "Hi.")], tokenizer, tmp_path, "train", limit=3)
    assert caught.value.next_call == "raise max_seq_length"


def test_the_limit_is_the_models_context_at_most() -> None:
    """A longer row could be written, and the model could not read it."""
    assert row_limit(-1, 512) == 512
    assert row_limit(100, 512) == 100
    with pytest.raises(InvalidParameter, match="longer than the model's context"):
        row_limit(513, 512)


def test_rows_are_split_as_the_service_splits_them() -> None:
    """What is not given is taken from the end of the training rows."""
    rows = [talk(str(number), "Yes.") for number in range(100)]
    parts = split_rows({"train": rows})
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [80, 10, 10]
    assert [*parts["train"], *parts["validation"], *parts["test"]] == rows
    parts = split_rows({"train": rows, "validation": rows[:3]})
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [80, 3, 20]
    parts = split_rows({"train": rows, "validation": rows[:3], "test": rows[:2]})
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [100, 3, 2]
    with pytest.raises(InvalidData, match="8 rows are left"):
        split_rows({"train": rows[:10]})


def test_files_are_json_lines_or_an_array(tmp_path: Path) -> None:
    """As the service reads them; a row that is none is named by its line."""
    line = '{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]}'
    lines, array = tmp_path / "lines.jsonl", tmp_path / "array.json"
    lines.write_text(f"{line}\n\n{line}\n", encoding="utf-8")
    array.write_text(f"[{line},\n{line}]", encoding="utf-8")
    assert list(read_conversations(lines)) == list(read_conversations(array)) == [talk("Hello", "Hi")] * 2
    lines.write_text(f"{line}\n{{\n", encoding="utf-8")
    with pytest.raises(InvalidData) as caught:
        list(read_conversations(lines))
    assert (caught.value.file, caught.value.row, caught.value.rule) == ("lines.jsonl", 2, "not-json")
    lines.write_text(line.replace("assistant", "robot") + "\n", encoding="utf-8")
    with pytest.raises(InvalidData) as caught:
        list(read_conversations(lines))
    assert (caught.value.row, caught.value.rule) == (1, "unknown-role")


def test_labels_are_those_of_trl(tokenizer: Any, tmp_path: Path) -> None:
    """Another library marks the same tokens, but for what its template writes after an answer's end."""
    pytest.importorskip("trl")
    from trl.chat_template_utils import phi3_chat_template, phi3_training_chat_template

    tokenizer.chat_template = phi3_chat_template
    rows = tiny_facts().train[:40]
    prepare(rows, tokenizer, tmp_path, "train")
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    for row, prepared in zip(rows, Rows.read(tmp_path, "train"), strict=True):
        theirs = tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in row.messages],
            chat_template=phi3_training_chat_template,
            return_assistant_tokens_mask=True,
            return_dict=True,
        )
        assert prepared["input_ids"] == theirs["input_ids"]
        after = tokenizer.convert_tokens_to_ids(["\u010a", "<|endoftext|>"])
        marked = [
            one if mask and not (one in after and before in (end, after[0])) else IGNORED
            for one, mask, before in zip(
                theirs["input_ids"], theirs["assistant_masks"], [None, *theirs["input_ids"]], strict=False
            )
        ]
        assert prepared["labels"] == marked
