"""One conversation, and the rules that it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["Conversation", "Message", "Role", "keeps_the_rules", "parse_conversation"]

Role: TypeAlias = Literal["system", "user", "assistant"]

_ROLES: Final[dict[str, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}
_ABSENT = object()


class Message(msgspec.Struct, frozen=True, gc=False):
    """One turn of a conversation.

    Attributes:
        role: Who speaks.
        content: What is said; never blank in a message that was read from data.
    """

    role: Role
    content: str


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """The turns between a user and an assistant, after a system message where there is one.

    :meth:`from_record` checks the rules; the constructor takes what it is given.

    Attributes:
        messages: The turns, in order.
        prompt_id: The row's own name, as ultrachat_200k has it; None where the data gave none. It is written back,
            and says nothing to the training.
    """

    messages: tuple[Message, ...]
    prompt_id: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Conversation:
        """Read a mapping of the form ``{"messages": [{"role": "user", "content": "Hello"}, ...]}``.

        Other keys but ``prompt_id``, of the record and of its messages, are left out. The conversation may end
        with the user's turn: such a one cannot be trained on, but an endpoint can answer it.

        Raises:
            InvalidData: It is not of that form, a content is blank, or the turns are out of order.
        """
        try:
            return parse_conversation(record)
        except BrokenRule as broken:
            raise broken.fault.error() from None

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages to send to a chat endpoint: all turns, without the assistant's if that is the last."""
        return self.messages[:-1] if self._is_answered() else self.messages

    @property
    def answer(self) -> str | None:
        """What the assistant says last; None if the last turn is the user's."""
        return self.messages[-1].content if self._is_answered() else None

    def as_dict(self) -> dict[str, object]:
        """Give the form that :meth:`from_record` reads."""
        record: dict[str, object] = {
            "messages": [{"role": turn.role, "content": turn.content} for turn in self.messages]
        }
        return record if self.prompt_id is None else {**record, "prompt_id": self.prompt_id}

    def _is_answered(self) -> bool:
        return self.messages[-1].role == "assistant"


def keeps_the_rules(row: Conversation, *, must_end_answered: bool) -> bool:
    """Whether a row whose roles and texts are of the right kinds keeps the other rules too.

    It says the same as :func:`parse_conversation`, in a tenth of the time, but not what is wrong.
    """
    turns = row.messages
    spoken = turns
    if turns and turns[0].role == "system":
        if not turns[0].content or turns[0].content.isspace():
            return False
        spoken = turns[1:]
    expected = "user"
    for turn in spoken:
        content = turn.content
        if turn.role != expected or not content or content.isspace():
            return False
        expected = "assistant" if expected == "user" else "user"
    # Once an answer is in, the user's turn is next, as it is before the first one.
    return bool(spoken) and (expected == "user" or not must_end_answered)


def parse_conversation(record: object, *, must_end_answered: bool = False) -> Conversation:
    """Read and check one record.

    Args:
        record: What may be a mapping with ``messages``.
        must_end_answered: Whether the last turn must be the assistant's, as training needs it.

    Raises:
        BrokenRule: The first rule that it breaks.
    """
    if not isinstance(record, Mapping):
        raise BrokenRule("not-an-object")
    items = record.get("messages", _ABSENT)
    if items is _ABSENT:
        raise BrokenRule("no-messages")
    if not isinstance(items, list | tuple):
        raise BrokenRule("messages-not-a-list", "messages")
    if not items:
        raise BrokenRule("empty-messages", "messages")
    messages = tuple([_parse_message(item, index) for index, item in enumerate(items)])
    _check_order(messages)
    if must_end_answered:
        _check_answered(messages)
    return Conversation(messages, _prompt_id(record))


def _prompt_id(record: Mapping[str, object]) -> str | None:
    given = record.get("prompt_id")
    return given if isinstance(given, str) and not _holds_surrogate(given) else None


def _parse_message(item: object, index: int) -> Message:
    if not isinstance(item, Mapping):
        raise BrokenRule("message-not-an-object", f"messages[{index}]")
    given, content = item.get("role"), item.get("content")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise BrokenRule("missing-role" if given is None else "unknown-role", f"messages[{index}].role")
    if not isinstance(content, str):
        rule = "missing-content" if content is None else "content-not-text"
        raise BrokenRule(rule, f"messages[{index}].content")
    if not content or content.isspace():
        raise BrokenRule("blank-content", f"messages[{index}].content")
    if _holds_surrogate(content):
        raise BrokenRule("lone-surrogate", f"messages[{index}].content")
    return Message(role, content)


def _holds_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _check_order(messages: tuple[Message, ...]) -> None:
    first = 1 if messages[0].role == "system" else 0
    if first == len(messages):
        raise BrokenRule("no-user-turn", "messages")
    for index in range(first, len(messages)):
        expected = "assistant" if (index - first) % 2 else "user"
        role = messages[index].role
        if role != expected:
            raise BrokenRule(_order_rule(role, index, first), f"messages[{index}].role")


def _order_rule(role: Role, index: int, first: int) -> str:
    if role == "system":
        return "second-system" if first else "system-not-first"
    return "user-not-first" if index == first else "roles-not-alternating"


def _check_answered(messages: tuple[Message, ...]) -> None:
    last = len(messages) - 1
    if messages[last].role == "assistant":
        return
    if any(turn.role == "assistant" for turn in messages):
        raise BrokenRule("last-not-assistant", f"messages[{last}].role")
    raise BrokenRule("no-assistant-turn", "messages")
