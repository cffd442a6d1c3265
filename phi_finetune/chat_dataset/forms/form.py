"""What a form of chat data is: the way from a row as it was published to messages."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from phi_finetune.chat_dataset.conversation import Conversation, parse_conversation
from phi_finetune.chat_dataset.rules import BrokenRule, Fault

__all__ = [
    "Form",
    "ReversibleForm",
    "Turn",
    "conversation_of",
    "is_said",
    "message_turns",
    "objects_of",
    "text_of",
]

_PLACE = re.compile(r"messages(?:\[([0-9]+)\]\.(role|content))?")


class Turn(NamedTuple):
    """One message as a row has it, and where it stands there.

    Attributes:
        role: Who speaks, in this library's words where the form knows the word; not checked.
        content: What is said; not checked.
        role_at: Where in the row the speaker stands, such as ``"conversations[2].from"``.
        content_at: Where in the row the text stands.
    """

    role: object
    content: object
    role_at: str
    content_at: str


class Form(ABC):
    """One way to write a conversation as a row.

    Attributes:
        name: What it is called.
        keys: The names that it reads, of the row and of what is in it.
        drops: What rows of this form are known to hold that messages cannot; it is left out, as is everything
            under a name that the form does not know.
        whole: Where the list of turns stands in a row.
    """

    name: str
    keys: tuple[str, ...]
    drops: tuple[str, ...]
    whole: str

    @abstractmethod
    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether a row looks like one of this form, by its keys; it may still break rules."""

    @abstractmethod
    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give a row's turns.

        Raises:
            BrokenRule: The row is not of this form; the path is the row's own.
        """

    def messages_of(self, record: object) -> dict[str, object]:
        """Give a row as ``{"messages": [{"role": ..., "content": ...}, ...]}``, and ``prompt_id`` if it has one.

        Roles, contents and their order are not checked: ``parse_conversation`` does that.

        Raises:
            BrokenRule: The row is not of this form; the path is the row's own.
        """
        if not isinstance(record, Mapping):
            raise BrokenRule("not-an-object")
        row: dict[str, object] = {
            "messages": [{"role": turn.role, "content": turn.content} for turn in self.turns(record)]
        }
        if "prompt_id" in self.keys and isinstance(prompt_id := record.get("prompt_id"), str):
            row["prompt_id"] = prompt_id
        return row

    def path(self, path: str, record: Mapping[str, object]) -> str:
        """Say in a row's own words where something of its messages stands.

        Args:
            path: A place in what :meth:`messages_of` gave, such as ``"messages[2].content"``.
            record: The row that it was given for.
        """
        place = _PLACE.fullmatch(path)
        if place is None:
            return path
        index, part = place.groups()
        if index is None:
            return self.whole
        turn = self.turns(record)[int(index)]
        return turn.role_at if part == "role" else turn.content_at

    def remarks(self, record: Mapping[str, object]) -> tuple[Fault, ...]:
        """Give what is worth a look in a row that can be read; nothing, for most forms."""
        return ()


class ReversibleForm(Form):
    """A form that any conversation can be written in, so that reading it gives the same conversation."""

    @abstractmethod
    def record_of(self, conversation: Conversation) -> dict[str, object]:
        """Write a conversation as a row."""


def conversation_of(form: Form, record: object, *, must_end_answered: bool = False) -> Conversation:
    """Read and check one row of a form.

    Args:
        form: The row's form.
        record: The row, as its file has it.
        must_end_answered: Whether the last turn must be the assistant's, as training needs it.

    Raises:
        BrokenRule: The first rule that it breaks, with the place in the row's own words.
    """
    row = form.messages_of(record)
    try:
        return parse_conversation(row, must_end_answered=must_end_answered)
    except BrokenRule as broken:
        fault = broken.fault
    path = fault.path
    if path is not None and isinstance(record, Mapping):
        path = form.path(path, record)
    raise BrokenRule(fault.rule, path)


def message_turns(items: object, at: str) -> list[Turn]:
    """Give the turns of a list of ``{"role": ..., "content": ...}``.

    Args:
        items: What should be such a list.
        at: Where it stands in the row.

    Raises:
        BrokenRule: It is not a list of objects, or a content has a part that is no text.
    """
    return [
        Turn(
            item.get("role"),
            text_of(item.get("content"), f"{at}[{index}].content"),
            f"{at}[{index}].role",
            f"{at}[{index}].content",
        )
        for index, item in enumerate(objects_of(items, at))
    ]


def objects_of(items: object, at: str) -> Sequence[Mapping[str, object]]:
    """Give a list of objects as it is.

    Raises:
        BrokenRule: It is not a list, or one of its items is not an object.
    """
    if not isinstance(items, list | tuple):
        raise BrokenRule("messages-not-a-list", at)
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise BrokenRule("message-not-an-object", f"{at}[{index}]")
    return items


def text_of(content: object, at: str) -> object:
    """Join a content given as parts, ``[{"type": "text", "text": ...}, ...]``; give any other as it is.

    Nothing comes between the parts, as chat templates that know parts write them.

    Raises:
        BrokenRule: A part is no text: an image, a sound or a file.
    """
    if not isinstance(content, list | tuple):
        return content
    texts: list[str] = []
    for index, part in enumerate(content):
        text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise BrokenRule("content-part-not-text", f"{at}[{index}]")
        texts.append(text)
    return "".join(texts)


def is_said(text: object) -> bool:
    """Whether an optional text is there: a blank one is not, but what is no text is, to be refused later."""
    return bool(text.strip()) if isinstance(text, str) else text is not None
