"""The file of a recording: JSON that people read, compare and keep in version control."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phi_finetune.testing.recording.exchange import Answered, Asked, Content, Exchange
from phi_finetune.testing.recording.scrubber import Home

__all__ = ["FORMAT", "Written", "load", "save", "to_text"]

FORMAT = 1
"""The number of the format; another number is another format."""


@dataclass(frozen=True)
class Written:
    """What stands in a file.

    Attributes:
        home: The workspace, in placeholders.
        recorded: When the recording began.
        keeps_data: Whether answers of endpoints, logs and downloads are in it.
        exchanges: The requests and their answers, in the order of the answers.
        complete: Whether the recording went on to its end.
    """

    home: Home
    recorded: datetime
    keeps_data: bool
    exchanges: tuple[Exchange, ...]
    complete: bool


def to_text(written: Written) -> str:
    """The file's text: fields always in the same order, those of bodies and headers by name."""
    document = {
        "format": FORMAT,
        "complete": written.complete,
        "recorder": f"phi-finetune {version('phi-finetune')}",
        "azure_ai_ml": version("azure-ai-ml"),
        "recorded": f"{written.recorded:%Y-%m-%dT%H:%M:%SZ}",
        "keeps_data": written.keeps_data,
        **asdict(written.home),
        "exchanges": [_exchange(exchange) for exchange in written.exchanges],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def save(path: Path, text: str) -> None:
    """Write a file at once: whoever looks sees the old one or the whole new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: Path) -> Written:
    """Read a file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no recording, of a format that is not known, or incomplete.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        number = document["format"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} is not a recording.") from None
    if number != FORMAT:
        raise ValueError(
            f"{path} has format {number}, and this version reads format {FORMAT}; record it anew."
        )
    try:
        written = _written(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a recording: {error!r}.") from error
    if not written.complete:
        raise ValueError(f"{path} is of a recording that broke off; record it anew.")
    return written


def _written(document: dict[str, Any]) -> Written:
    home = Home(**{name: document[name] for name in Home.__dataclass_fields__})
    recorded = datetime.strptime(document["recorded"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    exchanges = tuple(_read(each) for each in document["exchanges"])
    return Written(home, recorded, document["keeps_data"], exchanges, document["complete"])


def _exchange(exchange: Exchange) -> dict[str, Any]:
    asked, answered = exchange.asked, exchange.answered
    request = {"method": asked.method, "url": asked.url, **_parts(asked.headers, asked.body)}
    if answered is None:
        return {"request": request, "lost": exchange.lost}
    answer: dict[str, Any] = {"status": answered.status, **_parts(answered.headers, answered.body)}
    if answered.cut_off:
        answer["cut_off"] = True
    return {"request": request, "answer": answer}


def _parts(headers: Mapping[str, str], body: Content) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if headers:
        parts["headers"] = dict(sorted(headers.items()))
    if body:
        # A text stands line by line, so that a change in it is seen as one.
        lines = {"text": body["text"].splitlines(keepends=True)} if "text" in body else body
        parts["body"] = json.loads(json.dumps(lines, sort_keys=True))
    return parts


def _read(document: dict[str, Any]) -> Exchange:
    request, answer = document["request"], document.get("answer")
    asked = Asked(request["method"], request["url"], request.get("headers", {}), _body(request))
    if answer is None:
        return Exchange(asked, lost=document["lost"])
    cut_off = answer.get("cut_off", False)
    return Exchange(asked, Answered(answer["status"], answer.get("headers", {}), _body(answer), cut_off))


def _body(document: dict[str, Any]) -> Content:
    body: Content = document.get("body", {})
    return {"text": "".join(body["text"])} if "text" in body else body
