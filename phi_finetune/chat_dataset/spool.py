"""Conversations from an iterable, which may be good for one pass only."""

from __future__ import annotations

import json
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from phi_finetune.chat_dataset.conversation import Conversation, canonical_line, parse_conversation
from phi_finetune.chat_dataset.rules import BrokenRule, Fault

__all__ = ["Spool"]

_IN_MEMORY_BYTES = 8 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024

_State: TypeAlias = tuple[str, bool, bytes, Fault | None, int | None]


class Spool:
    """The conversations of an iterable, which is read once, at the first use, and never again.

    What was read is kept as lines: in memory up to 8 MiB, in a temporary file beyond that. A row that breaks
    a rule ends the reading; each pass gives the rows before it and then raises. A pickle holds all the rows.
    """

    def __init__(self, records: Iterable[object], label: str, *, must_end_answered: bool) -> None:
        self._records: Iterable[object] | None = records
        self._open(label, must_end_answered)

    def _open(self, label: str, must_end_answered: bool) -> None:
        self.label = label
        self._must_end_answered = must_end_answered
        self._lock = threading.Lock()
        # Closed by the finalizer below: each pass over the rows reads from it.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
        self._fault: Fault | None = None
        self._fault_row: int | None = None
        weakref.finalize(self, self._file.close)

    @property
    def files(self) -> tuple[Path, ...]:
        """None: nothing that a user knows of."""
        return ()

    def stamp(self) -> int:
        """Give a constant: the rows never change."""
        return 0

    def rows(self) -> Iterator[Conversation]:
        """Read the rows from the first.

        Raises:
            InvalidData: A record breaks a rule, or the iterable raised an error of its own on the first pass.
        """
        self._fill()
        for line in self._lines():
            yield parse_conversation(json.loads(line))
        if self._fault is not None:
            raise self._fault.error(self.label, self._fault_row)

    def _fill(self) -> None:
        with self._lock:
            if self._records is None:
                return
            records, self._records = self._records, None
            # Holds until the end is reached: an iterable that raised is not asked a second time.
            self._fault = Fault("records-broke-off")
            self._fault, self._fault_row = self._write(records)

    def _write(self, records: Iterable[object]) -> tuple[Fault | None, int | None]:
        for number, record in enumerate(records, start=1):
            try:
                row = parse_conversation(record, must_end_answered=self._must_end_answered)
            except BrokenRule as broken:
                return broken.fault, number
            self._file.write(canonical_line(row))
        return None, None

    def _lines(self) -> Iterator[bytes]:
        offset = 0
        while True:
            with self._lock:
                self._file.seek(offset)
                block = self._file.readlines(_BLOCK_BYTES)
                offset = self._file.tell()
            if not block:
                return
            yield from block

    def __getstate__(self) -> _State:
        self._fill()
        content = b"".join(self._lines())
        return self.label, self._must_end_answered, content, self._fault, self._fault_row

    def __setstate__(self, state: _State) -> None:
        label, must_end_answered, content, fault, fault_row = state
        self._records = None
        self._open(label, must_end_answered)
        self._file.write(content)
        self._fault, self._fault_row = fault, fault_row
