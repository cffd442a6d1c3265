"""What was found where data was looked through."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Self

import attrs

from phi_finetune.chat_dataset.rules import RULES, Fault, Severity
from phi_finetune.chat_dataset.splits import SplitName
from phi_finetune.errors import InvalidData

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["TOLD_FAULTS", "Estimate", "Problem", "ValidationReport"]

TOLD_FAULTS = 20
"""An error tells no more."""
_SHOWN = 10
_MEANING: dict[Severity, str] = {
    "stops": "stops the run",
    "changes": "changes the result",
    "look": "worth a look",
}
_COLUMNS = ["split", "file", "row", "path", "rule", "severity", "why", "remedy"]


@attrs.frozen
class Problem:
    """One rule that one place breaks. It holds nothing of what stands there.

    Attributes:
        split: The split.
        file: The file, or the name of what else the rows are from.
        row: The row, counted from 1 (a line's number, for a file of JSON lines); None for the file as a whole.
        path: Where in the row, such as ``"messages[2].role"``; None for the row as a whole.
        rule: The rule's short name, such as ``"unknown-role"``.
    """

    split: SplitName
    file: str
    row: int | None
    path: str | None
    rule: str

    @property
    def severity(self) -> Severity:
        """``"stops"`` (the service's run fails), ``"changes"`` (the result, silently) or ``"look"``."""
        return RULES[self.rule].severity

    @property
    def why(self) -> str:
        """What is wrong."""
        return RULES[self.rule].why

    @property
    def remedy(self) -> str:
        """What to do."""
        return RULES[self.rule].remedy

    @property
    def place(self) -> str:
        """The file, the row and the path, as people read them."""
        row = "" if self.row is None else f", row {self.row}"
        return f"{self.file}{row}{'' if self.path is None else f', {self.path}'}"

    def __str__(self) -> str:
        return f"{self.place}: {self.why} ({self.rule})"

    def error(self) -> InvalidData:
        """Give it as an error."""
        return Fault(self.rule, self.path).error(self.file, self.row)


@attrs.frozen
class Estimate:
    """What some of the rows, drawn by chance, say of all of a split.

    Attributes:
        split: The split.
        what: What was looked for: a rule, or ``"tokens cut off"``.
        looked_at: How many rows.
        share: The share where it was found: of the rows, or of the tokens.
        low: Where the share of all rows lies with a chance of 95 % (from here, ...
        high: ... to here); both are ``share`` if all were looked at.
    """

    split: SplitName
    what: str
    looked_at: int
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        interval = "" if self.low == self.high else f" ({self.low:.2%} to {self.high:.2%})"
        return f"{self.split}: {self.what}: {self.share:.2%}{interval} of {self.looked_at} rows looked at"


@attrs.frozen
class ValidationReport:
    """All that was found in a data set.

    Attributes:
        name: The data set's.
        problems: The first problems, no more than the limit that was given.
        counts: How many problems there are of each rule, complete, by rule. Of rules that were looked for in a part
            of the rows only, those found there.
        rows: How many rows each split has, good and broken.
        estimates: What was looked for in a part of the rows only.
    """

    name: str
    problems: tuple[Problem, ...]
    counts: Mapping[str, int]
    rows: Mapping[SplitName, int]
    estimates: tuple[Estimate, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found that stops the run or changes its result."""
        return all(RULES[rule].severity == "look" for rule in self.counts)

    @property
    def is_cut(self) -> bool:
        """Whether there are more problems than ``problems`` holds."""
        return sum(self.counts.values()) > len(self.problems)

    def to_frame(self) -> DataFrame:
        """The problems as a frame, one a row, with what to do."""
        import pandas

        cells = [[getattr(problem, column) for column in _COLUMNS] for problem in self.problems]
        frame = pandas.DataFrame(cells, columns=_COLUMNS)
        return frame.astype({"row": "Int64"})

    def check(self) -> Self:
        """Give the report back if it is :attr:`ok`.

        Raises:
            InvalidData: It is not; the error is of the first problem, and tells up to 20.
        """
        refused = [problem for problem in self.problems if problem.severity != "look"]
        if self.ok:
            return self
        if not refused:  # the limit left none of them
            rule = next(rule for rule in self.counts if RULES[rule].severity != "look")
            raise Fault(rule).error(self.name)
        error = refused[0].error()
        error.faults = tuple(refused[:TOLD_FAULTS])
        error.fault_count = sum(n for rule, n in self.counts.items() if RULES[rule].severity != "look")
        raise error

    def __str__(self) -> str:
        return "\n".join([self._head(), *self._by_rule(), *map(str, self.estimates), *self._first()])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{count:,}</td><td>{escape(rule)}</td><td>{_MEANING[RULES[rule].severity]}</td>"
            f"<td>{escape(RULES[rule].why)}</td><td>{escape(RULES[rule].remedy)}</td></tr>"
            for rule, count in self._ordered()
        )
        head = "<tr><th>count</th><th>rule</th><th>severity</th><th>why</th><th>what to do</th></tr>"
        table = f"<table>{head}{rows}</table>" if rows else ""
        told = "".join(
            f"<li>{escape(line.strip())}</li>" for line in (*map(str, self.estimates), *self._first())
        )
        return f"<p>{escape(self._head())}</p>{table}" + (f"<ul>{told}</ul>" if told else "")

    def _head(self) -> str:
        rows = ", ".join(f"{split} {count:,} rows" for split, count in self.rows.items())
        verdict = "fit for training" if self.ok else "not fit for training as it is"
        return f"{self.name} ({rows}): {verdict}"

    def _ordered(self) -> list[tuple[str, int]]:
        """The counts: what stops the run first, then by number."""
        order = list(_MEANING)
        return sorted(self.counts.items(), key=lambda each: (order.index(RULES[each[0]].severity), -each[1]))

    def _by_rule(self) -> list[str]:
        if not self.counts:
            return []
        wide = max(len(f"{count:,}") for count in self.counts.values())
        longest = max(map(len, self.counts))
        return [
            f"{count:>{wide},}  {rule:<{longest}}  {_MEANING[RULES[rule].severity]:<18}  {RULES[rule].why}"
            for rule, count in self._ordered()
        ]

    def _first(self) -> list[str]:
        if not self.problems:
            return []
        shown = [f"  {problem.split}: {problem.place} ({problem.rule})" for problem in self.problems[:_SHOWN]]
        more = sum(self.counts.values()) - len(shown)
        return [*shown, f"  and {more:,} more"] if more > 0 else shown
