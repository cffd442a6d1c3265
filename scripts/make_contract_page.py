"""Write the page about which answers keep the contract of a fine-tune's life, after running it on each of them.

It trains and serves for real, which takes minutes and needs the extra ``local``::

    python scripts/make_contract_page.py

A test, which needs no torch, compares the page's table with what the rules and the answers say of themselves; that
they say the truth is what the contract's own tests show.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "contract.md"
RUNS = ("tests/test_lifecycle_contract.py", "tests/local/test_local_contract.py")

HEAD = """\
<!-- Made by scripts/make_contract_page.py from tests/lifecycle_rules.py and tests/lifecycle_answers.py; edit those. -->

# One contract, several answers

A fine-tune's life, from its data to the endpoint's answer and its end, is written down once as {rules} rules. Each rule
is a test that goes through the public interface, and runs unchanged against each of these:

| answer | what it is |
|---|---|
{answers}
*yes*: the rule's test passes there. *no*: the answer says that it does not keep the rule, for the reason that is given,
and the test is seen to fail. The contract was last run on all of them with {versions}.

"""

Answer = Any
"""A class of ``lifecycle_answers``, which is imported late: pytest has to be the first to import what it tests."""


class _Outcomes:
    """A plugin of pytest that notes what became of each rule on each answer."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name, _, answer = report.nodeid.rpartition("::")[2].rstrip("]").partition("[")
        if report.outcome == "skipped" and hasattr(report, "wasxfail"):
            self.seen[name, answer] = f"no: {report.wasxfail}"
        elif report.outcome != "passed":
            self.seen[name, answer] = report.outcome
        elif report.when == "call":
            self.seen[name, answer] = "yes"


def _tests(name: str) -> ModuleType:
    folder = str(ROOT / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module(name)


def rules() -> Mapping[str, Callable[..., None]]:
    """The rules, by name, in their order."""
    found = vars(_tests("lifecycle_rules"))
    return {name: rule for name, rule in found.items() if name.startswith("test_")}


def answers() -> Sequence[Answer]:
    """The answers, in the order of their columns."""
    found: Sequence[Answer] = _tests("lifecycle_answers").ANSWERS
    return found


def words(thing: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def told(rule: str, answer: Answer) -> str:
    """What an answer says of a rule."""
    return f"no: {answer.cannot[rule]}" if rule in answer.cannot else "yes"


def table() -> str:
    """The table, as rules and answers have it."""
    unknown = {name for answer in answers() for name in answer.cannot} - rules().keys()
    if unknown:
        raise ValueError(f"answers speak of rules that there are not: {', '.join(sorted(unknown))}")
    return "".join(f"| {' | '.join(row)} |\n" for row in _rows())


def _rows() -> Iterator[list[str]]:
    yield ["rule", *(answer.title for answer in answers())]
    yield ["---"] * (1 + len(answers()))
    for name, rule in rules().items():
        yield [words(rule).rstrip("."), *(told(name, answer) for answer in answers())]


def run() -> None:
    """Run the contract on every answer.

    Raises:
        SystemExit: torch is missing, or something else came out than the answers say.
    """
    if find_spec("torch") is None:
        sys.exit("the real engine has to run, and torch is not here: pip install 'phi-finetune[local]'")
    outcomes = _Outcomes()
    pytest.main(["-q", "-p", "no:cacheprovider", *(str(ROOT / path) for path in RUNS)], plugins=[outcomes])
    wanted = {(name, answer.__name__): told(name, answer) for name in rules() for answer in answers()}
    wrong = sorted(str(key) for key in wanted | outcomes.seen if wanted.get(key) != outcomes.seen.get(key))
    if wrong:
        sys.exit(f"the page is not written, as these are not as the answers say: {', '.join(wrong)}")


def main() -> None:
    """Run the contract, and write the page."""
    run()
    titles = "".join(f"| {answer.title} | {words(answer)} |\n" for answer in answers())
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "azure-ai-ml"))
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    head = HEAD.format(rules=len(rules()), answers=titles, versions=f"{python}, {packages}")
    PAGE.write_text(head + table(), encoding="utf-8")


if __name__ == "__main__":
    main()
