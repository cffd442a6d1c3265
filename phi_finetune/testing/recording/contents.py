"""What of a body is kept: what the service says is, what is the user's own is not, unless that is asked for.

By default a body is the user's own: what is sent to blobs and to endpoints, what they answer, logs, artifacts, and
all that cannot be read as JSON. What the management planes send and answer as JSON is the service's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from phi_finetune.emulator.core.hosts import INSTANCE_METADATA
from phi_finetune.testing.recording.exchange import Content

__all__ = ["answer_content", "as_bytes", "is_sign_in", "request_content", "without_content"]

_PLANES = re.compile(r"management\.\w[\w.]*|(.+\.)?(azureml\.(ms|net)|api\.ml\.azure\.(cn|us))")
_SIGN_IN = re.compile(r"login\.\w[\w.-]*|sts\.windows\.net|.*\.login\.microsoft\.com")
_OWN_PATHS = re.compile(r"/getLogs$|/artifacts?/.*content|/mlflow-artifacts/", re.IGNORECASE)
_TOLD_OF_FORMS = ("grant_type", "resource", "scope")
_TOLD_OF_OWN = ("code", "finish_reason", "object", "role", "type")
_STORE = re.compile(r"\.(blob|dfs|file)\.core\.")
_WORD = re.compile(r"[\w.-]{1,40}")
_FILLER = b"This content was not recorded.\n"


def is_sign_in(url: str) -> bool:
    """Whether a request is about signing in: to Entra, or to the machine's identity endpoint."""
    host = urlsplit(url).hostname or ""
    return host == INSTANCE_METADATA or _SIGN_IN.fullmatch(host) is not None


def request_content(url: str, body: bytes) -> Content:
    """What is kept of a request's body; of a sign-in, what it is for."""
    if not body:
        return {}
    if is_sign_in(url):
        form = parse_qs(body.decode(errors="replace"))
        return {"json": {name: form[name][-1] for name in _TOLD_OF_FORMS if name in form}}
    if _is_services(url):
        return _json(body) or _digest(body)
    return _digest(body)


def answer_content(url: str, status: int, body: bytes, *, keep_data: bool) -> Content:
    """What is kept of an answer's body."""
    if not body:
        return {}
    of_store = _STORE.search(urlsplit(url).hostname or "") is not None
    # Of a blob every byte counts, so what is JSON there is kept as it was written.
    value = {} if of_store else _json(body)
    if value and (is_sign_in(url) or _is_services(url)):
        return value
    if of_store and _is_about_blobs(url, status) and body.lstrip(b"\xef\xbb\xbf").startswith(b"<?xml"):
        return {"text": body.decode("utf-8-sig", errors="replace")}
    if keep_data:
        return value or _text(body) or {"base64": base64.b64encode(body).decode()}
    return {"shape": _shape(value["json"])} if value else _digest(body)


def as_bytes(content: Content) -> bytes:
    """A body that stands for the content: the same where it was kept, else one of the same length or shape."""
    if "json" in content or "shape" in content:
        return json.dumps(content.get("json", content.get("shape"))).encode()
    if "text" in content:
        return str(content["text"]).encode()
    if "base64" in content:
        return base64.b64decode(content["base64"])
    size = int(content.get("data", {}).get("bytes", 0))
    return (_FILLER * (size // len(_FILLER) + 1))[:size]


def without_content(content: Content) -> Content:
    """The size and the digest of what a content stands for."""
    return _digest(as_bytes(content))


def _is_services(url: str) -> bool:
    parts = urlsplit(url)
    return _PLANES.fullmatch(parts.hostname or "") is not None and not _OWN_PATHS.search(parts.path)


def _is_about_blobs(url: str, status: int) -> bool:
    """Whether an answer of a blob store is about blobs, and none itself."""
    return status >= 400 or any(name == "comp" for name, _ in parse_qsl(urlsplit(url).query))


def _json(body: bytes) -> Content:
    try:
        return {"json": json.loads(body)}
    except ValueError:
        return {}


def _text(body: bytes) -> Content:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {}


def _digest(body: bytes) -> Content:
    return {"data": {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}}


def _shape(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _shape(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner, key) for inner in value]
    if isinstance(value, str):
        told = key in _TOLD_OF_OWN and _WORD.fullmatch(value)
        return value if told else f"[text of {len(value)} characters]"
    return value if value is None or isinstance(value, bool) else 0
