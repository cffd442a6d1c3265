"""Ways to make a data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import attrs

from phi_finetune.chat_dataset.frame import frame_records
from phi_finetune.chat_dataset.origin import Origin
from phi_finetune.chat_dataset.readers.json_lines import JsonLines, JsonLinesRows
from phi_finetune.chat_dataset.readers.spool import Spool
from phi_finetune.chat_dataset.splits import Splits

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Making"]

_SAMPLE: Final = Path(__file__).parent.parent / "samples" / "conversations.jsonl"


@attrs.frozen
class Making(Splits):
    """The constructors that take files, frames and records."""

    @classmethod
    def from_jsonl(
        cls,
        train: str | os.PathLike[str],
        validation: str | os.PathLike[str] | None = None,
        test: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
    ) -> Self:
        """Take files of JSON lines: ``{"messages": [{"role": "user", "content": "Hello"}, ...]}`` on each.

        Other keys are left out. A byte order mark and blank lines are passed over.

        Args:
            train: The file to train on.
            validation: The file to measure the loss on; without one the service splits off a part of
                ``train``.
            test: The file kept for trying the result.
            name: The data set's name; the train file's name without its ending, unless given.
        """
        return cls(
            name=Path(train).stem if name is None else name,
            train=_json_lines(train, must_end_answered=True),
            validation=None if validation is None else _json_lines(validation, must_end_answered=True),
            test=None if test is None else _json_lines(test, must_end_answered=False),
            origin=Origin(
                ", ".join(Path(path).name for path in (train, validation, test) if path is not None)
            ),
        )

    @classmethod
    def from_records(
        cls,
        train: Iterable[Mapping[str, object]],
        validation: Iterable[Mapping[str, object]] | None = None,
        test: Iterable[Mapping[str, object]] | None = None,
        *,
        name: str = "records",
    ) -> Self:
        """Take mappings with ``messages``, from any iterable.

        An iterable is read through once, when its split is first used, so a generator will do; what it gave
        is kept in memory up to 8 MiB and in a temporary file beyond that. Changes to a list made later are
        not seen.

        Args:
            train: The conversations to train on.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name.
        """
        return cls(
            name=name,
            train=_spooled(train, f"{name} (train)", must_end_answered=True),
            validation=_optional(validation, f"{name} (validation)", must_end_answered=True),
            test=_optional(test, f"{name} (test)", must_end_answered=False),
        )

    @classmethod
    def from_pandas(
        cls,
        train: DataFrame,
        validation: DataFrame | None = None,
        test: DataFrame | None = None,
        *,
        name: str = "frame",
    ) -> Self:
        """Take frames with a column ``messages`` that holds lists of ``{"role": ..., "content": ...}``.

        Arrays in place of lists will do, as pandas reads them from parquet. A frame is read through once,
        when its split is first used. Rows are counted from 1 by position, whatever the index is.

        Args:
            train: The conversations to train on.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name.

        Raises:
            InvalidData: A frame has no such column.
        """
        return cls.from_records(
            frame_records(train, f"{name} (train)"),
            None if validation is None else frame_records(validation, f"{name} (validation)"),
            None if test is None else frame_records(test, f"{name} (test)"),
            name=name,
        )

    @classmethod
    def from_sample(cls) -> Self:
        """Take the sample that comes with this library: some 300 varied conversations in the train split."""
        return cls.from_jsonl(_SAMPLE, name="sample")


def _json_lines(path: str | os.PathLike[str], *, must_end_answered: bool) -> JsonLinesRows:
    return JsonLinesRows(reader=JsonLines(Path(path)), must_end_answered=must_end_answered)


def _spooled(records: Iterable[object], label: str, *, must_end_answered: bool) -> JsonLinesRows:
    return JsonLinesRows(reader=Spool(records, label), must_end_answered=must_end_answered)


def _optional(
    records: Iterable[object] | None, label: str, *, must_end_answered: bool
) -> JsonLinesRows | None:
    return None if records is None else _spooled(records, label, must_end_answered=must_end_answered)
