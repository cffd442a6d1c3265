"""What a pickle would import when it is loaded: read off its operations, none of which is carried out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import attrs

__all__ = ["MOST_BYTES", "PickleContent", "can_begin", "read_pickles"]

MOST_BYTES = 16 * 1024 * 1024
"""So much of a pickle is read; the tensors of an old PyTorch file come after that which says what they are."""
_MOST_OPERATIONS = 500_000
_MOST_PICKLES = 16
"""A file may hold several, one after another: an old PyTorch file has five."""
_MADE_UP = "(a name that it makes up as it runs)"
_TEXTS = (
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "UNICODE",
    "SHORT_BINSTRING",
    "BINSTRING",
    "STRING",
)
_REMEMBERS = ("PUT", "BINPUT", "LONG_BINPUT")
_RECALLS = ("GET", "BINGET", "LONG_BINGET")


@attrs.frozen
class PickleContent:
    """What was read.

    Attributes:
        imports: The names that loading it would import, such as ``"os.system"``, in order of the alphabet.
        whole: Whether it was read to its end.
    """

    imports: tuple[str, ...]
    whole: bool


def can_begin(data: bytes) -> bool:
    """Whether some data begins with an operation of pickle's; if not, loading it ends there and then."""
    import pickletools

    return data[:1].decode("latin-1") in {operation.code for operation in pickletools.opcodes}


def read_pickles(data: bytes) -> PickleContent:
    """Read the pickles that begin some data, one after another."""
    names: set[str] = set()
    stream = io.BytesIO(data[:MOST_BYTES])
    left = _MOST_OPERATIONS
    for number in range(_MOST_PICKLES):
        if number and data[stream.tell() : stream.tell() + 1] != b"\x80":
            break
        reader = _Reader(names)
        try:
            for operation in islice(_operations(stream), left):
                reader.take(*operation)
                left -= 1
        except (ValueError, OverflowError, IndexError):
            return PickleContent(tuple(sorted(names)), whole=False)
        if not left:
            return PickleContent(tuple(sorted(names)), whole=False)
    return PickleContent(tuple(sorted(names)), whole=True)


def _operations(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    import pickletools

    for operation, argument, _ in pickletools.genops(stream):
        yield operation.name, argument


class _Reader:
    """Follows what is pushed last, as far as a name is made of it.

    Args:
        names: Where the imported names go.
    """

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self._memo: dict[int, object] = {}
        self._last: tuple[object, object] = (None, None)

    def take(self, name: str, argument: Any) -> None:
        """See one operation."""
        if name in ("GLOBAL", "INST"):
            self._names.add(str(argument).replace(" ", ".", 1))
            self._push(None)
        elif name == "STACK_GLOBAL":
            module, attribute = self._last
            known = isinstance(module, str) and isinstance(attribute, str)
            self._names.add(f"{module}.{attribute}" if known else _MADE_UP)
            self._push(None)
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._last[1]
        elif name in _REMEMBERS:
            self._memo[argument] = self._last[1]
        elif name in _RECALLS:
            self._push(self._memo.get(argument))
        else:
            # Whatever else moves the stack leaves no text on it that is known here.
            self._push(argument if name in _TEXTS else None)

    def _push(self, value: object) -> None:
        self._last = (self._last[1], value)
