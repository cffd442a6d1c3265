"""Puts the placeholders into texts, whatever form a value has there."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from urllib.parse import quote, quote_plus, unquote
from xml.sax.saxutils import escape

from phi_finetune.testing.recording.finding import Finder, lower
from phi_finetune.testing.recording.placeholders import Placeholders
from phi_finetune.testing.recording.rules import (
    GUID,
    JWT,
    MAIL,
    NAMES,
    PARAMETER,
    USER_INFO,
    Kind,
    has_own_form,
    is_given_secret,
    kind_of,
)

__all__ = ["Replacing"]

_SECRET = 8
"""So many characters are none by chance, so a secret of this length is replaced wherever it stands."""

_NO_WORD = 16
_NAME = 4
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{10,}={0,2}")
_HEX = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)


class Replacing:
    """Replaces what was learnt: secrets, GUIDs and addresses everywhere, names where they stand alone.

    Args:
        placeholders: What was learnt.
        protected: Words, in lower case, that mean something else too: fields of the API, or names that the code
            asks for. As a name or a secret they are replaced only where it is certain that they stand for that.
    """

    def __init__(self, placeholders: Placeholders, protected: Iterable[str]) -> None:
        self._placeholders = placeholders
        words = frozenset(protected)
        long = {value: to for value, to in placeholders.secrets.items() if len(value) >= _SECRET}
        # A word may be part of other words, and so of what clients and services say to each other.
        plain = {value: to for value, to in long.items() if value.isalpha() and len(value) < _NO_WORD}
        names = {value: to for value, to in placeholders.names.items() if len(value) >= _NAME}
        secrets = {value: to for value, to in long.items() if value not in plain}
        alone = {value: to for value, to in {**plain, **names}.items() if value.lower() not in words}
        self._secrets, self._alone = _forms({**secrets, **placeholders.given}), _forms(alone)
        self._hexes = {
            known.replace("-", ""): to.replace("-", "")
            for known, to in placeholders.ids.items()
            if GUID.fullmatch(known)
        }
        self._secret_finder = Finder(self._secrets)
        # A hyphen belongs to a name, and what stands before a name in a URL may be an encoded character.
        self._alone_finder = Finder(self._alone, r"(?:(?<![\w-])|(?<=%[0-9a-f]{2}))", r"(?![\w-])")
        self._done: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text with placeholders."""
        if text not in self._done:
            self._done[text] = self._replaced(text)
        return self._done[text]

    def _replaced(self, text: str) -> str:
        text = USER_INFO.sub(self._user_info, text)
        text = self._secret_finder.replaced(text, self._secrets.__getitem__)
        for pattern in (JWT, GUID, MAIL):
            text = pattern.sub(self._id, text)
        text = _HEX.sub(lambda found: self._hexes.get(found[0].lower(), found[0]), text)
        text = self._alone_finder.replaced(text, self._alone.__getitem__)
        text = _BASE64.sub(self._encoded, text)
        text = PARAMETER.sub(self._parameter, text)
        for kind, name in NAMES:
            text = name.sub(partial(self._name, kind), text)
        return text

    def field(self, field: str, text: str, *, given: bool = False) -> str:
        """The text of a field with placeholders; ``given`` is whether the field is of an answer made of secrets."""
        kind = "secret" if given and is_given_secret(field, text) else kind_of(field, text)
        # What has a form of its own (a token, a SAS, a GUID, an address) keeps that form.
        if kind is None or has_own_form(text):
            return self.text(text)
        return self._placeholders.of(kind, text)

    def holds_secret(self, text: str) -> bool:
        """Whether a secret or an id is still in the text, as it is or encoded."""
        if self._holds(text):
            return True
        return any(self._holds(inner) for found in _BASE64.findall(text) for inner in _decoded(found))

    def _holds(self, text: str) -> bool:
        if self._secret_finder.is_in(text):
            return True
        ids = self._placeholders.ids
        looks = (found[0] for pattern in (JWT, GUID, MAIL) for found in pattern.finditer(text))
        return any(unquote(look) in ids or unquote(look).lower() in ids for look in looks)

    def _id(self, found: re.Match[str]) -> str:
        return self._placeholders.of_id(unquote(found[0]))

    def _encoded(self, found: re.Match[str]) -> str:
        hidden = any(self._holds(inner) or self._alone_finder.is_in(inner) for inner in _decoded(found[0]))
        return "scrubbed-base64" if hidden else found[0]

    def _user_info(self, found: re.Match[str]) -> str:
        return found[1] + self._placeholders.of("secret", unquote(found[2]))

    def _parameter(self, found: re.Match[str]) -> str:
        kind = kind_of(found[2], found[4])
        return (
            found[0]
            if kind is None
            else "".join(found.groups()[:3]) + self._placeholders.of(kind, unquote(found[4]))
        )

    def _name(self, kind: Kind, found: re.Match[str]) -> str:
        name = unquote(found[2])
        return found[0] if GUID.fullmatch(name) else found[1] + self._placeholders.of(kind, name)


def _forms(values: Mapping[str, str]) -> dict[str, str]:
    """Each value in the forms that it may have within a text, in lower case."""
    return {lower(form): to for value, to in values.items() for form in _written(value)}


def _written(value: str) -> Iterator[str]:
    yield value
    yield quote(value)
    yield quote(value, safe="")
    yield quote(quote(value, safe=""), safe="")
    yield quote_plus(value)
    yield json.dumps(value)[1:-1]
    yield escape(value)


def _decoded(text: str) -> Iterator[str]:
    """What a text may be in Base64. Where it begins is not known: a path before it is of the same letters."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):
        part = plain[start:]
        whole = part[: len(part) - 1] if len(part) % 4 == 1 else part
        try:
            yield base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")
        except binascii.Error:
            continue
