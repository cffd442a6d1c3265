"""Takes out of a whole recording what nobody else may read, at its end, when all of it is known.

Nothing is written before that: a name may have stood in the first request, and be known as one by the last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from phi_finetune.testing.recording.contents import is_sign_in, without_content
from phi_finetune.testing.recording.exchange import Answered, Content, Exchange
from phi_finetune.testing.recording.placeholders import Placeholders, guid
from phi_finetune.testing.recording.replacing import Replacing
from phi_finetune.testing.recording.rules import (
    GUID,
    JWT,
    MAIL,
    NAMES,
    Kind,
    field_of,
    fields,
    gives_secrets,
    has_own_form,
    is_given_secret,
    kind_of,
    secrets_in,
)

__all__ = ["Home", "Scrubber"]

_WORKSPACE = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.MachineLearningServices/workspaces/([^/?]+)",
    re.IGNORECASE,
)
_NAMED = {"resourcegroups", "workspaces", "storageaccounts"}
_AZURES = frozenset(
    (
        *("azureml", "azureml-meta", "azureml-phi", "microsoft", "registries"),
        *("workspaceartifactstore", "workspaceblobstore"),
    )
)
"""Names of Azure's own, which somebody may have given to a workspace or a group too."""

_EXPIRIES = ("expires_on", "expireson")
_FAR_FUTURE = 4_102_444_800
"""1 January 2100: a recorded token does not expire."""


@dataclass(frozen=True)
class Home:
    """The workspace that a recording is of, in placeholders."""

    subscription_id: str
    resource_group: str
    workspace_name: str
    tenant_id: str


class Scrubber:
    """Knows the secrets and the names of a recording, and puts placeholders for them.

    Args:
        exchanges: All of the recording.
        secrets: What was heard of secrets besides, such as the tokens in headers that are not kept.
        given: Texts and patterns that the user wants to be scrubbed.
        keep_names: Whether the names of the resource group and the workspace stay.
    """

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        *,
        secrets: Iterable[str] = (),
        given: Iterable[str | re.Pattern[str]] = (),
        keep_names: bool = False,
    ) -> None:
        kept: frozenset[Kind] = frozenset(("resource-group", "workspace") if keep_names else ())
        self._known = Placeholders(kept)
        self._given = tuple(given)
        self._words: set[str] = set(_AZURES)
        self._learnt: set[str] = set()
        self._clean: set[str] = set()
        self.home = self._find_home(exchanges)
        for text in (text for text in self._given if isinstance(text, str) and text):
            self._known.give(text)
        for secret in secrets:
            self._learn_secret(secret)
        for exchange in exchanges:
            self._learn(exchange)
        # Last, so that the numbers of the others are the same on every machine.
        for secret in _of_environment():
            self._learn_secret(secret)
        self._replacing = Replacing(self._known, self._words)

    def scrubbed(self, exchange: Exchange) -> Exchange:
        """The exchange with placeholders."""
        asked, answered = exchange.asked, exchange.answered
        given = _is_given(exchange)
        asked = replace(
            asked,
            url=self._replacing.text(asked.url),
            headers=self._headers(asked.headers),
            body=self._content(asked.body),
        )
        if answered is not None:
            answered = replace(
                answered,
                headers=self._headers(answered.headers),
                body=self._content(answered.body, given=given),
            )
        return replace(exchange, asked=asked, answered=answered)

    def is_clean(self, exchange: Exchange) -> bool:
        """Whether an exchange that was scrubbed has none of the secrets, as they are or encoded."""
        texts = set(_texts(exchange)) - self._clean
        if any(self._replacing.holds_secret(text) for text in texts):
            return False
        self._clean |= texts
        return True

    def _find_home(self, exchanges: Sequence[Exchange]) -> Home:
        found = next(filter(None, (_WORKSPACE.search(exchange.url) for exchange in exchanges)), None)
        subscription, group, workspace = (
            found.groups() if found else (guid(0), "resource-group-0", "workspace-0")
        )
        own = [exchange for exchange in exchanges if _WORKSPACE.search(exchange.url)]
        signed_in = (_tenant_of_sign_in(exchange) for exchange in exchanges)
        told = (_tenant_told(exchange) for exchange in (*own, *exchanges))
        tenant = next(filter(None, (*signed_in, *told)), guid(0))
        return Home(
            self._known.of_id(subscription),
            self._known.of("resource-group", unquote(group)),
            self._known.of("workspace", unquote(workspace)),
            self._known.of_id(tenant),
        )

    # What is learnt

    def _learn(self, exchange: Exchange) -> None:
        self._protect(exchange.url)
        asked, answered = exchange.asked, exchange.answered
        bodies = [asked.body, answered.body] if answered else [asked.body]
        headers = [asked.headers, answered.headers] if answered else [asked.headers]
        self._learn_text(asked.url)
        for name, value in (pair for each in headers for pair in each.items()):
            self._learn_field(name, value)
        for body in bodies:
            given = body is not asked.body and _is_given(exchange)
            for field, text in fields(_kept(body)):
                self._learn_field(field, text, given=given)
            self._words.update(_field_names(_kept(body)))

    def _protect(self, url: str) -> None:
        """Remember the words of a URL that are no names of the account's."""
        parts = urlsplit(url)
        host = (parts.hostname or "").split(".")
        self._words |= set(host[1:] if ".core." in (parts.hostname or "") else host)
        segments = unquote(parts.path).lower().split("/")
        for before, segment in zip(["", *segments], segments, strict=False):
            if before not in _NAMED:
                self._words |= {segment, *segment.split(".")}

    def _learn_field(self, field: str, text: str, *, given: bool = False) -> None:
        self._learn_text(text)
        kind = "secret" if given and is_given_secret(field, text) else kind_of(field, text)
        # A signature within a text is learnt by itself, and what is around it stays.
        if kind is not None and not has_own_form(text):
            self._known.of(kind, text)

    def _learn_text(self, text: str) -> None:
        if text in self._learnt:
            return
        self._learnt.add(text)
        for secret in secrets_in(text):
            self._learn_secret(secret)
        for pattern in (pattern for pattern in self._given if isinstance(pattern, re.Pattern)):
            for found in filter(None, (match[0] for match in pattern.finditer(text))):
                self._known.give(found)
        for found in (*GUID.findall(text), *MAIL.findall(text)):
            self._known.of_id(unquote(found))
        for kind, pattern in NAMES:
            for _, name in pattern.findall(text):
                if not GUID.fullmatch(name):
                    self._known.of(kind, unquote(name))

    def _learn_secret(self, secret: str) -> None:
        if JWT.fullmatch(secret):
            self._known.of_id(secret)
        elif secret and not has_own_form(secret):
            self._known.of("secret", secret)

    # What is replaced

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: self._replacing.field(name, value) for name, value in headers.items()}

    def _content(self, content: Content, *, given: bool = False) -> Content:
        if "json" in content or "shape" in content or "text" in content:
            return {form: self._value(value, given=given) for form, value in content.items()}
        if "base64" in content and self._replacing.holds_secret(content["base64"]):
            return without_content(content)
        return content

    def _value(self, value: Any, field: str = "", *, given: bool) -> Any:
        if given and field.lower() in _EXPIRIES:
            return type(value)(_FAR_FUTURE)
        if isinstance(value, str):
            return self._replacing.field(field, value, given=given)
        if isinstance(value, list):
            return [self._value(inner, field, given=given) for inner in value]
        if isinstance(value, int | float) and kind_of(field, str(value)) == "secret":
            return 0
        if isinstance(value, dict):
            return {
                self._replacing.text(name): self._value(inner, field_of(value, name, field), given=given)
                for name, inner in value.items()
            }
        return value


