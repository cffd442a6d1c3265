"""A file of JSON lines, read a line at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import attrs
import msgspec

from phi_finetune.chat_dataset.canonical import read_line
from phi_finetune.chat_dataset.conversation import Conversation, keeps_the_rules
from phi_finetune.chat_dataset.readers.plain_lines import is_plain
from phi_finetune.chat_dataset.rules import BrokenRule, Fault
from phi_finetune.chat_dataset.sources import Found, Reader, Rows, whatever_is_read

__all__ = ["JsonLines", "JsonLinesRows", "parse_line"]

_MESSAGES = re.compile(rb'"messages"\s*:\s*\[\s*\{\s*"(?:role|content)"')
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BUFFER_BYTES = 1024 * 1024
"""Lines longer than the usual buffer are read several times as fast out of this one."""
_BINARY_BEGINNINGS = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PAR1")
"""How gzip, zip, bzip2, xz, zstandard and parquet files begin. None of them can begin a line of JSON."""


@attrs.frozen
class JsonLines:
    """The rows of one file; lines count from 1, a byte order mark and blank lines are passed over.

    Attributes:
        path: The file.
    """

    path: Path

    @property
    def label(self) -> str:
        """The path, as it was given."""
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def stamp(self) -> tuple[int, int, int]:
        """Give what differs as soon as the file was written again: its identity, size and time of change.

        Raises:
            InvalidData: There is no such file.
        """
        with self._reading():
            status = self.path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def begins_with_mark(self) -> bool:
        """Whether a byte order mark stands at its start.

        Raises:
            InvalidData: The file cannot be read.
        """
        with self._reading(), self.path.open("rb") as file:
            return file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK

    def records(self) -> Iterator[tuple[int, object]]:
        """Each line's number and its value, or the fault that keeps it from being read.

        Raises:
            InvalidData: The file cannot be read.
        """
        for number, line in self.lines():
            yield number, self.value(line)

    def value(self, line: bytes) -> object:
        """What a line holds, or the fault that keeps it from being read."""
        try:
            return parse_line(line)
        except BrokenRule as broken:
            return broken.fault

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each line that is not blank, with its number.

        Raises:
            InvalidData: The file cannot be read.
        """
        return ((number, line) for number, line in self._numbered_lines() if not line.isspace())

    def _numbered_lines(self) -> Iterator[tuple[int, bytes]]:
        with self._reading(), self.path.open("rb", buffering=_BUFFER_BYTES) as file:
            first = file.readline()
            if first.startswith(_BINARY_BEGINNINGS):
                raise Fault("compressed").error(self.label)
            yield 1, first.removeprefix(_BYTE_ORDER_MARK) or b"\n"
            yield from enumerate(file, start=2)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if self.path.is_dir():
            raise Fault("not-a-file").error(self.label)
        try:
            yield
        except FileNotFoundError as error:
            raise Fault("missing-file").error(self.label) from error
        except PermissionError as error:
            raise Fault("no-permission").error(self.label) from error
        except OSError as error:
            raise Fault("unreadable").error(self.label) from error


def _names_keys_once(line: bytes, row: Conversation) -> bool:
    """Whether each key stands as often as the row has turns: the decoder takes the last of two in silence.

    False may be a false alarm. An earlier list of messages is counted with the others, as its first key is looked at.
    """
    if not _MESSAGES.match(line, line.find(b'"messages"')):
        return False
    return line.count(b'"content"') == len(row.messages) == line.count(b'"role"')


class Lines(Reader, Protocol):
    """A reader of lines of JSON."""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each line that is not blank, with its number."""
        ...

    def value(self, line: bytes) -> object:
        """What a line holds, or the fault that keeps it from being read."""
        ...


@attrs.frozen
class JsonLinesRows(Rows):
    """The conversations in lines of JSON.

    Nearly every line is decoded straight into a conversation. Only one that this leaves in doubt is parsed strictly,
    which tells what is wrong with it, if anything is.
    """

    reader: Lines

    def rows(self) -> Iterator[Conversation]:
        """Read the file from its start.

        Raises:
            InvalidData: The file cannot be read, or a line breaks a rule.
        """
        for number, line in self.reader.lines():
            row = self._quickly(line)
            yield row if row is not None else self._strictly(number, line)

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """Read the file from its start, whatever it holds; a byte order mark is told."""
        return whatever_is_read(self.label, self._found(texts))

    def _found(self, texts: bool) -> Iterator[Found]:
        label, must_end_answered = self.label, self.must_end_answered
        if isinstance(self.reader, JsonLines) and self.reader.begins_with_mark():
            yield label, None, Fault("byte-order-mark")
        for number, line in self.reader.lines():
            if not texts and is_plain(line, must_end_answered=must_end_answered):
                yield label, number, None
                continue
            row = self._quickly(line)
            yield label, number, row if row is not None else self.judged(self.reader.value(line))

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

    def _strictly(self, number: int, line: bytes) -> Conversation:
        return self.checked(number, self.reader.value(line))


class _Refused(ValueError):
    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise _Refused("duplicate-key")
    return unique


def _refuse_constant(name: str) -> object:
    raise _Refused("not-finite")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)


def parse_line(line: bytes) -> object:
    """Parse one line as JSON, and more strictly than the json module does.

    The error is raised after the except blocks, so that the parser's own, which holds the line's text, is not
    kept as its context.

    Raises:
        BrokenRule: It is not UTF-8, not JSON, or ambiguous.
    """
    path = None
    try:
        return _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        rule, path = "not-utf-8", f"byte {error.start + 1}"
    except RecursionError:
        rule = "too-nested"
    except _Refused as refused:
        rule = refused.rule
    except json.JSONDecodeError as error:
        rule, path = "not-json", f"column {error.colno}"
    except ValueError:  # a number with more digits than Python reads
        rule = "not-json"
    if rule in {"not-utf-8", "not-json"} and not line.endswith(b"\n"):
        rule = "truncated-line"
    raise BrokenRule(rule, path)
