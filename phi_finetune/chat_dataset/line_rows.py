"""Conversations in lines of JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

import attrs
import msgspec

from phi_finetune.chat_dataset.canonical import read_line
from phi_finetune.chat_dataset.conversation import Conversation, keeps_the_rules
from phi_finetune.chat_dataset.forms.prompt_messages import PromptMessages
from phi_finetune.chat_dataset.found import Found, Reader, whatever_is_read
from phi_finetune.chat_dataset.readers.json_lines import JsonLines
from phi_finetune.chat_dataset.readers.plain_lines import is_plain
from phi_finetune.chat_dataset.rules import Fault
from phi_finetune.chat_dataset.sources import Rows, reads_messages

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
        quick = reads_messages(form)
        for number, line in self.reader.lines():
            row = self._quickly(line) if quick else None
            yield row if row is not None else self.checked(form, number, self.reader.value(line))

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """Read the file from its start, whatever it holds; a byte order mark is told."""
        return whatever_is_read(self.label, self._every(texts))

    def _every(self, texts: bool) -> Iterator[Found]:
        label, form = self.label, self.form()
        quick, remarked = reads_messages(form), isinstance(form, PromptMessages)
        if isinstance(self.reader, JsonLines) and self.reader.begins_with_mark():
            yield label, None, Fault("byte-order-mark")
        for number, line in self.reader.lines():
            if quick and not texts and is_plain(line, must_end_answered=self.must_end_answered):
                yield label, number, None
                continue
            row = self._quickly(line) if quick and not remarked else None
            if row is not None:
                yield label, number, row
            else:
                yield from self.judged(form, number, self.reader.value(line))

    def _quickly(self, line: bytes) -> Conversation | None:
        try:
            if not line.isascii():
                line.decode("utf-8")  # the decoder does not look at keys that it passes over
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
