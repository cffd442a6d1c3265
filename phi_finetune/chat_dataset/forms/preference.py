"""Rows that hold a chosen answer and a rejected one."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from phi_finetune.chat_dataset.forms.form import Form, Turn
from phi_finetune.chat_dataset.forms.prompt_completion import side_turns
from phi_finetune.chat_dataset.forms.prompt_messages import prompt_remarks
from phi_finetune.chat_dataset.rules import BrokenRule, Fault

__all__ = ["Preference"]


@attrs.frozen
class Preference(Form):
    """``{"prompt": "...", "chosen": "...", "rejected": "..."}``, reduced to the chosen side.

    TRL, "Dataset formats and types": preference, with texts or lists of messages, and with the prompt in a
    column of its own or inside of ``chosen``. HuggingFaceH4/ultrafeedback_binarized has both: there the
    conversation is all in ``chosen``, and ``prompt`` repeats its first turn.

    Not reversible: the rejected side is gone, and with it what the data was made for.
    """

    name = "preference"
    keys = ("prompt", "chosen", "rejected", "role", "content", "prompt_id")
    drops = ("rejected", "messages", "score_chosen", "score_rejected")
    whole = "chosen"

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it has a chosen and a rejected side."""
        return record.get("chosen") is not None and record.get("rejected") is not None

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the prompt's turns, unless the chosen side begins with them, and the chosen side's."""
        prompt, chosen = record.get("prompt"), record.get("chosen")
        if chosen is None:
            raise BrokenRule("missing-key", "chosen")
        turns = side_turns(chosen, "chosen", "assistant")
        if prompt is not None:
            return turns if _holds_prompt(turns) else side_turns(prompt, "prompt", "user") + turns
        if isinstance(chosen, str):
            raise BrokenRule("missing-key", "prompt")
        return turns

    def remarks(self, record: Mapping[str, object]) -> tuple[Fault, ...]:
        """Say so if the chosen side holds a conversation that the prompt does not begin."""
        return prompt_remarks(record, self.turns(record))


def _holds_prompt(turns: list[Turn]) -> bool:
    return bool(turns) and turns[0].role in ("user", "system")
