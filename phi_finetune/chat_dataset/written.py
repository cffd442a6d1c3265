"""A conversation written out under a chat template, and which part of the text is whose."""

from __future__ import annotations

import re

import attrs

from phi_finetune.catalog.chat_templates import ChatTemplate
from phi_finetune.chat_dataset.conversation import Conversation, Message, Role
from phi_finetune.errors import InvalidParameter

__all__ = ["Part", "written_parts"]

_MARK = re.compile("\x00([0-9]+)\x00")


@attrs.frozen
class Part:
    """A part of the prompt.

    Attributes:
        text: The text.
        role: Whose content it is, with the assistant's end-of-turn token; None for the template's own text.
        learned: Whether it is what the assistant says.
        ends: Whether the end-of-turn token is written at its end.
    """

    text: str
    role: Role | None = None
    learned: bool = False
    ends: bool = False


def written_parts(conversation: Conversation, template: ChatTemplate) -> list[Part]:
    """Write out a conversation in parts; their texts joined are the prompt.

    The template is rendered twice, once with a mark in place of each content, which tells where each goes.

    Raises:
        InvalidParameter: The template changes what is said, so that its place cannot be told.
        MissingDependency: jinja2 is not installed.
    """
    marked = [Message(turn.role, f"\x00{at}\x00") for at, turn in enumerate(conversation.messages)]
    pieces = _MARK.split(template.render(marked))
    parts = [Part(pieces[0])] if pieces[0] else []
    for at in range(1, len(pieces), 2):
        turn, after = conversation.messages[int(pieces[at])], pieces[at + 1]
        learned = turn.role == "assistant"
        ends = learned and after.startswith(template.end_of_turn)
        end = template.end_of_turn if ends else ""
        parts.append(Part(turn.content + end, turn.role, learned, ends))
        if after[len(end) :]:
            parts.append(Part(after[len(end) :]))
    if "".join(part.text for part in parts) != template.render(conversation.messages):
        raise InvalidParameter(
            f"The chat template of {template.model} changes what is said, so that its place cannot be told",
            name="model",
            value=template.model,
            allowed="a template that writes each content as it is",
        )
    return parts
