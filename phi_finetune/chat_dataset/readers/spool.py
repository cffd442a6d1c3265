"""Records from an iterable, which may be good for one pass only."""

from __future__ import annotations

import json
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from phi_finetune.chat_dataset.conversation import Conversation, Message
from phi_finetune.chat_dataset.rules import Fault

__all__ = ["Spool"]

_IN_MEMORY_BYTES = 8 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024

_State: TypeAlias = tuple[str, bytes, bool]


class Spool:
    """The records of an iterable, which is asked for each one once, when it is first wanted, and never again.

    What was read is kept as lines of JSON: in memory up to 8 MiB, in a temporary file beyond that. A pickle holds
    them all.
    """

    def __init__(self, records: Iterable[object], label: str) -> None:
        self._records: Iterable[object] | None = records
        self._open(label)

    def _open(self, label: str) -> None:
        self.label = label
        self._lock = threading.Lock()
        # Closed by the finalizer below: each pass over the rows reads from it.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
        self._size = 0
        self._iterator: Iterator[object] | None = None
        self._broke_off = False
        weakref.finalize(self, self._file.close)

    @property
    def files(self) -> tuple[Path, ...]:
        """None: nothing that a user knows of."""
        return ()

    def stamp(self) -> int:
        """Give a constant: the rows never change."""
        return 0

    def records(self) -> Iterator[tuple[int, object]]:
        """Each record's number and value, as JSON has it: NaN is null, and what JSON cannot hold an empty object.

        Raises:
            InvalidData: The iterable raised an error of its own on an earlier pass.
        """
        for number, line in self.lines():
            yield number, self.value(line)

    def value(self, line: bytes) -> object:
        """What a line holds."""
        return json.loads(line, parse_constant=_as_null)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each record as a line of JSON, with its number.

        Raises:
            InvalidData: The iterable raised an error of its own on an earlier pass.
        """
        offset = number = 0
        while lines := self._lines_at(offset):
            for number, line in enumerate(lines, number + 1):  # noqa: B020 - it goes on counting
                yield number, line
            offset += sum(map(len, lines))
        if self._broke_off:
            raise Fault("records-broke-off").error(self.label)

    def _lines_at(self, offset: int) -> list[bytes]:
        """The lines from there on; one more is asked for where none are kept."""
        with self._lock:
            if offset == self._size:
                self._ask()
            self._file.seek(offset)
            return self._file.readlines(_BLOCK_BYTES)

    def _ask(self) -> None:
        """Keep one record more, if there is one."""
        if self._records is None:
            return
        # An iterable that raises is not asked a second time.
        records, self._records, self._broke_off = self._records, None, True
        if self._iterator is None:
            self._iterator = iter(records)
        try:
            record = next(self._iterator)
        except StopIteration:
            self._broke_off = False
            return
        self._file.seek(self._size)
        self._size += self._file.write(_line(record))
        self._records, self._broke_off = records, False

    def __getstate__(self) -> _State:
        return self.label, b"".join(line for _, line in self.lines()), self._broke_off

    def __setstate__(self, state: _State) -> None:
        label, content, self._broke_off = state
        self._records = None
        self._open(label)
        self._size = self._file.write(content)


def _line(record: object) -> bytes:
    try:
        text = json.dumps(record, default=_plain, skipkeys=True)
    except (RecursionError, ValueError):  # it holds itself, or is as deep as if it did
        text = '"too deep"'
    return text.encode("ascii") + b"\n"


def _plain(value: object) -> object:
    """What JSON can hold in place of a value: a frame's array is a list, and what is no text must not become one."""
    if isinstance(value, Conversation):
        return value.as_dict()
    if isinstance(value, Message):
        return {"role": value.role, "content": value.content}
    if isinstance(value, Mapping):
        return dict(value)
    as_list = getattr(value, "tolist", None)
    return as_list() if callable(as_list) else {}


def _as_null(_name: str) -> None:
    """JSON has no NaN; a frame has it where there is nothing."""
