"""Rows put into batches: padded to the longest of their batch, with rows of about one length together."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from phi_finetune.local.preprocess import IGNORED, Rows

__all__ = ["Filled", "LengthGrouped", "Padding"]

_GROUPED_BATCHES: Final = 50
"""Batches whose rows are sorted among themselves; more would save little padding, and be less of a shuffle."""


@attrs.frozen
class Padding:
    """Makes a batch of rows.

    Attributes:
        pad_id: The token that is padded with; it is masked, so which one makes no difference.
        multiple: The width is rounded up to a multiple of it.
        width: The width of every batch; None for that of its longest row.
    """

    pad_id: int
    multiple: int = 1
    width: int | None = None

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        """Make a batch: ids, labels and attention mask as tensors, padded on the right."""
        import torch

        longest = self.width or max(len(row["input_ids"]) for row in rows)
        width = -(-longest // self.multiple) * self.multiple
        shape = (len(rows), width)
        ids, labels = torch.full(shape, self.pad_id), torch.full(shape, IGNORED)
        attention = torch.zeros(shape, dtype=torch.long)
        for place, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[place, :length] = torch.tensor(row["input_ids"])
            labels[place, :length] = torch.tensor(row["labels"])
            attention[place, :length] = 1
        return {"input_ids": ids, "labels": labels, "attention_mask": attention}


@attrs.frozen
class Filled:
    """Rows, and after the last one an empty one, that nothing is learned from.

    Processes that train together must have as many batches each; what is too few in the last ones are empty rows, so
    that no row is learned twice.

    Attributes:
        rows: The rows.
    """

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        return {"input_ids": [0], "labels": [IGNORED]} if number == len(self.rows) else self.rows[number]


class LengthGrouped:
    """The order of an epoch: shuffled, then sorted by length within stretches, then the batches shuffled.

    The order depends on the seed and the epoch alone, so that a training that is resumed goes on with the rows that
    it had not seen.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int, multiple: int = 1) -> None:
        """Take the rows' lengths.

        Args:
            lengths: Tokens of each row.
            batch_size: Rows of an optimiser's step.
            seed: Seed of the order.
            multiple: The order is filled up to a multiple of it, with the number after the last row's
                (:class:`Filled`).
        """
        self._filling = -len(lengths) % multiple
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch's order is asked for."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths) + self._filling

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self._seed} {self._epoch}")
        order = list(range(len(self._lengths)))
        draw.shuffle(order)
        # At least four stretches, or an epoch of few rows would always have the same batches.
        stretch = self._batch_size * max(1, min(_GROUPED_BATCHES, len(order) // (self._batch_size * 4)))
        for start in range(0, len(order), stretch):
            order[start : start + stretch] = sorted(
                order[start : start + stretch], key=self._lengths.__getitem__
            )
        batches = [
            order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)
        ]
        last = batches.pop() if len(batches[-1]) < self._batch_size else []
        draw.shuffle(batches)
        yield from (number for batch in [*batches, last] for number in batch)
        yield from [len(order)] * self._filling
