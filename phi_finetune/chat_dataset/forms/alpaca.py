"""Rows as Stanford Alpaca writes them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.forms.form import ReversibleForm, Turn, is_said
from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["Alpaca"]


@attrs.frozen
class Alpaca(ReversibleForm):
    """``{"instruction": "...", "input": "...", "output": "..."}``, with ``system`` and ``history`` or without.

    tatsu-lab/stanford_alpaca, "Data release", names the three. LLaMA-Factory's data/README.md adds ``system``
    and ``history``, a list of ``[question, answer]`` pairs, and says that the user's turn is the instruction,
    a line feed and the input. A blank input is none.

    A conversation comes back as it was written. A row comes back with its input in the instruction.
    """

    name = "alpaca"
    keys = ("instruction", "input", "output", "system", "history")
    drops = ("id", "text")
    whole = "output"  # of the list of turns, only an answer can be missing

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it has an instruction and an output."""
        return record.get("instruction") is not None and "output" in record

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the system text, the history, the instruction with its input, and the output."""
        instruction, output = record.get("instruction"), record.get("output")
        if instruction is None:
            raise BrokenRule("missing-key", "instruction")
        turns = [Turn("user", _question(instruction, record.get("input")), "output", "instruction")]
        if output is not None:
            turns.append(Turn("assistant", output, "output", "output"))
        turns[:0] = _history(record.get("history"))
        if is_said(system := record.get("system")):
            turns.insert(0, Turn("system", system, "system", "system"))
        return turns

    def record_of(self, conversation: Conversation) -> dict[str, object]:
        """Write a conversation as a row; one that ends with the user's turn has no output."""
        first = conversation.messages[0]
        row: dict[str, object] = {"system": first.content} if first.role == "system" else {}
        texts = [turn.content for turn in conversation.messages if turn.role != "system"]
        last = (len(texts) - 1) // 2 * 2
        row |= {"instruction": texts[last], "input": ""}
        if texts[last + 1 :]:
            row["output"] = texts[last + 1]
        if last:
            row["history"] = [texts[index : index + 2] for index in range(0, last, 2)]
        return row


def _question(instruction: object, added: object) -> object:
    if not is_said(added) or not isinstance(instruction, str):
        return instruction
    if not isinstance(added, str):
        raise BrokenRule("content-not-text", "input")
    return f"{instruction}\n{added}"


def _history(pairs: object) -> list[Turn]:
    if pairs is None:
        return []
    if not isinstance(pairs, list | tuple):
        raise BrokenRule("history-not-pairs", "history")
    turns: list[Turn] = []
    for index, pair in enumerate(pairs):
        at = f"history[{index}]"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BrokenRule("history-not-pairs", at)
        turns += [
            Turn("user", pair[0], f"{at}[0]", f"{at}[0]"),
            Turn("assistant", pair[1], f"{at}[1]", f"{at}[1]"),
        ]
    return turns
