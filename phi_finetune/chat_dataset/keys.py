"""Short keys of rows, for finding those that say the same in eight bytes a row."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from heapq import nsmallest
from operator import itemgetter
from typing import TYPE_CHECKING

from phi_finetune.chat_dataset.canonical import read_line, spoken

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

__all__ = ["Keys", "drawn", "key_of", "keys_of", "sorted_keys"]

_KEY_BYTES = 8
"""Two of a million different rows have the same key with a chance of 1 in 37 million."""


def key_of(line: bytes, *, normalised: bool = False) -> int:
    """A line's key: a hash of what is said by whom, without the row's own name.

    Args:
        line: A canonical line.
        normalised: Whether upper and lower case, and any white space, are the same.
    """
    if normalised:
        turns = read_line(line).messages
        text = "\n".join(f"{turn.role} {' '.join(turn.content.casefold().split())}" for turn in turns)
        return _hash(text.encode())
    return _hash(spoken(line))


def drawn(lines: Iterable[bytes], n: int, seed: int) -> list[bytes]:
    """So many lines, the same for the same seed, in their order."""
    salt = f"{seed} sample\n".encode()
    keyed = ((_hash(salt + line), place, line) for place, line in enumerate(lines))
    return [line for _, _, line in sorted(nsmallest(n, keyed), key=itemgetter(1))]


def _hash(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=_KEY_BYTES).digest(), "big")


def keys_of(lines: Iterable[bytes], *, normalised: bool = False) -> Keys:
    """The keys of lines, sorted."""
    return sorted_keys(array("Q", (key_of(line, normalised=normalised) for line in lines)))


def sorted_keys(found: array[int]) -> Keys:
    """The same keys; the array is sorted and must not be changed after that."""
    import numpy

    keys = numpy.frombuffer(found, dtype=numpy.uint64) if found else numpy.empty(0, numpy.uint64)
    keys.sort()
    return Keys(keys)


class Keys:
    """Sorted keys, eight bytes each."""

    def __init__(self, values: NDArray[numpy.uint64]) -> None:
        self._values = values
        # Indexing this gives plain numbers, several times as fast as an array does.
        self._view = values.data

    def __len__(self) -> int:
        return len(self._values)

    def find(self, key: int) -> int | None:
        """The place of a key; None where it is not among them."""
        place = bisect_left(self._view, key)
        return place if place < len(self._view) and self._view[place] == key else None

    def repeated(self) -> Keys:
        """Those that are there more than once, each once."""
        import numpy

        twice = self._values[1:][self._values[1:] == self._values[:-1]]
        return Keys(numpy.unique(twice))
