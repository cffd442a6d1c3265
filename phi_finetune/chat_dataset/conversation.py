"""One conversation, and the rules that it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from phi_finetune.chat_dataset.rules import BrokenRule, Fault

__all__ = ["Conversation", "Message", "Role", "faults_of", "keeps_the_rules", "parse_conversation"]

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
        BrokenRule: The first of :func:`faults_of`.
    """
    for fault in _faults(record, must_end_answered=must_end_answered):
        raise BrokenRule(fault.rule, fault.path)
    assert isinstance(record, Mapping)
    messages = tuple([Message(_ROLES[item["role"]], item["content"]) for item in record["messages"]])
    return Conversation(messages, _prompt_id(record))


def faults_of(record: object, *, must_end_answered: bool) -> tuple[Fault, ...]:
    """All rules that a record breaks; none where :func:`parse_conversation` takes it.

    What a fault hides is not told: nothing of messages that are no list, and nothing of the order of turns while a
    role is not known.

    Args:
        record: What may be a mapping with ``messages``.
        must_end_answered: Whether the last turn must be the assistant's, as training needs it.
    """
    return tuple(_faults(record, must_end_answered=must_end_answered))


def _faults(record: object, *, must_end_answered: bool) -> Iterator[Fault]:
    if not isinstance(record, Mapping):
        yield Fault("not-an-object")
        return
    items = record.get("messages", _ABSENT)
    if items is _ABSENT:
        yield Fault("no-messages")
    elif not isinstance(items, list | tuple):
        yield Fault("messages-not-a-list", "messages")
    elif not items:
        yield Fault("empty-messages", "messages")
    else:
        yield from _faults_of_messages(items, must_end_answered)


def _faults_of_messages(items: Sequence[object], must_end_answered: bool) -> Iterator[Fault]:
    for index, item in enumerate(items):
        yield from _faults_of_message(item, index)
    roles = [item.get("role") if isinstance(item, Mapping) else None for item in items]
    if not all(isinstance(role, str) and role in _ROLES for role in roles):
        return
    if roles == ["system"]:
        yield Fault("no-user-turn", "messages")
        return
    yield from _faults_of_order(roles)
    if must_end_answered and roles[-1] != "assistant":
        if "assistant" in roles:
            yield Fault("last-not-assistant", f"messages[{len(roles) - 1}].role")
        else:
            yield Fault("no-assistant-turn", "messages")


def _prompt_id(record: Mapping[str, object]) -> str | None:
    given = record.get("prompt_id")
    return given if isinstance(given, str) and not _holds_surrogate(given) else None


def _faults_of_message(item: object, index: int) -> Iterator[Fault]:
    if not isinstance(item, Mapping):
        yield Fault("message-not-an-object", f"messages[{index}]")
        return
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        yield Fault("missing-role" if role is None else "unknown-role", f"messages[{index}].role")
    broken = _content_rule(item.get("content"))
    if broken is not None:
        yield Fault(broken, f"messages[{index}].content")


def _content_rule(content: object) -> str | None:
    """The rule that a content breaks."""
    if content is None:
        return "missing-content"
    if not isinstance(content, str):
        return "content-not-text"
    if not content or content.isspace():
        return "blank-content"
    return "lone-surrogate" if _holds_surrogate(content) else None


def _holds_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _faults_of_order(roles: Sequence[object]) -> Iterator[Fault]:
    """Each turn that stands where another is due; the next is judged by what stands there."""
    first = 1 if roles[0] == "system" else 0
    due = "user"
    for index in range(first, len(roles)):
        role = roles[index]
        if role == "system":
            yield Fault("second-system" if first else "system-not-first", f"messages[{index}].role")
            continue
        if role != due:
            rule = "user-not-first" if index == first else "roles-not-alternating"
            yield Fault(rule, f"messages[{index}].role")
        due = "user" if role == "assistant" else "assistant"
