"""A model's tokenizer and chat template without transformers, whose import would take a caller ten seconds.

It answers to as much of transformers' interface as :mod:`~phi_finetune.local.templates` and
:mod:`~phi_finetune.local.preprocess` ask for, so both read a model's template and its rows in one way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from phi_finetune.errors import ConfigurationError, InvalidParameter
from phi_finetune.local._files import read_json

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.nodes import Node
    from jinja2.parser import Parser

__all__ = ["LightTokenizer"]

_OTHER_FORMS: Final = ("tokenizer.model", "vocab.json", "vocab.txt")
"""Files that transformers makes a tokenizer of where there is no ``tokenizer.json``."""
_NAMED: Final = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class LightTokenizer:
    """The tokenizer of a model's folder.

    Attributes:
        chat_template: Its chat template; None where it has none.
        added_tokens_encoder: The tokens that were added to its vocabulary, with their numbers.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        settings = _settings(folder / "tokenizer_config.json")
        self._tokenizer = Tokenizer.from_str(_text(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._named = {key: _content(settings[key]) for key in _NAMED if settings.get(key)}
        self._compiled: Template | None = None
        added = self._tokenizer.get_added_tokens_decoder()
        self.added_tokens_encoder = {token.content: number for number, token in added.items()}
        self.chat_template = _template(folder, settings)

    @classmethod
    def find(cls, folder: Path) -> LightTokenizer | None:
        """The tokenizer of a folder; None where only transformers can make one of its files.

        Raises:
            ConfigurationError: There is no tokenizer, or its files are broken.
        """
        if (folder / "tokenizer.json").is_file():
            return cls(folder)
        if any((folder / name).is_file() for name in _OTHER_FORMS):
            return None
        raise _broken(folder, "it has no tokenizer.json")

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """A token's number."""
        number: int | None = self._tokenizer.token_to_id(token)
        return number

    def apply_chat_template(
        self, turns: Sequence[Mapping[str, str]], *, tokenize: bool = False, add_generation_prompt: bool
    ) -> str:
        """Write out a conversation; ``tokenize`` is there for the caller's sake, and nothing is tokenised."""
        if self._compiled is None:
            self._compiled = _compile(self.chat_template or "")
        return self._compiled.render(
            messages=turns,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self._named,
        )

    def __call__(self, texts: Sequence[str], **settings: bool) -> dict[str, list[Any]]:
        """The tokens of texts, with their places, and without those that begin and end a text."""
        # One by one: a batch would start threads, and a process that forks later is warned of them.
        found = [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        return {
            "input_ids": [each.ids for each in found],
            "offset_mapping": [each.offsets for each in found],
        }


def _text(path: Path) -> str:
    """What a ``tokenizer.json`` says; the package raises no error that could be told from a fault of ours."""
    try:
        told = read_json(path)
    except (OSError, ValueError) as error:
        raise _broken(path.parent, f"its {path.name} cannot be read: {type(error).__name__}") from None
    if not isinstance(told.get("model"), dict):
        raise _broken(path.parent, f"its {path.name} describes no tokenizer")
    return json.dumps(told)


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise _broken(path.parent, f"its {path.name} cannot be read: {type(error).__name__}") from None


def _content(token: object) -> str:
    return str(token["content"]) if isinstance(token, dict) and "content" in token else str(token)


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    told = settings.get("chat_template")
    if isinstance(told, list):
        named = {str(one.get("name")): one.get("template") for one in told if isinstance(one, dict)}
        told = named.get("default")
    return told if isinstance(told, str) else None


def _compile(text: str) -> Template:
    """Compile a template with what transformers gives it: a sandbox, and the words that published templates use."""
    from jinja2 import TemplateError, TemplateSyntaxError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Marks what the assistant says; nothing here asks for the marks."""

        tags = {"generation"}  # noqa: RUF012 - jinja2's own way

        def parse(self, parser: Parser) -> Node | list[Node]:
            """What stands within."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).astimezone().strftime(form)
    try:
        return environment.from_string(text)
    except TemplateSyntaxError as error:
        raise InvalidParameter(
            "The model's chat template cannot be trained with",
            name="model",
            why=f"it is not one for jinja2: line {error.lineno} of it",
            allowed="a model with a chat template",
            next_call="use the template that the model was published with",
        ) from None


def _as_json(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _broken(folder: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The model in {folder} cannot be used", why=why, next_call="fetch or save the model again"
    )
