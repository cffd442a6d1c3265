"""A table as text: comma- or tab-separated values."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from types import ModuleType
from typing import Protocol

import attrs

from phi_finetune.chat_dataset.readers.compressed import opened, uncompressed_name
from phi_finetune.chat_dataset.readers.json_array import LONGEST_ROW_BYTES
from phi_finetune.chat_dataset.readers.one_file import OneFile
from phi_finetune.chat_dataset.readers.parsing import parse_line
from phi_finetune.chat_dataset.rules import BrokenRule, Fault
from phi_finetune.errors import InvalidParameter

__all__ = ["LIST_COLUMNS", "MIXED_COLUMNS", "Csv"]

LIST_COLUMNS = frozenset({"messages", "conversations", "history", "tools", "functions"})
"""Columns that hold lists: their cells are read as JSON."""

MIXED_COLUMNS = frozenset({"prompt", "completion", "chosen", "rejected"})
"""Columns that hold texts, or lists of messages: a cell that is such a list as JSON is read as one."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_TAB_ENDINGS = (".tsv", ".tab")


def _check_delimiter(_instance: object, _attribute: object, delimiter: str | None) -> None:
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidParameter(
            "A delimiter is one character, and no quote or line end",
            name="delimiter",
            value=delimiter,
            allowed="one character, such as a semicolon",
        )


@attrs.frozen
class Csv(OneFile):
    """The rows of a table whose first line names the columns.

    Cells may hold separators, doubled quotes and line ends between quotes. Every cell is a text, but those of
    list columns, which hold JSON; an empty one of these is None. Rows of no cells are passed over, as is a byte
    order mark; a compressed file is read as what it holds.

    Attributes:
        delimiter: What stands between cells: a tab for names that end in ``.tsv`` or ``.tab``, else a comma,
            unless given.
        list_columns: The columns whose cells hold JSON lists.
    """

    delimiter: str | None = attrs.field(default=None, validator=_check_delimiter)
    list_columns: frozenset[str] = LIST_COLUMNS

    def records(self) -> Iterator[tuple[int, object | Fault]]:
        """Read the rows, numbered from 1 after the header; in place of one that is broken stands what is wrong.

        Its path says at which line of the file the row begins, as rows may take several lines.

        Raises:
            InvalidData: The file cannot be read, has no header or one that names a column twice, or has a line
                of more than 16 MiB.
        """
        with opened(self.path) as file:
            rows = _rows(file, self._delimiter(), self.label)
            header = self._header(next(rows, None))
            for number, (line, cells) in enumerate(rows, start=1):
                yield number, self._record(header, cells, f"line {line}")

    def _delimiter(self) -> str:
        if self.delimiter is not None:
            return self.delimiter
        return "\t" if uncompressed_name(self.path).lower().endswith(_TAB_ENDINGS) else ","

    def _header(self, first: tuple[int, list[str] | Fault] | None) -> list[str]:
        if first is None:
            raise Fault("empty-file").error(self.label)
        line, cells = first
        if isinstance(cells, Fault):
            raise Fault(cells.rule, f"line {line}").error(self.label)
        if any(not cell.strip() for cell in cells):
            raise Fault("no-header", f"line {line}").error(self.label)
        if len(set(cells)) != len(cells):
            raise Fault("duplicate-column", f"line {line}").error(self.label)
        return cells

    def _record(self, header: list[str], cells: list[str] | Fault, place: str) -> object | Fault:
        if isinstance(cells, Fault):
            return Fault(cells.rule, place)
        if len(cells) != len(header):
            return Fault("cell-count", place)
        try:
            return {name: self._value(name, cell, place) for name, cell in zip(header, cells, strict=True)}
        except BrokenRule as broken:
            return broken.fault

    def _value(self, name: str, cell: str, place: str) -> object:
        if name in self.list_columns:
            return None if not cell.strip() else _parsed(cell, name, place)
        if name in MIXED_COLUMNS and cell.lstrip().startswith("["):
            return _messages_or_text(cell)
        return cell


def _parsed(cell: str, name: str, place: str) -> object:
    try:
        return parse_line(cell.encode() + b"\n")
    except BrokenRule as broken:
        rule = "cell-not-json" if broken.fault.rule == "not-json" else broken.fault.rule
    raise BrokenRule(rule, f"{place}, {name}" if name in LIST_COLUMNS else place)


def _messages_or_text(cell: str) -> object:
    try:
        value = parse_line(cell.encode() + b"\n")
    except BrokenRule:
        return cell
    is_messages = isinstance(value, list) and all(isinstance(item, dict) and "role" in item for item in value)
    return value if is_messages and value else cell


class _TableReader(Protocol):
    """What ``csv.reader`` gives."""

    @property
    def line_num(self) -> int: ...

    def __next__(self) -> list[str]: ...


def _rows(file: BufferedIOBase, delimiter: str, label: str) -> Iterator[tuple[int, list[str] | Fault]]:
    """Give each row's first line and its cells."""
    module = _csv_module()
    reader: _TableReader = module.reader(_lines(file, label), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        cells: list[str] | Fault
        try:
            cells = next(reader)
        except StopIteration:
            return
        except module.Error as error:
            cells = _fault(str(error))
        if isinstance(cells, Fault) or cells:
            yield line, cells if isinstance(cells, Fault) else _readable(cells)


def _fault(error: str) -> Fault:
    if "field limit" in error:
        return Fault("row-too-long")
    return Fault("unclosed-quote" if "end of data" in error else "broken-quotes")


def _readable(cells: list[str]) -> list[str] | Fault:
    try:
        for cell in cells:
            if not cell.isascii():
                cell.encode("utf-8")
    except UnicodeEncodeError:
        return Fault("not-utf-8")
    return cells


def _lines(file: BufferedIOBase, label: str) -> Iterable[str]:
    """Give the lines as text; bytes that are not UTF-8 become lone surrogates, so that the row can be told."""
    number = 0
    while line := file.readline(LONGEST_ROW_BYTES + 1):
        number += 1
        if number == 1 and line.startswith(_UTF_16):
            raise Fault("not-utf-8").error(label)
        if len(line) > LONGEST_ROW_BYTES:
            raise Fault("row-too-long", f"line {number}").error(label)
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        yield line.decode("utf-8", errors="surrogateescape")


def _csv_module() -> ModuleType:
    """Give Python's csv parser with a limit on cells of its own.

    The limit is kept by the module, for the whole program, and is too small for conversations (131,072
    characters). A second instance of the module leaves the program's as it is.
    """
    spec = importlib.util.find_spec("_csv")
    if spec is None or spec.loader is None:
        raise ImportError("Python's csv parser is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.field_size_limit(LONGEST_ROW_BYTES)
    return module
