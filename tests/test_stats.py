"""Measures of a data set: exact for a small one, and with honest intervals for a sample."""

from __future__ import annotations

import random
import statistics
import sys
import tracemalloc
from collections.abc import Iterator

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizer import tiny

from phi_finetune import ChatDataset, Conversation, Message
from phi_finetune.catalog import chat_templates
from phi_finetune.chat_dataset import sample_conversations
from phi_finetune.chat_dataset.intervals import Figure, mean, percentile, ratio, share
from phi_finetune.chat_dataset.stats import stats, turns_of_blocks, turns_of_rows
from phi_finetune.chat_dataset.stats_views import DatasetStats
from phi_finetune.errors import InvalidParameter, MissingDependency

ROWS = sample_conversations()
PHI_4 = chat_templates.get("Phi-4")


def count(text: str) -> int:
    """The tiny tokenizer's count."""
    return len(tiny().encode(text, add_special_tokens=False).ids)


def letters(text: str) -> list[int]:
    """A tokenizer whose tokens are characters."""
    return [ord(letter) for letter in text]


def made(rows: int, seed: int = 0) -> Iterator[Conversation]:
    """Rows of very different lengths, made one at a time."""
    number = random.Random(seed)
    for _ in range(rows):
        length = int(number.lognormvariate(4, 1)) + 1
        yield Conversation((Message("user", "q" * 10), Message("assistant", "a" * length)))


def lengths(rows: int, seed: int = 0) -> list[int]:
    """The characters of those rows."""
    return [sum(len(turn.content) for turn in row.messages) for row in made(rows, seed)]


# A small set is measured exactly


@pytest.fixture(scope="module")
def measured() -> DatasetStats:
    """The sample, as Phi-4 reads it."""
    return stats({"train": turns_of_rows(ROWS)}, model="Phi-4", tokenizer=tiny(), max_seq_length=300)


def test_it_agrees_with_pandas(measured: DatasetStats) -> None:
    """Counts, means, percentiles, the longest, and what is cut off, all computed anew."""
    split = measured["train"]
    tokens = pandas.Series([count(PHI_4.render(row.messages)) for row in ROWS])
    said = pandas.Series([sum(len(turn.content) for turn in row.messages) for row in ROWS])
    turns = pandas.Series([len(row.messages) for row in ROWS])
    assert (split.rows, split.turns, split.characters) == (len(ROWS), turns.sum(), said.sum())
    assert split.looked_at == len(ROWS)
    for spread, series in (
        (split.row_tokens, tokens),
        (split.row_characters, said),
        (split.row_turns, turns),
    ):
        assert spread.mean.value == pytest.approx(series.mean())
        assert spread.mean.exact
        found = (spread.p50, spread.p90, spread.p99, spread.max)
        assert found == pytest.approx((*series.quantile([0.5, 0.9, 0.99]), series.max()))
    assert split.tokens.value == pytest.approx(tokens.sum())
    assert split.rows_too_long is not None
    assert split.tokens_lost is not None
    assert split.rows_too_long.value == pytest.approx((tokens > 300).mean())
    assert 0 < split.rows_too_long.value < 1
    assert split.tokens_lost.value == pytest.approx((tokens - 300).clip(lower=0).sum() / tokens.sum())
    assert split.tokens_lost.exact
    assert measured.token_error == 0


def test_roles_are_told_apart(measured: DatasetStats) -> None:
    """Each role's turns and tokens, of what it says alone."""
    frame = pandas.DataFrame(
        [(turn.role, len(turn.content), count(turn.content)) for row in ROWS for turn in row.messages],
        columns=["role", "characters", "tokens"],
    )
    assert [role.role for role in measured["train"].roles] == ["system", "user", "assistant"]
    for role in measured["train"].roles:
        own = frame[frame.role == role.role]
        assert (role.turns, role.characters) == (len(own), own.characters.sum())
        assert role.tokens.value == pytest.approx(own.tokens.sum())
        assert role.turn_tokens.p90 == pytest.approx(own.tokens.quantile(0.9))
        assert role.turn_tokens.max == own.tokens.max()


