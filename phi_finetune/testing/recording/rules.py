"""What is secret and what is a name, by the place where it stands and by what it looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from phi_finetune.testing.recording.contents import is_sign_in

__all__ = [
    "GUID",
    "JWT",
    "MAIL",
    "NAMES",
    "PARAMETER",
    "USER_INFO",
    "Kind",
    "field_of",
    "fields",
    "gives_secrets",
    "has_own_form",
    "is_given_secret",
    "kind_of",
    "secrets_in",
    "secrets_of_headers",
    "secrets_of_sign_in",
    "secrets_of_url",
]

Kind = Literal["secret", "resource-group", "workspace", "account", "resource", "user"]
"""What a value is."""

GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
JWT = re.compile(r"eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*")
MAIL = re.compile(
    r"(?:(?<![\w.+#-])|(?<=%[0-9a-f]{2}))(?!scrubbed\d)[\w.+#-]+(?:@|%40)(?:[a-z0-9-]+\.)+[a-z]{2,}\b"
    r"|\b[\w-]+\.onmicrosoft\.com\b",
    re.IGNORECASE,
)

_SLASH = r"(?:/|%2F)"
_SEGMENT = r"((?:[^/%?&#\"'\s<>,;|\\{}$*]|%(?!2F|3F|2[26])[0-9A-F]{2})+)"
_FOREIGN = rf"{_SLASH}providers{_SLASH}Microsoft\.(?!MachineLearningServices|Authorization)[\w.]+{_SLASH}"

_PLACES: tuple[tuple[Kind, str], ...] = (
    ("resource-group", rf"({_SLASH}resourceGroups{_SLASH}){_SEGMENT}"),
    # Not the types of resources: Microsoft.MachineLearningServices/workspaces/jobs.
    ("workspace", rf"({_SLASH}providers{_SLASH}Microsoft\.[\w.]+{_SLASH}workspaces{_SLASH}){_SEGMENT}"),
    ("workspace", rf"({_SLASH}resourceGroups{_SLASH}[^/%]+{_SLASH}workspaces{_SLASH}){_SEGMENT}"),
    ("account", rf"({_FOREIGN}storageAccounts{_SLASH}){_SEGMENT}"),
    ("account", r"((?://|%2F%2F))([a-z0-9]+)(?=\.(?:blob|dfs|file|queue|table)\.core\.)"),
    ("resource", rf"({_FOREIGN}(?!storageAccounts)\w+{_SLASH}){_SEGMENT}"),
    ("resource", r"((?://|%2F%2F))([a-z0-9-]+)(?=\.(?:vault\.azure\.net|azurecr\.io))"),
    ("user", r"([/\\](?:home|Users)[/\\])([\w.-]+)"),
)
NAMES: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _PLACES
)
"""Where names stand in a text: what comes before a name, and the name."""

PARAMETER = re.compile(r"((?:^|[?&;,\s\"'])(?:\$|%24)?)([\w.-]+)(=)([^&\s\"'<>#;]+)", re.IGNORECASE)
"""A parameter of a URL, a connection string or a command: what comes before, its name, the sign, its value."""

USER_INFO = re.compile(r"(://(?:[^/\s@?\"':]*:)?)([^/\s@?\"':]+)(?=@)")
"""A password, or a token, before the host of a URL: what comes before, and the secret."""

_SAS = re.compile(r"(?:^|[?&])sig=")

_SECRET_FIELD = re.compile(
    r".*(secret|password|passwd|pwd|passphrase|connectionstring|sharedaccesssignature|credential|assertion|token"
    r"|authorization|cookie|(access|account|admin|api|auth|encryption|function|host|instrumentation|master|primary"
    r"|private|secondary|session|shared|ssh|storage|subscription)key)\d*|key\d+|sas|sasuri|sig"
)
_NAME_FIELDS: Mapping[str, Kind] = {
    "accountname": "account",
    "adminusername": "user",
    "azuremlgitrepositoryuri": "resource",
    "createdby": "user",
    "lastmodifiedby": "user",
    "mlflowsourcegitrepourl": "resource",
    "mlflowuser": "user",
    "preferredusername": "user",
    "resourcegroup": "resource-group",
    "resourcegroupname": "resource-group",
    "storageaccountname": "account",
    "upn": "user",
    "useraltsecid": "user",
    "userid": "user",
    "username": "user",
    "userpuid": "user",
    "workspacename": "workspace",
}
_SAYS_NOTHING = re.compile(r"\s*|true|false|none|null|\$\{\{[^}]*\}\}", re.IGNORECASE)

_GIVERS = re.compile(
    r"(?:list|get|regenerate|reset|rotate)\w*(?:key|secret|token|credential|password|connectionstring)s?"
    r"|token|devicecode|connectionstrings",
    re.IGNORECASE,
)
_NOT_GIVEN = re.compile(r".*type|scope|resource|verificationuri|message|.*(?:expires|expiry)\w*")
_NO_SECRET = re.compile(r"[\d.]*|\d{4}-\d\d-\d\dT[\d:.]+Z?")

_SECRETS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?i:\b(?:bearer|basic|sharedkey)\s+)(?=\S*\d)([\w.~+/=:-]{16,})",
        r"(?i:sig%3D)((?:[^%&\s\"'<>]|%(?!26)[0-9A-Fa-f]{2})+)",
        r"\b(hf_[A-Za-z0-9]{20,}|gh[pousr]_\w{30,}|github_pat_\w{30,}|sk-[\w-]{20,})",
        r"([\w~.-]{3}\dQ~[\w~.-]{30,})",  # a client secret of Entra
        r"([A-Za-z0-9+/]{86}==)",  # a key of 64 bytes: storage accounts
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----)",
    )
)


def kind_of(field: str, value: str) -> Kind | None:
    """What a value is by the name of the field that it stands in; None where that says nothing."""
    if _SAYS_NOTHING.fullmatch(value):
        return None
    plain = re.sub(r"[^a-z0-9]", "", field.lower())
    return "secret" if _SECRET_FIELD.fullmatch(plain) else _NAME_FIELDS.get(plain)


def has_own_form(value: str) -> bool:
    """Whether a value is known by its form, so that what stands for it has that form too."""
    return any(pattern.fullmatch(value) for pattern in (GUID, JWT, MAIL)) or _SAS.search(value) is not None


def fields(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Each text in a JSON value, after the name of its field."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner, field)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from fields(inner, field_of(value, name, field))


def field_of(value: Mapping[str, Any], name: str, outer: str) -> str:
    """The name of a field's content: ``value`` in ``{"name": "token", "value": "x"}`` is called ``token``."""
    if name != "value":
        return name
    return next((str(value[key]) for key in ("key", "name") if isinstance(value.get(key), str)), outer)


