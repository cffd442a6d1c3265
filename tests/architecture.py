"""Reads the library's source as trees: its modules, what each imports, and its functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "phi_finetune"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One name that a module imports at run time.

    Attributes:
        name: The dotted name, with what was taken from the module: ``a.b`` for ``from a import b``.
        deferred: Whether it stands in a function, so that importing the module does not do it.
    """

    name: str
    deferred: bool

    @property
    def root(self) -> str:
        """The top-level package."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Module:
    """One file of the library.

    Attributes:
        name: Its dotted name.
        source: Its text.
        imports: What it imports at run time: not what stands under ``if TYPE_CHECKING``.
        functions: Its functions, methods and nested ones too.
        public: Those of them that a user may call.
    """

    name: str
    source: str
    imports: tuple[Import, ...]
    functions: tuple[Function, ...]
    public: tuple[Function, ...]


@cache
def library() -> tuple[Module, ...]:
    """Every module of the library."""
    return tuple(
        parse(_dotted(path), path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))
    )


def parse(name: str, source: str) -> Module:
    """Read one module's source."""
    tree = ast.parse(source)
    functions = tuple(node for node in ast.walk(tree) if isinstance(node, Function))
    public = () if "._" in name else tuple(_public(tree))
    return Module(name, source, tuple(_imports(tree, deferred=False)), functions, public)


def lines_of_code(function: Function) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    first, last = function.body[0], function.end_lineno or 0
    lines = last - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    return lines - ((first.end_lineno or 0) - first.lineno + 1)


def under(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages, or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(node: ast.AST, *, deferred: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, deferred) for alias in node.names)
        return
    if isinstance(node, ast.ImportFrom):
        yield from (Import(f"{node.module}.{alias.name}", deferred) for alias in node.names)
        return
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        children = iter(node.orelse)
    inside = deferred or isinstance(node, Function)
    for child in children:
        yield from _imports(child, deferred=inside)


def _public(node: ast.Module | ast.ClassDef) -> Iterator[Function]:
    for child in node.body:
        if not isinstance(child, Function | ast.ClassDef) or child.name.startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield from _public(child)
        else:
            yield child
