"""Which recorded answer a request gets."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from phi_finetune.emulator.core.http import Request
from phi_finetune.testing.recording.contents import is_sign_in, request_content
from phi_finetune.testing.recording.exchange import Content, Exchange, is_read
from phi_finetune.testing.recording.generated import Renamed
from phi_finetune.testing.recording.urls import canonical

__all__ = ["NotRecorded", "Player"]

_NEAREST = 3


class NotRecorded(AssertionError):
    """A request that the recording has no answer for; it was not sent. The message has the nearest that were."""


@dataclass(frozen=True)
class _Key:
    """What must be the same for an answer to be given."""

    method: str
    url: str
    range: str

    def __str__(self) -> str:
        return f"{self.method} {self.url}" + (f" ({self.range})" if self.range else "")


class Player:
    """Gives the answers of a recording, in their order for each method and URL.

    An answer to a request with the same body comes before others. What was recorded before the last change that was
    asked for is passed over where there is something later, as for a client that polls less often. The last answer
    to a read is given again, that to a change is not.

    Args:
        exchanges: The recording.
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.renamed = Renamed()
        self._exchanges = tuple(exchanges)
        self._keys = [_key_of(exchange) for exchange in self._exchanges]
        self._used = [False] * len(self._exchanges)
        self._last_change = -1
        self._lock = threading.Lock()

    @property
    def unused(self) -> tuple[Exchange, ...]:
        """What was recorded and has not been asked for."""
        pairs = zip(self._exchanges, self._used, strict=True)
        return tuple(exchange for exchange, used in pairs if not used)

    def next(self, request: Request) -> Exchange:
        """The exchange that answers a request.

        Raises:
            NotRecorded: There is none.
        """
        with self._lock:
            key = self._key(request)
            places = self._places(key)
            if not places:
                raise NotRecorded(self._nearest(key))
            place = self._choose(key, places, self._content(request))
            self._used[place] = True
            if not is_read(key.method, key.url):
                self._last_change = max(place, self._last_change)
            return self._exchanges[place]

    def _key(self, request: Request) -> _Key:
        url = self.renamed.to_recorded(canonical(request.url))
        return _Key(
            request.method, url, _range(request.headers.get("x-ms-range") or request.headers.get("range"))
        )

    def _content(self, request: Request) -> Content:
        body = self.renamed.to_recorded(request.body.decode("latin-1")).encode("latin-1")
        return request_content(request.url, body)

    def _places(self, key: _Key) -> list[int]:
        """Where the key was recorded, or else one that is the same but for names that are made up."""
        places = [place for place, known in enumerate(self._keys) if known == key]
        if places:
            return places
        for place, known in enumerate(self._keys):
            same = (known.method, known.range) == (key.method, key.range)
            if same and not self._used[place] and self.renamed.match(key.url, known.url):
                return [other for other, one in enumerate(self._keys) if one == known]
        return []

    def _choose(self, key: _Key, places: list[int], content: Content) -> int:
        unused = [place for place in places if not self._used[place]]
        if not unused:
            if is_read(key.method, key.url):
                return places[-1]
            raise NotRecorded(
                f"{key} was recorded {_times(len(places))}, and is asked for once more. A change is not repeated."
            )
        same = [place for place in unused if self._exchanges[place].asked.body == content]
        candidates = same or unused
        later = [place for place in candidates if place > self._last_change]
        return (later or candidates)[0]

    def _nearest(self, key: _Key) -> str:
        texts = {str(known): None for known in self._keys}
        near = difflib.get_close_matches(str(key), texts, n=_NEAREST, cutoff=0.0)
        lines = [f"{key} was not recorded. It was not sent. The nearest that were, - recorded, + asked for:"]
        for text in near:
            lines += ["", *(line.rstrip("\n") for line in difflib.ndiff([text], [str(key)]))]
        if is_sign_in(key.url):
            lines += ["", "A replay signs in by its own credential: replay.credential."]
        return "\n".join(lines)


def _key_of(exchange: Exchange) -> _Key:
    headers = {name.lower(): value for name, value in exchange.asked.headers.items()}
    return _Key(exchange.method, exchange.url, _range(headers.get("x-ms-range") or headers.get("range")))


def _range(header: str | None) -> str:
    return header or ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