def secrets_in(text: str) -> Iterator[str]:
    """What looks like a secret in a text, wherever it stands."""
    yield from JWT.findall(text)
    for pattern in _SECRETS:
        yield from (unquote(found) for found in pattern.findall(text))
    yield from (unquote(secret) for _, secret in USER_INFO.findall(text))
    for found in PARAMETER.finditer(text):
        if kind_of(found[2], found[4]) == "secret":
            yield unquote(found[4])


def secrets_of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """What is secret in headers: credentials and cookies, of which a recording keeps none."""
    for name, value in headers.items():
        if "cookie" in name.lower():
            yield from (part.partition("=")[2].strip() for part in value.split(";")[:1])
        elif kind_of(name, value) == "secret" or "key" in name.lower():
            # "Bearer <token>", and "SharedKey <account>:<signature>"
            yield value.rpartition(" ")[2].rpartition(":")[2]


def secrets_of_sign_in(url: str, body: bytes) -> Iterator[str]:
    """What is secret in a sign-in: everything in its form that does not say what it is for."""
    if not is_sign_in(url):
        return
    for name, values in parse_qs(body.decode(errors="replace")).items():
        if kind_of(name, values[-1]) or name in ("code", "username", "device_code", "code_verifier"):
            yield values[-1]


def gives_secrets(method: str, url: str) -> bool:
    """Whether the answer to a request is made of secrets."""
    path = urlsplit(url).path.rstrip("/")
    asks = method == "POST" or "/metadata/identity/" in path
    return asks and _GIVERS.fullmatch(path.rpartition("/")[2]) is not None


def is_given_secret(field: str, value: str) -> bool:
    """Whether a text in an answer that is made of secrets is one: every text is that is not known to be none."""
    plain = re.sub(r"[^a-z0-9]", "", field.lower())
    if _SAYS_NOTHING.fullmatch(value) or _NO_SECRET.fullmatch(value) or GUID.fullmatch(value):
        return False
    return _NOT_GIVEN.fullmatch(plain) is None


def secrets_of_url(url: str) -> Iterator[str]:
    """The secrets among a URL's parameters."""
    for name, value in parse_qsl(urlsplit(url).query):
        if kind_of(name, value) == "secret":
            yield value
