"""The mends that are safe to make of a broken row, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from phi_finetune.chat_dataset.conversation import Conversation, parse_conversation
from phi_finetune.chat_dataset.found import Broken
from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["DROPPED", "MENDS", "mend", "with_joining", "without_joining"]

MENDS: Final = {
    "role-renamed": "another name of a role became user, assistant or system",
    "blank-end-dropped": "blank messages at the end were left out",
    "blank-system-dropped": "a blank system message was left out",
    "system-moved": "system messages went to the front, joined to one",
    "turns-joined": "turns of one role that follow each other became one",
    "question-dropped": "the user's turn at the end, which nobody answers, was left out",
    "row-dropped": "the row cannot be mended, and was left out",
    "mark-dropped": "the byte order mark at the file's start was left out",
    "repeated-row-dropped": "a row that says what another says was left out",
}
"""What each mend does, by its name."""
DROPPED: Final = "row-dropped"
_ROLES: Final = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_BETWEEN: Final = "\n\n"

_Turn: TypeAlias = tuple[str, object]


def without_joining(row: Broken) -> Conversation | None:
    """What :func:`mend` makes, with turns as they are."""
    return mend(row, join_turns=False)[0]


def with_joining(row: Broken) -> Conversation | None:
    """What :func:`mend` makes, with turns of one role joined."""
    return mend(row, join_turns=True)[0]


def mend(row: Broken, *, join_turns: bool) -> tuple[Conversation | None, tuple[str, ...]]:
    """Make a row that keeps the rules, if the safe mends do.

    Returns:
        The row, None if there is none, and the names of what was done.
    """
    value = row.value
    if not isinstance(value, Mapping):
        return None, (DROPPED,)
    items = value.get("messages")
    if not isinstance(items, list | tuple) or not all(isinstance(item, Mapping) for item in items):
        return None, (DROPPED,)
    done: list[str] = []
    turns = _renamed([(item.get("role"), item.get("content")) for item in items], done)
    turns = _without_blank_end(turns, done)
    turns = _system_first(turns, done)
    if join_turns:
        turns = _joined(turns, done)
    if row.must_end_answered and len(turns) > 1 and turns[-1][0] == "user" and turns[-2][0] == "assistant":
        turns = turns[:-1]
        done.append("question-dropped")
    messages = [{"role": role, "content": content} for role, content in turns]
    record = {"messages": messages, "prompt_id": value.get("prompt_id")}
    try:
        return parse_conversation(record, must_end_answered=row.must_end_answered), tuple(done)
    except BrokenRule:
        return None, (DROPPED,)


def _renamed(turns: list[tuple[object, object]], done: list[str]) -> list[_Turn]:
    renamed = [
        (_ROLES.get(role.strip().casefold(), role) if isinstance(role, str) else "", content)
        for role, content in turns
    ]
    if [role for role, _ in renamed] != [role for role, _ in turns]:
        done.append("role-renamed")
    return renamed


def _is_blank(content: object) -> bool:
    return content is None or (isinstance(content, str) and not content.strip())


def _without_blank_end(turns: list[_Turn], done: list[str]) -> list[_Turn]:
    end = len(turns)
    while end and _is_blank(turns[end - 1][1]):
        end -= 1
    if end < len(turns):
        done.append("blank-end-dropped")
    return turns[:end]


def _system_first(turns: list[_Turn], done: list[str]) -> list[_Turn]:
    texts = [content for role, content in turns if role == "system"]
    told = [text for text in texts if isinstance(text, str) and not _is_blank(text)]
    if any(not _is_blank(text) and not isinstance(text, str) for text in texts):
        return turns
    if len(told) < len(texts):
        done.append("blank-system-dropped")
    front: list[_Turn] = [("system", _BETWEEN.join(told))] if told else []
    mended = [*front, *(turn for turn in turns if turn[0] != "system")]
    kept = [turn for turn in turns if turn[0] != "system" or not _is_blank(turn[1])]
    if mended != kept:
        done.append("system-moved")
    return mended


def _joined(turns: list[_Turn], done: list[str]) -> list[_Turn]:
    joined: list[_Turn] = []
    for role, content in turns:
        before = joined[-1] if joined else None
        if (
            before is not None
            and before[0] == role
            and isinstance(before[1], str)
            and isinstance(content, str)
        ):
            joined[-1] = (role, _BETWEEN.join([before[1], content]))
        else:
            joined.append((role, content))
    if len(joined) < len(turns):
        done.append("turns-joined")
    return joined
