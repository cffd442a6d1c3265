"""The measures of a data set, and how they show themselves: as a frame, a table and a picture."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from phi_finetune.chat_dataset.conversation import Role
from phi_finetune.chat_dataset.intervals import Figure
from phi_finetune.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture
    from pandas import DataFrame

__all__ = ["DatasetStats", "RoleStats", "SplitStats", "Spread"]


@attrs.frozen
class Spread:
    """How a number is spread over rows or turns.

    Attributes:
        mean: Its mean.
        p50: The median; 50 of 100 are at most this.
        p90: 90 of 100 are at most this.
        p99: 99 of 100 are at most this.
        max: The largest seen. Of turns and characters it is that of all rows; of tokens that of the sample and
            of the row with the most characters.
    """

    mean: Figure
    p50: float
    p90: float
    p99: float
    max: float


@attrs.frozen
class RoleStats:
    """What one role says in a split.

    Attributes:
        role: The role.
        turns: Its turns.
        characters: Its characters.
        tokens: Its tokens, without those that a chat template adds.
        turn_tokens: How long its turns are, in tokens.
    """

    role: Role
    turns: int
    characters: int
    tokens: Figure
    turn_tokens: Spread


@attrs.frozen
class SplitStats:
    """What one split comes to.

    Attributes:
        split: Its name.
        rows: Its conversations.
        turns: Their turns, system turns too.
        characters: What is said in all of them.
        looked_at: How many rows the tokens and the spreads come from; all, if it is ``rows``.
        tokens: All tokens; those that the model's chat template adds are in it where a model was given.
        row_turns: How many turns a row has.
        row_characters: How many characters a row has.
        row_tokens: How many tokens a row has.
        roles: The same by role.
        rows_too_long: The share of rows that are longer than ``max_seq_length``, and are cut; None without one.
        tokens_lost: The share of all tokens that lie past it.
        lengths: The tokens of each row looked at, sorted.
    """

    split: str
    rows: int
    turns: int
    characters: int
    looked_at: int
    tokens: Figure
    row_turns: Spread
    row_characters: Spread
    row_tokens: Spread
    roles: tuple[RoleStats, ...]
    rows_too_long: Figure | None
    tokens_lost: Figure | None
    lengths: tuple[float, ...] = attrs.field(repr=False)


_TITLES = ("split", "role", "rows", "turns", "characters", "tokens", "mean", "p50", "p90", "p99", "max")


@attrs.frozen
class DatasetStats:
    """What a data set comes to. Its ``str`` is a table for people; a notebook shows it as one.

    Attributes:
        splits: One for each split.
        model: The model whose chat template the rows were written out by; None without.
        max_seq_length: Where rows are cut, in tokens; None if nothing is told of it.
        token_error: How far token counts may be off as a whole, as a share; 0 if a tokenizer counted them. The
            intervals of tokens have it in them, the percentiles have not.
    """

    splits: tuple[SplitStats, ...]
    model: str | None
    max_seq_length: int | None
    token_error: float

    def __getitem__(self, split: str) -> SplitStats:
        """Give one split's measures; KeyError if there is no such split."""
        return {each.split: each for each in self.splits}[split]

    def to_frame(self) -> DataFrame:
        """As a pandas DataFrame: for each split a row for all roles together (``role`` is "all") and one a role.

        Its columns: ``split``, ``role``, ``rows``, ``turns``, ``characters``, ``tokens`` with ``tokens_low`` and
        ``tokens_high``; ``mean``, ``p50``, ``p90``, ``p99`` and ``max`` in tokens, of a row for all roles and of a
        turn for one; ``too_long`` and ``lost``, shares, with ``_low`` and ``_high``, for all roles only.
        """
        import pandas as pd

        return pd.DataFrame(list(self._records()))

    def plot(self) -> Picture:
        """A histogram of the rows' tokens, split by split, with ``max_seq_length`` marked.

        Raises:
            MissingDependency: matplotlib is not installed; it comes with the extra ``plot``.
        """
        try:
            from matplotlib.figure import Figure as Picture
        except ImportError:
            raise MissingDependency(
                "Plotting needs matplotlib", next_call='pip install "phi-finetune[plot]"'
            ) from None
        shown = [split for split in self.splits if split.lengths]
        picture = Picture(figsize=(7, 0.6 + 2.4 * max(1, len(shown))), layout="constrained")
        # One scale for all splits; the longest row would squeeze all others into one bar.
        end = max([split.row_tokens.p99 * 1.15 for split in shown], default=1.0)
        rows = picture.subplots(max(1, len(shown)), squeeze=False)[:, 0]
        for axes, split in zip(rows, shown, strict=False):  # one empty picture where there is no row
            beyond = sum(length > end for length in split.lengths)
            shares = [1 / len(split.lengths)] * len(split.lengths)
            axes.hist([min(length, end) for length in split.lengths], bins=50, range=(0, end), weights=shares)
            title = f"{split.split}: {split.rows:,} rows, median {split.row_tokens.p50:,.0f} tokens"
            if beyond:
                title += f"; the last bar holds {beyond / len(split.lengths):.1%} up to {split.row_tokens.max:,.0f}"
            axes.set_title(title, fontsize="medium")
            if self.max_seq_length is not None and self.max_seq_length <= end and split.rows_too_long:
                label = f"max_seq_length {self.max_seq_length:,}: {split.rows_too_long.value:.1%} are longer"
                axes.axvline(self.max_seq_length, color="tab:red", linestyle="--", label=label)
                axes.legend()
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
            axes.set_ylabel("share of rows")
            axes.set_xlabel("tokens a row" if not self.token_error else "tokens a row (estimated)")
        return picture

    def __str__(self) -> str:
        table = [list(_TITLES), *self._cells()]
        widths = [max(len(row[at]) for row in table) for at in range(len(_TITLES))]
        lines = [
            "  ".join(
                cell.ljust(width) if at < 2 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        return "\n".join([*lines, "", *self._notes()])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in _TITLES)
        rows = "".join(f"<tr>{_html_cells(row)}</tr>" for row in self._cells())
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self._notes())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><ul>{notes}</ul>"

    def _records(self) -> Iterator[dict[str, object]]:
        for split in self.splits:
            yield {
                "split": split.split,
                "role": "all",
                "rows": split.rows,
                "turns": split.turns,
                "characters": split.characters,
                **_columns("tokens", split.tokens),
                **_spread(split.row_tokens),
                **_columns("too_long", split.rows_too_long),
                **_columns("lost", split.tokens_lost),
            }
            for role in split.roles:
                yield {
                    "split": split.split,
                    "role": role.role,
                    "rows": split.rows,
                    "turns": role.turns,
                    "characters": role.characters,
                    **_columns("tokens", role.tokens),
                    **_spread(role.turn_tokens),
                    **_columns("too_long", None),
                    **_columns("lost", None),
                }

    def _cells(self) -> Iterator[list[str]]:
        for record in self._records():
            texts = [str(record[title]) for title in _TITLES[:2]]
            numbers = [f"{record[title]:,.0f}" for title in _TITLES[2:]]
            about = "" if record["tokens_low"] == record["tokens_high"] else "~"
            numbers[3] = about + numbers[3]
            yield [*texts, *numbers]

    def _notes(self) -> Iterator[str]:
        of = f" as {self.model} reads them" if self.model else ", without those that a chat template adds"
        yield f"Mean to max are tokens{of}: of a row for all, of a turn for one role."
        for split in self.splits:
            if split.rows_too_long is not None and split.tokens_lost is not None:
                yield (
                    f"{split.split}: {_percent(split.rows_too_long)} of the rows are longer than max_seq_length = "
                    f"{self.max_seq_length:,}; {_percent(split.tokens_lost)} of the tokens are lost."
                )
            if split.looked_at < split.rows:
                yield f"{split.split}: tokens and spreads are from {split.looked_at:,} rows drawn at random."
        if self.token_error:
            yield f"No tokenizer was given: tokens are estimates, as a whole within {self.token_error:.0%}."


def _html_cells(row: list[str]) -> str:
    words = "".join(f"<td>{html.escape(cell)}</td>" for cell in row[:2])
    return words + "".join(f'<td style="text-align:right">{html.escape(cell)}</td>' for cell in row[2:])


def _columns(name: str, figure: Figure | None) -> dict[str, float]:
    if figure is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _spread(spread: Spread) -> dict[str, float]:
    return {
        "mean": spread.mean.value,
        "p50": spread.p50,
        "p90": spread.p90,
        "p99": spread.p99,
        "max": spread.max,
    }


def _percent(figure: Figure) -> str:
    if figure.exact:
        return f"{figure.value:.1%}"
    return f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%})"
