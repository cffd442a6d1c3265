"""Rows that hold messages."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.forms.form import ReversibleForm, Turn, is_said, message_turns
from phi_finetune.chat_dataset.forms.openai import uses_openai
from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["Messages"]


@attrs.frozen
class Messages(ReversibleForm):
    """``{"messages": [{"role": "user", "content": "..."}, ...]}``, with ``prompt_id`` or without.

    TRL, "Dataset formats and types", calls it the conversational form of language modelling. A content may be
    given as parts of text.

    Reversible, but for a content's seams between parts, and for other keys.
    """

    name = "messages"
    keys = ("messages", "role", "content", "prompt_id")
    drops = ("messages[].name",)
    whole = "messages"

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it has messages, without anything of OpenAI's, and no system text beside them."""
        return (
            record.get("messages") is not None
            and not uses_openai(record)
            and not is_said(record.get("system"))
        )

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the messages, with parts of text joined."""
        items = record.get("messages")
        if items is None:
            raise BrokenRule("no-messages")
        return message_turns(items, "messages")

    def record_of(self, conversation: Conversation) -> dict[str, object]:
        """Write a conversation as a row."""
        return {**conversation.as_dict()}