def _texts(exchange: Exchange) -> Iterator[str]:
    """Every text of an exchange: the URL, what headers and fields say, and their names."""
    yield exchange.url
    answered = exchange.answered or Answered(0)
    for headers, body in (
        (exchange.asked.headers, exchange.asked.body),
        (answered.headers, answered.body),
    ):
        yield from (text for pair in headers.items() for text in pair)
        yield from _field_names(_kept(body))
        yield from (text for _, text in fields(_kept(body) or body.get("base64")))


def _kept(content: Content) -> Any:
    """What the content has of texts."""
    return next((content[form] for form in ("json", "shape", "text") if form in content), None)


def _is_given(exchange: Exchange) -> bool:
    """Whether the answer is made of secrets: not an error."""
    return (exchange.status or 0) < 400 and gives_secrets(exchange.method, exchange.url)


def _tenant_of_sign_in(exchange: Exchange) -> str | None:
    first = urlsplit(exchange.url).path.strip("/").partition("/")[0]
    return first if is_sign_in(exchange.url) and GUID.fullmatch(first) else None


def _tenant_told(exchange: Exchange) -> str | None:
    body = exchange.answered.body if exchange.answered else {}
    tenants = (text for name, text in fields(_kept(body)) if name == "tenantId" and GUID.fullmatch(text))
    return next(tenants, None)


def _field_names(value: Any) -> Iterator[str]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield from (name.lower() for name in value)
    for inner in inside:
        yield from _field_names(inner)


def _of_environment() -> Iterator[str]:
    """The secrets in this process's environment variables."""
    for name, value in os.environ.items():
        if name not in ("PWD", "OLDPWD") and kind_of(name, value) == "secret":
            yield value