def test_without_a_model_tokens_are_of_what_is_said() -> None:
    """Nothing is added, and nothing told of cuts."""
    split = stats({"train": turns_of_rows(ROWS)}, tokenizer=tiny())["train"]
    assert split.tokens.value == pytest.approx(
        sum(count(turn.content) for row in ROWS for turn in row.messages)
    )
    assert split.rows_too_long is None
    assert split.tokens_lost is None


def test_blocks_of_lines_are_as_good_as_rows() -> None:
    """The same figures, from JSON lines in blocks of any size."""
    lines = list(ChatDataset.from_sample().lines())
    blocks = [b"".join(lines[at : at + 7]) for at in range(0, len(lines), 7)]
    assert stats({"a": turns_of_blocks(blocks)}) == stats({"a": turns_of_rows(ROWS)})


def test_a_split_without_rows() -> None:
    """Everything is 0; nothing fails, and it can be shown."""
    empty = stats({"train": []}, model="Phi-4")
    assert empty["train"].rows == 0
    assert empty["train"].row_tokens.p99 == 0
    assert str(empty)
    assert empty.plot()


def test_estimates_are_called_so() -> None:
    """Without a tokenizer each interval has the estimate's own error in it."""
    guessed = stats({"train": turns_of_rows(ROWS)}, model="Phi-4", max_seq_length=100)
    split = guessed["train"]
    assert guessed.token_error == 0.15
    assert not split.tokens.exact
    assert split.tokens.low == pytest.approx(split.tokens.value * 0.85)
    assert split.rows_too_long is not None
    assert split.rows_too_long.low < split.rows_too_long.value < split.rows_too_long.high
    assert "tokens are estimates" in str(guessed)


# A large set is sampled


def test_a_sample_is_drawn_in_one_pass() -> None:
    """A generator is read once; what is counted of all rows stays exact, and the longest row is looked at."""
    whole = lengths(3000)
    split = stats({"train": turns_of_rows(made(3000))}, tokenizer=letters, sample=200)["train"]
    assert (split.rows, split.looked_at, len(split.lengths)) == (3000, 200, 200)
    assert split.characters == sum(whole)
    assert split.row_tokens.max == split.row_characters.max == max(whole)
    # Tokens are characters here, so the ratio of the two knows all of them.
    assert split.tokens.value == pytest.approx(sum(whole))


def test_a_sample_is_the_same_each_time() -> None:
    """By its seed."""

    def drawn(seed: int) -> tuple[float, ...]:
        return stats({"a": turns_of_rows(made(1000))}, sample=50, seed=seed)["a"].lengths

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_every_row_is_as_likely_to_be_looked_at() -> None:
    """The first rows, the last and those between; each is drawn in a tenth of the draws."""
    rows = [Conversation((Message("user", "u" * (at + 1)),)) for at in range(100)]
    drawn = numpy.zeros(101)
    for seed in range(600):
        split = stats({"a": turns_of_rows(rows)}, tokenizer=letters, sample=10, seed=seed)["a"]
        for length in split.lengths:
            drawn[int(length)] += 1
    assert drawn.sum() == 6000
    spread = ((drawn[1:] - 60) ** 2 / 54).sum()  # chi-squared, 99 degrees of freedom: mean 99, deviation 14
    assert 50 < spread < 150


def test_intervals_hold_the_true_figure() -> None:
    """About 95 of 100 do: of the mean, the share that is too long and the share that is lost."""
    whole = numpy.array(lengths(1000))
    limit = 100
    truth = (whole.mean(), (whole > limit).mean(), (whole - limit).clip(0).sum() / whole.sum())
    held = numpy.zeros(3)
    rows = list(made(1000))
    for seed in range(150):
        split = stats(
            {"a": turns_of_rows(rows)}, tokenizer=letters, max_seq_length=limit, sample=200, seed=seed
        )["a"]
        assert split.rows_too_long is not None
        assert split.tokens_lost is not None
        figures = (split.row_tokens.mean, split.rows_too_long, split.tokens_lost)
        held += [figure.low <= true <= figure.high for figure, true in zip(figures, truth, strict=True)]
    assert all(held >= 0.9 * 150), held
    assert all(held <= 150)


def test_memory_does_not_grow_with_the_rows() -> None:
    """Ten times the rows take what a tenth of them takes."""

    def peak(rows: int) -> int:
        tracemalloc.start()
        stats({"train": turns_of_rows(made(rows))}, sample=100)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(100)
    assert peak(10_000) < 1.5 * peak(1_000)


