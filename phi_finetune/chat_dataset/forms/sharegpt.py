"""Rows as ShareGPT and FastChat write them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from phi_finetune.chat_dataset.conversation import Conversation, Role
from phi_finetune.chat_dataset.forms.form import ReversibleForm, Turn, is_said, objects_of
from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["ShareGpt"]

_ROLES: dict[object, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
    "system": "system",
}
_WORDS: dict[Role, str] = {"user": "human", "assistant": "gpt", "system": "system"}


@attrs.frozen
class ShareGpt(ReversibleForm):
    """``{"id": "...", "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", ...}]}``.

    FastChat's data/dummy_conversation.json has it so; LLaMA-Factory's data/README.md adds the key ``system``,
    which becomes the first message. Turns of tools (``function_call``, ``observation``) are refused.

    A conversation comes back as it was written. A row comes back without its ``id``, with the words ``human``
    and ``gpt`` for whatever the speakers were called, and with a system turn in the field.
    """

    name = "sharegpt"
    keys = ("conversations", "from", "value", "system")
    drops = ("id", "tools")
    whole = "conversations"

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it has conversations, the first turn of which, if any, says who speaks with ``from``."""
        items = record.get("conversations")
        first = items[0] if isinstance(items, list | tuple) and items else None
        return items is not None and (not isinstance(first, Mapping) or "from" in first or "value" in first)

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the system text, if there is one, and the conversation."""
        items = record.get("conversations")
        if items is None:
            raise BrokenRule("missing-key", "conversations")
        turns = [
            _turn(item, f"conversations[{index}]")
            for index, item in enumerate(objects_of(items, "conversations"))
        ]
        if turns and is_said(system := record.get("system")):
            turns.insert(0, Turn("system", system, "system", "system"))
        return turns

    def record_of(self, conversation: Conversation) -> dict[str, object]:
        """Write a conversation as a row."""
        first = conversation.messages[0]
        spoken = conversation.messages[first.role == "system" :]
        row: dict[str, object] = {"system": first.content} if first.role == "system" else {}
        row["conversations"] = [{"from": _WORDS[turn.role], "value": turn.content} for turn in spoken]
        return row


def _turn(item: Mapping[str, object], at: str) -> Turn:
    word = item.get("from")
    if word in ("tool", "function_call", "observation"):
        raise BrokenRule("tools", f"{at}.from")
    role = _ROLES.get(word, word) if isinstance(word, str) else word
    return Turn(role, item.get("value"), f"{at}.from", f"{at}.value")
