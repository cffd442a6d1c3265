"""How each Phi model wants a conversation written out: its chat template and the tokens in it.

The templates are this library's own text, and render what the published ones do for turns of the roles system,
user and assistant. Tools are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import attrs

from phi_finetune.catalog import _rows
from phi_finetune.catalog._rows import Source
from phi_finetune.errors import InvalidParameter, MissingDependency

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["ChatTemplate", "Turn", "Vocabulary", "all_templates", "find", "get"]

Vocabulary: TypeAlias = Literal["llama", "cl100k", "o200k"]


class Turn(Protocol):
    """One turn of a conversation, as a :class:`~phi_finetune.Message` is."""

    @property
    def role(self) -> str:
        """Who speaks: system, user or assistant."""
        ...

    @property
    def content(self) -> str:
        """What is said."""
        ...


@attrs.frozen
class ChatTemplate:
    """One model's way to write out a conversation.

    Attributes:
        model: The model's name.
        family: The models that share the template.
        text: The template, for jinja2. It is given ``messages``, ``bos_token``, ``eos_token`` and
            ``add_generation_prompt``, as Hugging Face's transformers gives them.
        supports_system: Whether a system turn is written; if not, the template leaves it out without a word.
        end_of_turn: The token after each turn's content; a model that has not learned it goes on and on.
        end_of_text: The tokenizer's ``eos_token``. Phi-4's is assumed: it is that of the corrected release.
        bos: The tokenizer's ``bos_token``, that begins a text.
        context_length: How long a text the model takes, in tokens.
        vocabulary: Which tokens it has: those of Llama 2 (32,000), of cl100k (100,000) or of o200k (200,000).
        source: Where this comes from; None for a template of your own.
        assumed: What the source does not say; empty if there is nothing.
    """

    model: str
    family: str
    text: str = attrs.field(repr=False)
    supports_system: bool
    end_of_turn: str
    end_of_text: str
    bos: str
    context_length: int
    vocabulary: Vocabulary
    source: Source | None = None
    assumed: str = ""

    def render(self, messages: Iterable[Turn], *, add_generation_prompt: bool = False) -> str:
        """Write out a conversation as the model reads it.

        Args:
            messages: The turns, in order.
            add_generation_prompt: Whether to open the assistant's next turn, as for an answer; without it the
                text is one to train on.

        Raises:
            InvalidParameter: The template is not one that jinja2 can render, or does what no template should.
            MissingDependency: jinja2 is not installed; it comes with the extra ``tokens``.
        """
        template = _compiled(self.text)
        from jinja2 import TemplateError

        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            return template.render(
                messages=turns,
                bos_token=self.bos,
                eos_token=self.end_of_text,
                add_generation_prompt=add_generation_prompt,
            )
        except TemplateError as error:
            raise _unusable(error) from None


def all_templates() -> tuple[ChatTemplate, ...]:
    """Every model whose template is known, in the order of their release."""
    return tuple(_by_model().values())


def find(model: str) -> ChatTemplate | None:
    """The template of a model; None if it is not known.

    Args:
        model: The model's name in any case, such as ``"Phi-4"`` or ``"microsoft/Phi-3.5-mini-instruct"``, or
            its ``azureml://`` address.
    """
    return _by_model().get(_bare(model))


def get(model: str) -> ChatTemplate:
    """The template of a model, as :func:`find` gives it.

    Raises:
        InvalidParameter: It is not known; the error lists those that are.
    """
    template = find(model)
    if template is None:
        raise InvalidParameter(
            f"The chat template of {model} is not known",
            name="model",
            value=model,
            allowed=", ".join(each.model for each in all_templates()),
            next_call="name the foundation model that yours was made from, or give a ChatTemplate",
        )
    return template


def _bare(model: str) -> str:
    name = model.strip().lower()
    if name.startswith("azureml://") and "/models/" in name:
        return name.partition("/models/")[2].partition("/")[0]
    return name.removeprefix("microsoft/")


@cache
def _by_model() -> dict[str, ChatTemplate]:
    return {row["model"].lower(): _template(row) for row in _rows.read("chat_templates.csv")}


def _template(row: dict[str, str]) -> ChatTemplate:
    (vocabulary,) = [each for each in get_args(Vocabulary) if each == row["vocabulary"]]
    return ChatTemplate(
        model=row["model"],
        family=row["family"],
        text=_text(row["template"]),
        supports_system=row["system"] == "yes",
        end_of_turn=row["end_of_turn"],
        end_of_text=row["end_of_text"],
        bos=row["bos"],
        context_length=int(row["context_length"]),
        vocabulary=vocabulary,
        source=_rows.source(row["source"]),
        assumed=row["assumed"],
    )


def _text(name: str) -> str:
    folder = resources.files("phi_finetune.catalog").joinpath("chat_templates")
    return folder.joinpath(f"{name}.jinja").read_text(encoding="utf-8")


@cache
def _compiled(text: str) -> Template:
    """Compile a template as transformers does: in a sandbox, blocks leaving no white space of their own."""
    try:
        from jinja2 import TemplateSyntaxError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise MissingDependency(
            "Writing out a conversation needs jinja2", next_call='pip install "phi-finetune[tokens]"'
        ) from None
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.globals["raise_exception"] = _raise_exception
    try:
        return environment.from_string(text)
    except TemplateSyntaxError as error:
        raise _unusable(error) from None


def _raise_exception(message: str) -> None:
    """Let a template refuse a conversation, as many do."""
    from jinja2 import TemplateError

    raise TemplateError(message)


def _unusable(error: Exception) -> InvalidParameter:
    # Only the kind of error: a template's message may quote the conversation.
    return InvalidParameter(
        "The chat template cannot write out this conversation",
        name="text",
        value=type(error).__name__,
        allowed="a template for jinja2 that takes messages of the roles system, user and assistant",
    )