@pytest.mark.parametrize(("option", "value"), [("sample", 1), ("sample", 0), ("max_seq_length", 0)])
def test_options_out_of_range(option: str, value: int) -> None:
    """They are refused before anything is read."""
    with pytest.raises(InvalidParameter) as caught:
        stats({"train": turns_of_rows(iter(()))}, **{option: value})  # type: ignore[arg-type]
    assert caught.value.name == option


# The figures


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[int], below: float) -> None:
    """By the same rule between two values."""
    assert percentile(sorted(values), below) == pytest.approx(numpy.quantile(values, below))


def test_figures_of_all_rows_are_exact() -> None:
    """No interval where nothing is left to guess."""
    assert mean([1, 2, 6], 3) == Figure(3, 3, 3)
    assert share(1, 4, 4) == Figure(0.25, 0.25, 0.25)
    assert ratio([1, 1], [4, 4], 2) == Figure(0.25, 0.25, 0.25)


def test_figures_of_a_sample_have_the_usual_intervals() -> None:
    """The textbook's, for a whole so large that the sample takes nothing of it."""
    values = [3.0, 5.0, 10.0, 12.0]
    figure = mean(values, 10**12)
    assert figure.high - figure.value == pytest.approx(1.96 * statistics.stdev(values) / 2, rel=1e-4)
    assert share(0, 100, 10**12).high == pytest.approx(0.0370, abs=1e-4)  # Wilson, 0 of 100
    assert share(50, 100, 10**12).low == pytest.approx(0.4038, abs=1e-4)
    assert share(0, 100, 101).high < 0.01
    lost = ratio([0, 0, 0, 4], [10, 10, 10, 10], 10**12)
    assert lost.low < lost.value == 0.1 < lost.high
    assert ratio([0] * 100, [10] * 100, 10**12) == Figure(0, 0, share(0, 100, 10**12).high)


# What people see


def test_the_frame_has_a_row_for_all_and_one_a_role(measured: DatasetStats) -> None:
    """Numbers, not texts."""
    frame = measured.to_frame()
    assert list(frame.role) == ["all", "system", "user", "assistant"]
    assert frame.tokens[0] == measured["train"].tokens.value
    assert frame.too_long.notna().tolist() == [True, False, False, False]
    assert {"tokens_low", "tokens_high", "mean", "p50", "p90", "p99", "max", "lost_high"} <= set(
        frame.columns
    )


def test_the_table_is_aligned() -> None:
    """Every number ends where its column's heading does; what is sampled and what is cut is told below."""
    shown = stats(
        {"train": turns_of_rows(made(500)), "a": turns_of_rows(made(3))},
        tokenizer=letters,
        max_seq_length=100,
        sample=50,
    )
    table, _, notes = str(shown).partition("\n\n")
    heading, *rows = table.splitlines()
    assert heading.split()[:3] == ["split", "role", "rows"]
    assert {len(row) for row in rows} == {len(heading)}
    assert "train: tokens and spreads are from 50 rows drawn at random." in notes
    assert "of the rows are longer than max_seq_length = 100" in notes
    assert " to " in notes


def test_the_html_is_escaped(measured: DatasetStats) -> None:
    """A split's name is data."""
    page = stats({"<b>": turns_of_rows(made(3))})._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert measured._repr_html_().count("<tr>") == 5


def test_the_picture(measured: DatasetStats) -> None:
    """All rows are in it, and the cut is marked with the share of rows past it."""
    picture = measured.plot()
    (axes,) = picture.axes
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1)  # type: ignore[attr-defined]
    (line,) = axes.lines
    assert line.get_xdata()[0] == 300  # type: ignore[index]
    split = measured["train"]
    assert split.rows_too_long is not None
    assert f"{split.rows_too_long.value:.1%} are longer" in str(line.get_label())
    assert len(stats({"a": turns_of_rows(made(9)), "b": turns_of_rows(made(9))}).plot().axes) == 2


def test_without_matplotlib_the_extra_is_named(
    measured: DatasetStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for metrics."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match=r"phi-finetune\[plot\]"):
        measured.plot()
