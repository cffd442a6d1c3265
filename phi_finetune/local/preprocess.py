"""Rows of chat data as token ids and labels on disk, with a count of what was cut and what was left out.

A split is three flat files, so that training reads what it needs and no more: ``NAME.ids`` and ``NAME.labels``
(int32, one number a token; -100 is not trained on) and ``NAME.rows`` (int64, where each row begins, and the end).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from phi_finetune.chat_dataset import LEAST_TRAINING_ROWS, Conversation
from phi_finetune.errors import InvalidData, InvalidParameter
from phi_finetune.local._files import write_json
from phi_finetune.local.templates import Form, form_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "IGNORED",
    "Counts",
    "Rows",
    "encode",
    "nothing_left",
    "prepare",
    "read_conversations",
    "row_limit",
    "split_rows",
]

IGNORED: Final = -100
"""The label of a token that is not trained on."""

_UNLIMITED: Final = 10**9


@attrs.define
class Counts:
    """What became of a split's rows.

    Attributes:
        rows: Rows read.
        kept: Rows that are trained on or evaluated.
        tokens: Tokens of the rows kept.
        trained_tokens: Those of them that the assistant says, with the ends of its turns.
        truncated: Rows that were longer than the limit, and were cut.
        lost_tokens: Tokens cut off, those of the rows that were then dropped included.
        lost_trained_tokens: Those of them that would have been trained on.
        unfinished: Rows kept whose last answer was cut, so that the model does not see it end.
        dropped_without_answer: Rows in which the assistant says nothing; they were left out.
        dropped_by_cut: Rows of which the cut left no token to train on; they were left out.
        system_left_out: Rows whose system turn the template leaves out.
        straddling: Answers whose first token has a part of the prompt in it, and so is not trained on.
    """

    rows: int = 0
    kept: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    truncated: int = 0
    lost_tokens: int = 0
    lost_trained_tokens: int = 0
    unfinished: int = 0
    dropped_without_answer: int = 0
    dropped_by_cut: int = 0
    system_left_out: int = 0
    straddling: int = 0

    def lines(self) -> list[str]:
        """The counts as lines for a log; what did not happen is left out."""
        always = (
            f"{self.kept} of {self.rows} rows kept: {self.tokens} tokens, {self.trained_tokens} trained on",
        )
        told = {
            f"{self.truncated} rows were longer than the limit and were cut: {self.lost_tokens} tokens lost, "
            f"{self.lost_trained_tokens} of them the assistant's": self.truncated,
            f"{self.unfinished} rows no longer have the end of their last answer": self.unfinished,
            f"{self.dropped_without_answer} rows have no answer and were left out": self.dropped_without_answer,
            f"{self.dropped_by_cut} rows lost all answers by the cut and were left out": self.dropped_by_cut,
            f"{self.system_left_out} rows have a system turn, which the model's template leaves out": (
                self.system_left_out
            ),
            f"{self.straddling} answers begin within a token of the prompt": self.straddling,
        }
        return [*always, *(line for line, count in told.items() if count)]


@attrs.frozen
class Rows:
    """A prepared split, read from its files when asked for a row.

    Attributes:
        ids: The token ids of all rows, one after the other.
        labels: Their labels.
        starts: Where each row begins, and the end.
    """

    ids: NDArray[np.int32] = attrs.field(repr=False, eq=False)
    labels: NDArray[np.int32] = attrs.field(repr=False, eq=False)
    starts: NDArray[np.int64] = attrs.field(repr=False, eq=False)

    @classmethod
    def read(cls, folder: Path, name: str) -> Rows:
        """Open a split that :func:`prepare` wrote.

        Raises:
            OSError: It is not there.
        """
        import numpy as np

        ids, labels = (_array(folder / f"{name}.{kind}") for kind in ("ids", "labels"))
        return cls(ids, labels, np.fromfile(folder / f"{name}.rows", dtype=np.int64))

    def __len__(self) -> int:
        return max(len(self.starts) - 1, 0)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, end = self.starts[number], self.starts[number + 1]
        return {"input_ids": self.ids[start:end].tolist(), "labels": self.labels[start:end].tolist()}

    def lengths(self) -> list[int]:
        """The tokens of each row."""
        lengths: list[int] = (self.starts[1:] - self.starts[:-1]).tolist()
        return lengths


def _array(path: Path) -> NDArray[np.int32]:
    import numpy as np

    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype=np.int32)
    return np.memmap(path, dtype=np.int32, mode="r")


def read_conversations(path: Path) -> Iterator[Conversation]:
    """The conversations of a file of JSON lines, or of one JSON array, as the service takes them.

    Raises:
        InvalidData: A row is no conversation; the error names the line.
        OSError: It cannot be read.
    """
    with path.open(encoding="utf-8-sig") as file:
        first = file.read(1)
        file.seek(0)
        rows = enumerate(json.load(file), start=1) if first == "[" else _json_lines(path.name, file)
        for number, record in rows:
            try:
                yield Conversation.from_record(record)
            except InvalidData as error:
                raise InvalidData(
                    error.what, file=path.name, row=number, path=error.path, rule=error.rule, why=error.why
                ) from None


def _json_lines(name: str, lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            raise InvalidData("A line is not JSON", file=name, row=number, rule="not-json") from None


def split_rows(given: Mapping[str, Sequence[Conversation]]) -> dict[str, Sequence[Conversation]]:
    """The rows of each split, where those that were not given come from the training rows.

    As the service does it (pain.md G1): without validation or test rows the last fifth of the training rows stands in
    for what is missing, and is not trained on.

    Args:
        given: ``train`` and, where given, ``validation`` and ``test``.

    Raises:
        InvalidData: There are too few rows to train on.
    """
    train = given["train"]
    has_validation, has_test = "validation" in given, "test" in given
    if not (has_validation and has_test):
        end = round(len(train) * 0.8)
        middle = len(train) if has_test else round(len(train) * 0.9)
        given = {
            "train": train[:end],
            "validation": given.get("validation", train[end:middle]),
            "test": given.get("test", train[end if has_validation else middle :]),
        }
    if len(given["train"]) < LEAST_TRAINING_ROWS:
        raise InvalidData(
            f"{len(given['train'])} rows are left to train on",
            why=f"the service refuses fewer than {LEAST_TRAINING_ROWS}",
            rule="too-few-rows",
            next_call="give more rows, or validation and test rows of their own",
        )
    return dict(given)


def row_limit(max_seq_length: int, context_length: int) -> int:
    """The most tokens of a row: the parameter, or the model's context where that is -1.

    Raises:
        InvalidParameter: The parameter is more than the model's context.
    """
    if max_seq_length > context_length:
        raise InvalidParameter(
            f"max_seq_length={max_seq_length} is longer than the model's context",
            name="max_seq_length",
            value=max_seq_length,
            allowed=f"-1, or from 1 up to {context_length}",
            next_call=f"with_parameters(max_seq_length={context_length})",
        )
    return context_length if max_seq_length == -1 else max_seq_length


def prepare(
    conversations: Iterable[Conversation],
    tokenizer: Any,
    folder: Path,
    name: str,
    *,
    limit: int | None = None,
    batch_size: int = 1000,
) -> Counts:
    """Write a split's ids and labels.

    Args:
        conversations: The rows; they are taken ``batch_size`` at a time, never all at once.
        tokenizer: The model's tokenizer of transformers, with its chat template.
        folder: Where the files go.
        name: The split's name, and that of its files.
        limit: The most tokens of a row; what is beyond is cut off. Default: no limit.
        batch_size: Rows that are tokenised at a time.

    Raises:
        InvalidData: The template cannot write a row, or no row has an answer to train on.
        InvalidParameter: The template cannot be trained with.
    """
    import numpy as np

    form, counts, starts = form_of(tokenizer), Counts(), [0]
    folder.mkdir(parents=True, exist_ok=True)
    rows = iter(conversations)
    with (folder / f"{name}.ids").open("wb") as ids, (folder / f"{name}.labels").open("wb") as labels:
        while batch := list(islice(rows, batch_size)):
            for row_ids, row_labels in encode(batch, tokenizer, form, limit or _UNLIMITED, counts):
                ids.write(np.asarray(row_ids, dtype=np.int32).tobytes())
                labels.write(np.asarray(row_labels, dtype=np.int32).tobytes())
                starts.append(starts[-1] + len(row_ids))
    np.asarray(starts, dtype=np.int64).tofile(folder / f"{name}.rows")
    write_json(folder / f"{name}.counts.json", attrs.asdict(counts))
    if counts.rows and not counts.kept:
        raise nothing_left(counts, name)
    return counts


def nothing_left(counts: Counts, name: str) -> InvalidData:
    """The error of a split no row of which can be trained on."""
    return InvalidData(
        "No row has an answer of the assistant to train on",
        why="; ".join(counts.lines()[1:]),
        file=name,
        rule="no-assistant",
        next_call="raise max_seq_length"
        if counts.dropped_by_cut
        else "give rows in which the assistant answers",
    )


def encode(
    batch: Sequence[Conversation], tokenizer: Any, form: Form, limit: int, counts: Counts
) -> Iterator[tuple[list[int], list[int]]]:
    """The ids and labels of conversations, counted.

    Args:
        batch: The conversations.
        tokenizer: The model's tokenizer.
        form: How it wants them written.
        limit: The most tokens of a row.
        counts: What became of the rows is added to it.

    Raises:
        InvalidData: The template cannot write a row.
    """
    counts.rows += len(batch)
    answered = [row for row in batch if any(turn.role == "assistant" for turn in row.messages)]
    counts.dropped_without_answer += len(batch) - len(answered)
    if not answered:
        return
    marked = [form.mark(row.messages) for row in answered]
    counts.system_left_out += sum(row.system_left_out for row in marked)
    encoded = tokenizer(
        [row.text for row in marked],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    for row, ids, places in zip(marked, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        labels = [IGNORED] * len(ids)
        for span in row.spans:
            first = _first_token(places, span.start)
            if first and places[first - 1][1] > span.start:
                counts.straddling += 1
            for number in range(first, _first_token(places, span.end)):
                labels[number] = ids[number]
        yield from _cut(ids, labels, limit, counts)


def _first_token(places: Sequence[tuple[int, int]], character: int) -> int:
    """The first token that begins at a character or after it."""
    import bisect

    return bisect.bisect_left(places, character, key=lambda place: place[0])


def _cut(
    ids: Sequence[int], labels: Sequence[int], limit: int, counts: Counts
) -> Iterator[tuple[list[int], list[int]]]:
    kept_ids, kept_labels = list(ids[:limit]), [IGNORED, *labels[1:limit]]
    if len(ids) > limit:
        lost = sum(label != IGNORED for label in labels[limit:])
        counts.truncated += 1
        counts.lost_tokens += len(ids) - limit
        counts.lost_trained_tokens += lost
    # The first token has nothing before it to be foretold from, so its label is never trained on.
    trained = sum(label != IGNORED for label in kept_labels)
    if not trained:
        counts.dropped_by_cut += 1
        return
    counts.unfinished += len(ids) > limit and labels[limit] != IGNORED and kept_labels[-1] != IGNORED
    counts.kept += 1
    counts.tokens += len(kept_ids)
    counts.trained_tokens += trained
    yield kept_ids, kept_labels
