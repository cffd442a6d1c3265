"""Conversations in lines of JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

import attrs
import msgspec

from phi_finetune.chat_dataset.canonical import read_line
from phi_finetune.chat_dataset.conversation import Conversation, keeps_the_rules
from phi_finetune.chat_dataset.sources import Reader, Rows, is_plain

__all__ = ["LineRows", "Lines"]

_MESSAGES = re.compile(rb'"messages"\s*:\s*\[\s*\{\s*"(?:role|content)"')


class Lines(Reader, Protocol):
    """A reader of lines of JSON."""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each line that is not blank, with its number."""
        ...

    def value(self, line: bytes) -> object:
        """What a line holds, or the fault that keeps it from being read."""
        ...


@attrs.frozen
class LineRows(Rows[Lines]):
    """The conversations in lines of JSON.

    Nearly every line is decoded straight into a conversation. Only one that this leaves in doubt is parsed strictly,
    which tells what is wrong with it, if anything is.
    """

    def rows(self) -> Iterator[Conversation]:
        """Read the file from its start.

        Raises:
            InvalidData: The file cannot be read, or a line breaks a rule.
        """
        form = self.form()
        quick = is_plain(form)
        for number, line in self.reader.lines():
            row = self._quickly(line) if quick else None
            yield row if row is not None else self.checked(form, number, self.reader.value(line))

    def _quickly(self, line: bytes) -> Conversation | None:
        try:
            row = read_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if _names_keys_once(line, row) and keeps_the_rules(row, must_end_answered=self.must_end_answered):
            return row
        return None


def _names_keys_once(line: bytes, row: Conversation) -> bool:
    """Whether each key stands as often as the row has turns: the decoder takes the last of two in silence.

    False may be a false alarm. An earlier list of messages is counted with the others, as its first key is looked at.
    """
    if not _MESSAGES.match(line, line.find(b'"messages"')):
        return False
    return line.count(b'"content"') == len(row.messages) == line.count(b'"role"')
