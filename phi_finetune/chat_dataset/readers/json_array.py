"""A file that holds one JSON array of rows, read a row at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

import attrs

from phi_finetune.chat_dataset.readers.compressed import opened
from phi_finetune.chat_dataset.readers.one_file import OneFile
from phi_finetune.chat_dataset.readers.parsing import parse_line
from phi_finetune.chat_dataset.rules import BrokenRule, Fault

__all__ = ["LONGEST_ROW_BYTES", "JsonArray"]

LONGEST_ROW_BYTES = 16 * 1024 * 1024
"""No conversation that a model could take in is as long; beyond it, a quote or bracket was never closed."""

_BLOCK_BYTES = 256 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_WRAPPERS = ("data", "rows", "records", "examples")

_SPACE = re.compile(rb"[ \t\r\n]*+")
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_END_OF_WORD = re.compile(rb"[\s,\[\]{}\"]")
_WRAPPER = re.compile(rb'\{[ \t\r\n]*"(%s)"[ \t\r\n]*:[ \t\r\n]*\[' % "|".join(_WRAPPERS).encode())


@attrs.frozen
class JsonArray(OneFile):
    """The rows of a JSON array, ``[{...}, {...}]``, or of one alone in an object: ``{"data": [...]}``.

    The object's only key may be data, rows, records or examples. A byte order mark is passed over, and a
    compressed file is read as what it holds. Never more than a row and a block of the file are held.
    """

    def records(self) -> Iterator[tuple[int, object | Fault]]:
        """Read the rows, numbered from 1; in place of one that cannot be parsed stands what is wrong with it.

        Its path says in which line and at which byte of the file, counted from 1, the row begins.

        Raises:
            InvalidData: The file cannot be read, is not such an array, or has a row of more than 16 MiB.
        """
        with opened(self.path) as file:
            for number, element in enumerate(_Elements(file, self.label).split(), start=1):
                if element.fault == "row-too-long":
                    raise Fault(element.fault, element.place).error(self.label, number)
                yield number, _value_of(element)


class _Element(NamedTuple):
    text: bytes
    place: str
    fault: str | None


def _value_of(element: _Element) -> object | Fault:
    if element.fault is not None:
        return Fault(element.fault, element.place)
    try:
        return parse_line(element.text + b"\n")
    except BrokenRule as broken:
        rule = "not-json-row" if broken.fault.rule == "not-json" else broken.fault.rule
        return Fault(rule, element.place)


class _Elements:
    """Finds where each row of the array begins and ends, without reading what is in it."""

    def __init__(self, file: BufferedIOBase, label: str) -> None:
        self._file = file
        self._label = label
        self._buffer = file.read(_BLOCK_BYTES)
        self._start = 0  # of the row being read, in the buffer
        self._position = 0  # of the next byte, in the buffer
        self._offset = 0  # of the buffer, in the file
        self._lines = 0  # ended before the byte counted to
        self._counted = 0

    def split(self) -> Iterator[_Element]:
        is_wrapped = self._enter()
        before = b"["
        while (byte := self._next()) not in (b"", b"]"):
            if byte == b",":
                if before in (b"[", b","):
                    yield self._fault("array-comma")
                self._position += 1
                before = byte
                continue
            element = self._element(byte)
            is_apart = before in (b"[", b",") or element.fault is not None
            yield element if is_apart else element._replace(fault="array-comma")
            if element.fault is not None:
                return
            before = b""
        if byte == b"]" and before == b",":
            yield self._fault("array-comma")
        yield from self._leave(byte, is_wrapped)

    def _enter(self) -> bool:
        if self._buffer.startswith(_UTF_16):
            raise Fault("not-utf-8").error(self._label)
        if self._buffer.startswith(_BYTE_ORDER_MARK):
            self._position = len(_BYTE_ORDER_MARK)
        byte = self._next()
        if not byte:
            raise Fault("empty-file").error(self._label)
        wrapper = _WRAPPER.match(self._buffer, self._position)
        if byte != b"[" and wrapper is None:
            raise Fault("not-an-array").error(self._label)
        self._position = self._position + 1 if wrapper is None else wrapper.end()
        return wrapper is not None

    def _leave(self, byte: bytes, is_wrapped: bool) -> Iterator[_Element]:
        for end in (b"]", b"}") if is_wrapped else (b"]",):
            if not byte:
                yield self._fault("truncated-array")
                return
            if byte != end:
                break
            self._position += 1
            byte = self._next()
        if byte:
            yield self._fault("after-the-array")

    def _element(self, byte: bytes) -> _Element:
        if byte in (b"{", b"["):
            is_whole = self._pass_nested()
        else:
            self._position += 1
            is_whole = self._pass_string() if byte == b'"' else self._pass_word()
        if is_whole:
            return _Element(self._buffer[self._start : self._position], self._place(), None)
        is_long = len(self._buffer) - self._start > LONGEST_ROW_BYTES
        return self._fault("row-too-long" if is_long else "truncated-array")

    def _pass_nested(self) -> bool:
        depth = 0
        while True:
            for found in _STRING_OR_BRACKET.finditer(self._buffer, self._position):
                byte = self._buffer[found.start()]
                if byte in b"{[":
                    depth += 1
                elif byte in b"}]":
                    depth -= 1
                    if not depth:
                        self._position = found.end()
                        return True
                elif found.end() - found.start() == 1:  # a quote that nothing in the buffer closes
                    self._position = found.end()
                    if not self._pass_string():
                        return False
                    break
            else:
                self._position = len(self._buffer)
                if not self._more():
                    return False

    def _pass_string(self) -> bool:
        while True:
            rest = _REST_OF_STRING.match(self._buffer, self._position)
            self._position = rest.end() if rest else self._position
            if self._buffer[self._position : self._position + 1] == b'"':
                self._position += 1
                return True
            if not self._more():  # at the end of the buffer, or before a backslash that stands last in it
                return False

    def _pass_word(self) -> bool:
        while True:
            end = _END_OF_WORD.search(self._buffer, self._position)
            if end is not None:
                self._position = end.start()
                return True
            self._position = len(self._buffer)
            if not self._more():
                return False

    def _next(self) -> bytes:
        """Pass white space, and give the byte after it, with which a row may start; none at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._position)
            self._position = self._start = space.end() if space else self._position
            if self._position < len(self._buffer):
                return self._buffer[self._position : self._position + 1]
            if not self._more():
                return b""

    def _more(self) -> bool:
        """Read a block, and let go of what stands before the row being read."""
        if len(self._buffer) - self._start > LONGEST_ROW_BYTES:
            return False
        block = self._file.read(_BLOCK_BYTES)
        if not block:
            return False
        self._count_lines()
        self._buffer = self._buffer[self._start :] + block
        self._offset += self._start
        self._position -= self._start
        self._start = self._counted = 0
        return True

    def _count_lines(self) -> None:
        self._lines += self._buffer.count(b"\n", self._counted, self._start)
        self._counted = self._start

    def _place(self) -> str:
        self._count_lines()
        return f"line {self._lines + 1} (byte {self._offset + self._start + 1})"

    def _fault(self, rule: str) -> _Element:
        return _Element(b"", self._place(), rule)
