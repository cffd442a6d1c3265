"""The documentation's pages: their fenced blocks, and what their Python prints."""

from __future__ import annotations

import doctest
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

__all__ = ["DOCS", "ROOT", "Block", "blocks", "run"]

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_AS_SHOWN = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page on which the text begins."""

    language: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page's text, in order."""
    for found in _FENCE.finditer(page):
        yield Block(found[1], found[2], page.count("\n", 0, found.start(2)) + 1)


def run(name: str, page: str, namespace: dict[str, object]) -> list[str]:
    """Run a page's Python, in order and in one namespace; what a block prints is the ``text`` after it.

    An ``ExitStack`` that the page opened is closed at the end, whatever happens.

    Args:
        name: What tracebacks call the page.
        page: The page's text.
        namespace: What its code sees.

    Returns:
        A line for each block that printed something else than the page shows.
    """
    wrong: list[str] = []
    every = [*blocks(page), Block("", "", 0)]
    try:
        for block, after in pairwise(every):
            if block.language == "python":
                printed = _execute(block, name, namespace)
                shown = after.text if after.language == "text" else ""
                if not doctest.OutputChecker().check_output(shown, printed, _AS_SHOWN):
                    wrong.append(f"{name}:{block.line} printed:\n{printed}and the page shows:\n{shown}")
    finally:
        for value in namespace.values():
            if isinstance(value, ExitStack):
                value.close()
    return wrong


def _execute(block: Block, name: str, namespace: dict[str, object]) -> str:
    # Empty lines before it make the line numbers of a traceback those of the page.
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, name, "exec", dont_inherit=True)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(code, namespace)  # noqa: S102 - the pages are this project's own
    return printed.getvalue()
