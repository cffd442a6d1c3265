"""Rows that hold a prompt and its completion."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.forms.form import ReversibleForm, Turn, message_turns
from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["PromptCompletion", "side_turns"]


@attrs.frozen
class PromptCompletion(ReversibleForm):
    """``{"prompt": "...", "completion": "..."}``, or both as lists of messages.

    TRL, "Dataset formats and types": prompt-completion, standard and conversational. A text is taken as it is,
    spaces at its ends too. Which tokens were to be learnt is lost: training learns every turn of the assistant,
    those in the prompt too.

    A conversation comes back as it was written. A row of messages comes back as texts if it has but two.
    """

    name = "prompt_completion"
    keys = ("prompt", "completion", "role", "content")
    drops = ("prompt[].name", "completion[].name")
    whole = "completion"

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it has a prompt and a completion."""
        return record.get("prompt") is not None and "completion" in record

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the prompt's turns and the completion's."""
        prompt, completion = record.get("prompt"), record.get("completion")
        if prompt is None:
            raise BrokenRule("missing-key", "prompt")
        turns = side_turns(prompt, "prompt", "user")
        return turns if completion is None else turns + side_turns(completion, "completion", "assistant")

    def record_of(self, conversation: Conversation) -> dict[str, object]:
        """Write a conversation as a row: of texts if it is a question and an answer, else of messages."""
        prompt, answer = conversation.prompt, conversation.answer
        if len(prompt) == 1 and answer is not None:
            return {"prompt": prompt[0].content, "completion": answer}
        row: dict[str, object] = {"prompt": [{"role": turn.role, "content": turn.content} for turn in prompt]}
        if answer is not None:
            row["completion"] = [{"role": "assistant", "content": answer}]
        return row


def side_turns(side: object, at: str, role: str) -> list[Turn]:
    """Give the turns of one side of a row: those of a list of messages, or one of ``role`` for a text."""
    return message_turns(side, at) if isinstance(side, list | tuple) else [Turn(role, side, at, at)]
