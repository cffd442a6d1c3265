"""Conversations in lines of JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Protocol

import attrs
import msgspec

from phi_finetune.chat_dataset.canonical import read_line
from phi_finetune.chat_dataset.conversation import Conversation, keeps_the_rules
from phi_finetune.chat_dataset.forms import Form
from phi_finetune.chat_dataset.forms.prompt_messages import PromptMessages
from phi_finetune.chat_dataset.found import Found, Ordinary, Reader, whatever_is_read
from phi_finetune.chat_dataset.readers.json_lines import JsonLines
from phi_finetune.chat_dataset.readers.plain_lines import plain_lines
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
        form = self.form()
        if isinstance(self.reader, JsonLines) and self.reader.begins_with_mark():
            yield self.label, None, Fault("byte-order-mark")
        if isinstance(self.reader, JsonLines) and reads_messages(form) and not texts:
            yield from self._passed_over(form, self.reader)
            return
        for number, line in self.reader.lines():
            yield from self._one(form, number, line)

    def _passed_over(self, form: Form, reader: JsonLines) -> Iterator[Found]:
        """The same without the texts of good rows: whole blocks of them are looked at together."""
        first = 1
        for data, start, end in reader.line_spans():
            plain = plain_lines(data, start, end, must_end_answered=self.must_end_answered)
            if plain:
                yield self.label, first, Ordinary(plain)
                first += plain
                continue
            number = first - 1
            for number, line in enumerate(BytesIO(data[start:end]), first):
                if plain_lines(line, must_end_answered=self.must_end_answered):
                    yield self.label, number, Ordinary(1)
                elif not line.isspace():
                    yield from self._one(form, number, line)
            first = number + 1

    def _one(self, form: Form, number: int, line: bytes) -> Iterator[Found]:
        quick = reads_messages(form) and not isinstance(form, PromptMessages)
        row = self._quickly(line) if quick else None
        if row is not None:
            yield self.label, number, row
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
