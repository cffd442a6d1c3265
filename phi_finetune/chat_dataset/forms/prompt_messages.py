"""Rows that hold messages, and what the user says first once more."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.forms.form import ReversibleForm, Turn
from phi_finetune.chat_dataset.forms.messages import Messages
from phi_finetune.chat_dataset.rules import Fault

__all__ = ["PromptMessages", "prompt_remarks"]

_MESSAGES = Messages()


@attrs.frozen
class PromptMessages(ReversibleForm):
    """``{"prompt": "...", "prompt_id": "...", "messages": [...]}``, as ultrachat_200k has it.

    Its card: "prompt" is the first of the user's turns in "messages". Where it is not, :meth:`remarks` says
    so, and the messages are what counts.

    Reversible, where the two agree.
    """

    name = "prompt_messages"
    keys = ("prompt", *_MESSAGES.keys)
    drops = ("messages[].name",)
    whole = "messages"

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it has messages, and a prompt that is a text."""
        return _MESSAGES.recognises(record) and isinstance(record.get("prompt"), str)

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the messages."""
        return _MESSAGES.turns(record)

    def remarks(self, record: Mapping[str, object]) -> tuple[Fault, ...]:
        """Say so if the prompt is not what the user says first."""
        return prompt_remarks(record, self.turns(record))

    def record_of(self, conversation: Conversation) -> dict[str, object]:
        """Write a conversation as a row."""
        row: dict[str, object] = {**conversation.as_dict()}
        first = next(turn.content for turn in conversation.messages if turn.role == "user")
        return {"prompt": first, **{key: row[key] for key in ("prompt_id", "messages") if key in row}}


def prompt_remarks(record: Mapping[str, object], turns: list[Turn]) -> tuple[Fault, ...]:
    """Say so if a row's prompt, where it is a text, is not what the user says first in the turns."""
    prompt = record.get("prompt")
    first = next((turn.content for turn in turns if turn.role == "user"), None)
    return (Fault("prompt-differs", "prompt"),) if isinstance(prompt, str) and prompt != first else ()
