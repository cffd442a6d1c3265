"""What may be seen nowhere: tokens, keys, signatures, rows and prompts; and one scanner for all of them."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import attrs

import phi_finetune
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.testing import FakeAzure

__all__ = ["Canaries", "Records", "all_records", "everything", "forms", "told_by"]

TEXTS = ("Tell me of river number 0", "is known to all who live there")
"""Of the rows, and of the prompts and replies that they are (pipelines.conversations)."""

SHORTEST_HALF = 12
DEEPEST = 3
LIBRARY = Path(phi_finetune.__file__).parent
BESIDES = (LIBRARY / "emulator", LIBRARY / "testing")
"""These know the fake's secrets, and stand on no traceback of production."""


class Canaries:
    """The secrets of a fake Azure: what it has, and what goes over its wire from now on."""

    def __init__(self, azure: FakeAzure) -> None:
        self._azure = azure
        self._sent: set[str] = set()

    def listening(self, handle: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """What takes requests in place of ``handle``, and keeps what they sign in with."""

        def heard(request: Request) -> Response:
            if request.bearer:
                # The other parts of a token say whose it is, and stand in answers too.
                self._sent.add(request.bearer.rpartition(".")[2])
            self._sent.update(parse_qs(urlsplit(request.url).query).get("sig", []))
            return handle(request)

        return heard

    def secrets(self) -> set[str]:
        """All of them, as they are."""
        keys = {key for endpoint in self._azure.endpoints.values() for key in endpoint.keys.values()}
        return {secret for secret in {*keys, *self._sent, self._azure.client_secret} if secret}

    def seen_in(self, texts: Iterable[str], *, and_texts: bool = True) -> list[str]:
        """Where a secret, half of one, or another form of one stands: what surrounds it, for people.

        Args:
            texts: Where to look.
            and_texts: Whether rows and prompts are secrets too.
        """
        needles = {form for secret in self.secrets() for form in forms(secret)}
        needles |= {form for text in TEXTS for form in forms(text)} if and_texts else set()
        return [
            f"...{text[max(0, at - 60) : at + 80]}..."
            for text in texts
            for needle in needles
            if (at := text.find(needle)) >= 0
        ]


def forms(secret: str) -> Iterator[str]:
    """A secret as it is, in a URL, in base64 at each of its three alignments, and by halves."""
    yield secret
    yield quote(secret, safe="")
    for before in range(3):
        # The letters at the edges depend on what stands beside the secret.
        yield base64.b64encode(b"x" * before + secret.encode()).decode().rstrip("=")[4:-4]
    middle = len(secret) // 2
    if middle >= SHORTEST_HALF:
        yield secret[:middle]
        yield secret[middle:]


class Records(logging.Handler):
    """Everything that is logged, by whomever and however fine."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record as it would be written."""
        self.texts.append(self.format(record))


@contextmanager
def all_records() -> Iterator[Records]:
    """Everything that is logged meanwhile, at the finest level of every logger."""
    loggers = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    levels = {logger: logger.level for logger in loggers}
    kept = Records()
    logging.root.addHandler(kept)
    for logger in loggers:
        logger.setLevel(1)
    try:
        yield kept
    finally:
        logging.root.removeHandler(kept)
        for logger, level in levels.items():
            logger.setLevel(level)


def told_by(error: BaseException) -> list[str]:
    """All that an error tells: its text, its attributes, its pickle, and its traceback with variables.

    Of the traceback the library's own part counts; a test's variables are the test's.
    """
    own = [
        frame
        for frame in traceback.walk_tb(error.__traceback__)
        if _is_the_librarys(Path(frame[0].f_code.co_filename))
    ]
    shown = traceback.StackSummary.extract(iter(own), capture_locals=True).format()
    return [
        str(error),
        repr(error),
        *map(str, everything(error)),
        pickle.dumps(error).decode("latin-1"),
        *traceback.format_exception(error),
        *shown,
    ]


def everything(thing: object, depth: int = 0) -> Iterator[str]:
    """All texts that are found from an object by its attributes and items, three steps deep at most."""
    if isinstance(thing, str | bytes):
        yield thing if isinstance(thing, str) else thing.decode("latin-1")
    elif depth < DEEPEST:
        for part in _parts(thing):
            yield from everything(part, depth + 1)


def _parts(thing: object) -> Iterable[object]:
    if isinstance(thing, dict):
        return [*thing, *thing.values()]
    if isinstance(thing, list | tuple | set | frozenset):
        return thing
    if attrs.has(type(thing)):
        return [getattr(thing, field.name) for field in attrs.fields(type(thing))]
    return getattr(thing, "__dict__", {}).values()


def _is_the_librarys(path: Path) -> bool:
    return path.is_relative_to(LIBRARY) and not any(path.is_relative_to(folder) for folder in BESIDES)
