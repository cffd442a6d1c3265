"""Write the page about which operations of azure-ai-ml the emulator answers, and how truly.

The operations are those of the installed azure-ai-ml; what is said of each comes from the markers of the contract
tests, which are collected and not run. Run it after a contract test was added or its markers changed::

    python scripts/make_operation_coverage.py

``--check`` writes nothing, and fails where the page is not what it would be. A test does that.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest
from azure.ai.ml import MLClient

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "operation-coverage.md"
TESTS = ROOT / "tests" / "contract"

HEAD = """\
<!-- Made by scripts/make_operation_coverage.py from the markers of the contract tests; edit those. -->

# Which operations are true

These are the operations of azure-ai-ml {version}, and what `FakeAzure` makes of each. Every word about one comes from a
contract test, which calls the real client through both doors, in this process and through the proxy, and can run
against the real service: [](testing.md#how-true-the-fake-is).

| word | what it means | operations |
|---|---|---|
{legend}
A class after an operation is what it was called with. `registry.` is a client of a registry.
"""

LEGEND = {
    "faithful": "A contract test holds the fake to what is known of the service.",
    "partial": "The same, but something is missing, and is named.",
    "refused": "It stays out: the answer is 501, and says what is not emulated.",
    "local": "azure-ai-ml sends nothing.",
    "not shown": "No contract test shows it, for the reason that is named.",
}

NOT_SHOWN = {
    "datastores.mount": "It needs azureml-dataprep-rslex, which mounts a file system on the machine.",
    "data.mount": "It needs azureml-dataprep-rslex, which mounts a file system on the machine.",
    "indexes.build_index": "It runs the llm_rag components of the registry azureml, which the fake has not (404).",
}
"""Why no contract test shows an operation."""

REGISTRY_GROUPS = ("models", "environments", "components", "data", "deployment_templates")
"""What a registry holds (Azure's page on sharing assets across workspaces with registries)."""

REGISTRY_ONLY = ("deployment_templates",)
"""What there is in a registry alone."""

WORKSPACE_ONLY = ("import_data", "list_materialization_status", "mount", "package", "share")
"""What a client of a registry refuses to do with them, or has no meaning there."""


@dataclass
class Shown:
    """What the contract tests say of one operation, or of one class that it was called with."""

    words: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        """The one word for it.

        Raises:
            ValueError: The tests contradict each other.
        """
        if len(self.words) > 1:
            raise ValueError(f"an operation cannot be {' and '.join(sorted(self.words))}")
        [word] = self.words or {"not shown"}
        return "partial" if word == "faithful" and self.notes else word


class _Collector:
    """A plugin of pytest that reads the markers of what is collected."""

    def __init__(self) -> None:
        self.shown: dict[str, Shown] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for mark in item.iter_markers("operation"):
                word = "local" if mark.kwargs.get("local") else "faithful"
                self._add(mark.args, word, mark.kwargs.get("partial"))
            for mark in item.iter_markers("refused"):
                self._add(mark.args, "refused", mark.kwargs["what"])

    def _add(self, names: tuple[str, ...], word: str, note: str | None) -> None:
        for name in names:
            shown = self.shown.setdefault(name, Shown())
            shown.words.add(word)
            if note and note not in shown.notes:
                shown.notes.append(note)


def operations() -> Iterator[str]:
    """Every public operation, by the name that a marker has."""
    groups = dict(_groups())
    for group, methods in groups.items():
        if group not in REGISTRY_ONLY:
            yield from (f"{group}.{method}" for method in methods)
    for group in REGISTRY_GROUPS:
        yield from (f"registry.{group}.{method}" for method in groups[group] if method not in WORKSPACE_ONLY)


def _groups() -> Iterator[tuple[str, list[str]]]:
    yield "MLClient", _methods(MLClient)
    for name, value in vars(MLClient).items():
        if isinstance(value, property) and value.fget is not None:
            kind = inspect.signature(value.fget, eval_str=True).return_annotation
            if inspect.isclass(kind) and kind.__module__.startswith("azure.ai.ml.operations"):
                yield name, _methods(kind)


def _methods(kind: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(kind, inspect.isroutine) if not name.startswith("_")]


def collect() -> Mapping[str, Shown]:
    """What the contract tests say, by the names in their markers.

    Raises:
        RuntimeError: They cannot be collected.
    """
    collector, printed = _Collector(), io.StringIO()
    options = ["--collect-only", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", str(TESTS)]
    with contextlib.redirect_stdout(printed):
        status = pytest.main(options, plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise RuntimeError(f"the contract tests cannot be collected:\n{printed.getvalue()}")
    return collector.shown


def render() -> str:
    """The page.

    Raises:
        ValueError: A marker names what is no operation, or an operation is neither shown nor has a reason why not.
    """
    shown, known = collect(), list(operations())
    plain = {name.partition(":")[0] for name in shown}
    unknown = sorted((plain | NOT_SHOWN.keys()) - set(known))
    if unknown:
        raise ValueError(f"no operations of azure-ai-ml: {', '.join(unknown)}")
    wrong = sorted(set(known) - (plain ^ NOT_SHOWN.keys()))
    if wrong:
        raise ValueError(f"either a contract test or NOT_SHOWN must say something of {', '.join(wrong)}")
    rows = {name: list(_rows(name, shown)) for name in known}
    words = [word for found in rows.values() for _, word, _ in found]
    legend = "".join(f"| {word} | {what} | {words.count(word)} |\n" for word, what in LEGEND.items())
    sections: dict[str, list[str]] = {}
    for name, found in rows.items():
        lines = [f"| {what} | {word} | {note} |\n" for what, word, note in found]
        sections.setdefault(name.rpartition(".")[0], []).extend(lines)
    head = HEAD.format(version=version("azure-ai-ml"), legend=legend)
    return head + "".join(_section(group, lines) for group, lines in sections.items())


def _rows(name: str, shown: Mapping[str, Shown]) -> Iterator[tuple[str, str, str]]:
    """What stands in the table about an operation: a row for it, and one for each class."""
    variants = sorted(each for each in shown if each.startswith(f"{name}:"))
    if name in shown or not variants:
        yield _row(f"`{name}`", shown.get(name) or Shown(notes=[NOT_SHOWN[name]]))
    for each in variants:
        yield _row(f"`{name}`, `{each.partition(':')[2]}`", shown[each])


def _row(what: str, shown: Shown) -> tuple[str, str, str]:
    return what, shown.word, " ".join(shown.notes)


def _section(group: str, lines: list[str]) -> str:
    return f"\n## {group}\n\n| operation | how | what is missing |\n|---|---|---|\n{''.join(lines)}"


def main() -> None:
    """Write the page, or compare it."""
    page = render()
    if "--check" not in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"{PAGE.relative_to(ROOT)} is not what the contract tests say: python {sys.argv[0]}")


if __name__ == "__main__":
    main()
