"""The lines of a job's log files, each told once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from phi_finetune.events import LogLine

__all__ = ["log_lines"]


def log_lines(
    resource: str, written: Mapping[str, bytes], read: Mapping[str, int], *, whole: bool
) -> Iterator[LogLine]:
    """The lines that log files grew by, file after file.

    A line that has no end yet is still being written: it is told once it has one, or once the files are whole. So
    no line is told in part, and no letter is cut in two.

    Args:
        resource: Whose log it is.
        written: What each file holds beyond what was told of it.
        read: How many bytes of each file were told before.
        whole: Whether nothing will be written any more.
    """
    told = dict(read)
    for file, content in written.items():
        *lines, rest = content.split(b"\n")
        for line in lines:
            told[file] = told.get(file, 0) + len(line) + 1
            yield _line(resource, line.removesuffix(b"\r"), file, told)
        if rest and whole:
            told[file] = told.get(file, 0) + len(rest)
            yield _line(resource, rest, file, told)


def _line(resource: str, line: bytes, file: str, told: Mapping[str, int]) -> LogLine:
    return LogLine(resource=resource, text=line.decode(errors="replace"), file=file, read=dict(told))
