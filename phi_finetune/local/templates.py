"""What of a written-out conversation is trained on, found from the template that the model is served with.

The text of a conversation, up to where the assistant begins to speak, must be the very prompt that serving will
write. What follows it, up to and with the token that ends the turn, is trained on. So the mask is right for any
template that is consistent, the model's own included, and one that would train on other prompts than it is served
with is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import attrs

from phi_finetune.catalog.chat_templates import Turn
from phi_finetune.errors import InvalidData, InvalidParameter

__all__ = ["Form", "Marked", "Span", "form_of"]

_PROBE = ("Is this one?", "It is one.", "And this two?", "It is two.")


@attrs.frozen
class Span:
    """A part of a text, from a character to before another."""

    start: int
    end: int


@attrs.frozen
class Marked:
    """A conversation written out.

    Attributes:
        text: The text to train on.
        spans: The assistant's turns in it, each with the token that ends it.
        system_left_out: Whether the template left out the system turn.
    """

    text: str
    spans: tuple[Span, ...]
    system_left_out: bool


@attrs.frozen
class Form:
    """How a model wants a conversation written, with what was found out about it.

    Attributes:
        end_of_turn: The token that ends an assistant's turn; training includes it, and generation stops at it.
        end_of_turn_id: Its number.
    """

    _tokenizer: Any = attrs.field(repr=False, eq=False)
    end_of_turn: str
    end_of_turn_id: int

    def render(self, messages: Sequence[Turn], *, prompt: bool = False) -> str:
        """Write out a conversation.

        Args:
            messages: The turns.
            prompt: Whether the assistant is to answer.

        Raises:
            InvalidData: The template refuses the conversation.
        """
        return _render(self._tokenizer, messages, prompt=prompt)

    def mark(self, messages: Sequence[Turn]) -> Marked:
        """Write out a conversation, and say which parts of it the assistant says.

        Raises:
            InvalidData: The template refuses the conversation, writes another prompt in training than in serving, or
                does not end the assistant's turn.
        """
        text, spans = self.render(messages), []
        for place, turn in enumerate(messages):
            if turn.role == "assistant":
                spans.append(self._span(text, messages[:place], turn))
        system = [turn.content.strip() for turn in messages if turn.role == "system"]
        return Marked(text, tuple(spans), any(content not in text for content in system))

    def _span(self, text: str, before: Sequence[Turn], turn: Turn) -> Span:
        prompt = self.render(before, prompt=True)
        if not text.startswith(prompt):
            raise InvalidData(
                "The chat template writes another prompt for training than for serving",
                rule="template-parity",
                path=f"messages[{len(before)}]",
                next_call="use the template that the model was published with",
            )
        start = len(prompt)
        said = text.find(turn.content.strip(), start)
        end = text.find(self.end_of_turn, start if said < 0 else said + len(turn.content.strip()))
        if end < 0:
            raise InvalidData(
                f"The chat template does not end the assistant's turn with {self.end_of_turn}",
                rule="template-end-of-turn",
                path=f"messages[{len(before)}]",
            )
        return Span(start, end + len(self.end_of_turn))


@attrs.frozen
class _Said:
    role: str
    content: str


def form_of(tokenizer: Any) -> Form:
    """How the model of a tokenizer wants a conversation written, tried on a conversation of its own.

    Raises:
        InvalidParameter: It has no chat template, its template does not end a turn with a special token, or its
            prompts in training and serving differ.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise _unusable(
            "it has none", "give the folder of an instruct model, whose tokenizer has a chat template"
        )
    roles = ("user", "assistant", "user", "assistant")
    probe = [_Said(role, content) for role, content in zip(roles, _PROBE, strict=True)]
    text = _render(tokenizer, probe)
    after = text.partition(_PROBE[1])[2].partition(_PROBE[2])[0]
    special = sorted(tokenizer.added_tokens_encoder, key=len, reverse=True)
    found = re.search("|".join(map(re.escape, special)) or r"(?!)", after)
    if found is None:
        raise _unusable("no special token ends the assistant's turn", "use an instruct model's own tokenizer")
    form = Form(tokenizer, found[0], tokenizer.convert_tokens_to_ids(found[0]))
    try:
        form.mark(probe)
    except InvalidData as error:
        raise _unusable(error.what, "use the template that the model was published with") from None
    return form


def _render(tokenizer: Any, messages: Sequence[Turn], *, prompt: bool = False) -> str:
    from jinja2 import TemplateError

    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    except TemplateError as error:
        # Only the kind of error: a template's message may quote the conversation.
        raise InvalidData(
            "The chat template refuses the conversation", why=type(error).__name__, rule="template"
        ) from None
    return text


def _unusable(why: str, next_call: str) -> InvalidParameter:
    return InvalidParameter(
        "The model's chat template cannot be trained with",
        name="model",
        why=why,
        allowed="a model with a chat template whose turns end with a special token",
        next_call=next_call,
    )
