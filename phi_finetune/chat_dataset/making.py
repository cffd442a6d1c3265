"""Ways to make a data set."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import attrs

from phi_finetune.chat_dataset.column_rows import ColumnRows
from phi_finetune.chat_dataset.file_kinds import (
    ARROW,
    CSV,
    JSON_ARRAY,
    JSON_LINES,
    PARQUET,
    Kind,
    Paths,
    source_of,
    texts_of,
)
from phi_finetune.chat_dataset.forms import Droppable, FormName, RowFunction
from phi_finetune.chat_dataset.found import Source
from phi_finetune.chat_dataset.frame import frame_records
from phi_finetune.chat_dataset.line_rows import LineRows
from phi_finetune.chat_dataset.origin import Origin
from phi_finetune.chat_dataset.readers.arrow import ArrowTable
from phi_finetune.chat_dataset.readers.spool import Spool
from phi_finetune.chat_dataset.sources import FormChoice
from phi_finetune.chat_dataset.splits import SplitName, Splits

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Table

    from phi_finetune.protocols import Listener

__all__ = ["Making"]

T = TypeVar("T")
_SAMPLE: Final = Path(__file__).parent.parent / "samples" / "conversations.jsonl"


@attrs.frozen
class Making(Splits):
    """The constructors.

    Those for files and records take these too:

    ``form``: the form that rows are of, by its name, or a function that takes a row and gives
    ``{"messages": [...]}``. Without it the first 20 rows tell; preference data must be named.

    ``columns``: the names in the rows, where they differ from the form's:
    ``{"messages": "dialog", "role": "speaker", "content": "text"}``.

    ``drop``: what the form ``openai`` leaves out, where it would refuse the row: ``{"tools", "weights"}``.

    Making one reads nothing of the data. What is wrong with it, the first use tells.
    """

    @classmethod
    def from_jsonl(
        cls,
        train: Paths,
        validation: Paths | None = None,
        test: Paths | None = None,
        *,
        name: str | None = None,
        form: FormName | RowFunction | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Collection[Droppable] = (),
    ) -> Self:
        """Take files of JSON lines, such as ``{"messages": [{"role": "user", "content": "Hello"}, ...]}``.

        A byte order mark and blank lines are passed over. Keys that the form does not know are left out.

        Args:
            train: The files to train on: a path, a pattern, a folder, or several.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name; that of the train file without its ending, unless given.
            form: The rows' form, where the first 20 of them do not tell it.
            columns: Other names of the form's keys.
            drop: What the form ``openai`` is to leave out.
        """
        choice = FormChoice(form, columns, tuple(drop))
        return cls._of_files(_given(train, validation, test), name, JSON_LINES, choice)

    @classmethod
    def from_json(
        cls,
        train: Paths,
        validation: Paths | None = None,
        test: Paths | None = None,
        *,
        name: str | None = None,
        form: FormName | RowFunction | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Collection[Droppable] = (),
    ) -> Self:
        """Take files that each hold one JSON array of rows, or an object with such an array as its only list.

        Args:
            train: The files to train on: a path, a pattern, a folder, or several.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name; that of the train file without its ending, unless given.
            form: The rows' form, where the first 20 of them do not tell it.
            columns: Other names of the form's keys.
            drop: What the form ``openai`` is to leave out.
        """
        choice = FormChoice(form, columns, tuple(drop))
        return cls._of_files(_given(train, validation, test), name, JSON_ARRAY, choice)

    @classmethod
    def from_csv(
        cls,
        train: Paths,
        validation: Paths | None = None,
        test: Paths | None = None,
        *,
        name: str | None = None,
        form: FormName | RowFunction | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Collection[Droppable] = (),
        delimiter: str | None = None,
    ) -> Self:
        """Take tables of comma-separated values, or tab-separated where a name ends in ``.tsv``.

        A header names the columns. Cells of columns that hold lists, such as ``messages``, are read as JSON.

        Args:
            train: The files to train on: a path, a pattern, a folder, or several.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name; that of the train file without its ending, unless given.
            form: The rows' form, where the first 20 of them do not tell it.
            columns: Other names of the form's keys.
            drop: What the form ``openai`` is to leave out.
            delimiter: What stands between cells, if neither a comma nor, by the file's name, a tab.
        """
        choice = FormChoice(form, columns, tuple(drop))
        return cls._of_files(_given(train, validation, test), name, CSV.delimited(delimiter), choice)

    @classmethod
    def from_parquet(
        cls,
        train: Paths,
        validation: Paths | None = None,
        test: Paths | None = None,
        *,
        name: str | None = None,
        form: FormName | RowFunction | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Collection[Droppable] = (),
    ) -> Self:
        """Take parquet files; of the columns only those that the form needs are read.

        Args:
            train: The files to train on: a path, a pattern, a folder, or several.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name; that of the train file without its ending, unless given.
            form: The rows' form, where the first 20 of them do not tell it.
            columns: Other names of the form's keys.
            drop: What the form ``openai`` is to leave out.
        """
        choice = FormChoice(form, columns, tuple(drop))
        return cls._of_files(_given(train, validation, test), name, PARQUET, choice)

    @classmethod
    def from_arrow(
        cls,
        train: Table | Paths,
        validation: Table | Paths | None = None,
        test: Table | Paths | None = None,
        *,
        name: str | None = None,
        form: FormName | RowFunction | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Collection[Droppable] = (),
    ) -> Self:
        """Take tables of pyarrow's, or files of Arrow's IPC formats, which ``datasets`` keeps its cache in.

        Args:
            train: The table or the files to train on.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name; ``"table"``, or that of the train file without its ending, unless given.
            form: The rows' form, where the first 20 of them do not tell it.
            columns: Other names of the form's keys.
            drop: What the form ``openai`` is to leave out.
        """
        choice = FormChoice(form, columns, tuple(drop))
        given = _given(train, validation, test)
        if not any(hasattr(each, "to_batches") for each in given.values()):
            return cls._of_files(given, name, ARROW, choice)
        called = name or "table"
        return cls._of(
            {
                split: ColumnRows(
                    reader=ArrowTable(table, f"{called} ({split})"),
                    must_end_answered=split != "test",
                    choice=choice,
                )
                for split, table in given.items()
            },
            called,
        )

    @classmethod
    def from_records(
        cls,
        train: Iterable[Mapping[str, object]],
        validation: Iterable[Mapping[str, object]] | None = None,
        test: Iterable[Mapping[str, object]] | None = None,
        *,
        name: str = "records",
        form: FormName | RowFunction | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Collection[Droppable] = (),
    ) -> Self:
        """Take mappings from any iterable: a list, a generator, a ``datasets.Dataset``.

        An iterable is asked for each row once, when it is first wanted, so a generator will do; what it gave is kept
        in memory up to 8 MiB and in a temporary file beyond that. Changes to a list made later are not seen.

        Args:
            train: The conversations to train on.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name.
            form: The rows' form, where the first 20 of them do not tell it.
            columns: Other names of the form's keys.
            drop: What the form ``openai`` is to leave out.
        """
        choice = FormChoice(form, columns, tuple(drop))
        given = _given(train, validation, test)
        return cls._of(
            {
                split: LineRows(
                    reader=Spool(records, f"{name} ({split})"),
                    must_end_answered=split != "test",
                    choice=choice,
                )
                for split, records in given.items()
            },
            name,
        )

    @classmethod
    def from_pandas(
        cls,
        train: DataFrame,
        validation: DataFrame | None = None,
        test: DataFrame | None = None,
        *,
        name: str = "frame",
        form: FormName | RowFunction | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Collection[Droppable] = (),
    ) -> Self:
        """Take frames, such as one with a column ``messages`` of lists of ``{"role": ..., "content": ...}``.

        Arrays in place of lists will do, as pandas reads them from parquet; what is NaN is not there. A frame is read
        through once, as its rows are first wanted. Rows are counted from 1 by position, whatever the index is.

        Args:
            train: The conversations to train on.
            validation: Those to measure the loss on; without them the service splits off a part of ``train``.
            test: Those kept for trying the result.
            name: The data set's name.
            form: The rows' form, where the first 20 of them do not tell it.
            columns: Other names of the form's keys.
            drop: What the form ``openai`` is to leave out.
        """
        return cls.from_records(
            frame_records(train),
            None if validation is None else frame_records(validation),
            None if test is None else frame_records(test),
            name=name,
            form=form,
            columns=columns,
            drop=drop,
        )

    @classmethod
    def from_hub(
        cls,
        repo: str | os.PathLike[str],
        *,
        percent: float | None = None,
        rows: int | None = None,
        splits: Mapping[SplitName, str] | None = None,
        revision: str | None = None,
        token: str | None = None,
        name: str | None = None,
        form: FormName | RowFunction | None = None,
        columns: Mapping[str, str] | None = None,
        drop: Collection[Droppable] = (),
        on_event: Listener | None = None,
    ) -> Self:
        """Take a data set of the Hugging Face hub, or a folder laid out like one.

        The files of the splits wanted are fetched now, into the hub's cache, and of parquet only those that hold the
        rows wanted. ``HF_ENDPOINT`` names a mirror, ``HF_HUB_OFFLINE=1`` takes what the cache has, and the stored
        login signs in, as everywhere with huggingface_hub, whose own retries are the only ones.

        Args:
            repo: The data set's name, such as ``"HuggingFaceH4/ultrachat_200k"``, or a folder.
            percent: How much of each split to take from its start, above 0 and up to 100; rounded as ``datasets``
                rounds ``split="train[:5%]"``.
            rows: How many rows of each split to take from its start, in place of ``percent``.
            splits: What each split is called there: ``{"train": "train_sft"}``. Without it, train is the split of
                that name, or else ``train_sft``; likewise validation and test, where there are such.
            revision: A branch, a tag or a commit; the newest commit of the main branch, unless given.
            token: A token that may read the data set; the stored login, unless given.
            name: The data set's name; the last part of the repository's, unless given.
            form: The rows' form, where the first 20 of them do not tell it.
            columns: Other names of the form's keys.
            drop: What the form ``openai`` is to leave out.
            on_event: Hears of what was fetched, as :class:`~phi_finetune.events.DownloadProgress`.

        Raises:
            ConfigurationError: There is no such data set, folder or revision; it is private or gated and the token
                does not open it; or the cache cannot be written.
            InvalidData: A split cannot be made out, or a file of it is missing or is not what its name says.
            InvalidParameter: ``percent`` or ``rows`` is out of range, or both are given.
            ServiceUnreachable: The hub does not answer, or offline the cache has not all of it.
            ServiceError: The hub answered with another error.
            UnexpectedAnswer: What answered is no hub.
        """
        from phi_finetune.chat_dataset.hub import resolve
        from phi_finetune.chat_dataset.hub_rows import rows_of_split

        found = resolve(
            repo, splits=splits, revision=revision, token=token, percent=percent, rows=rows, on_event=on_event
        )
        choice = FormChoice(form, columns, tuple(drop))
        return cls._of(
            {
                ours: rows_of_split(split, choice, must_end_answered=ours != "test")
                for ours, split in found.splits.items()
            },
            name or Path(found.repo).name,
            Origin(found.repo, found.revision, found.license),
        )

    @classmethod
    def from_sample(cls) -> Self:
        """Take the sample that comes with this library: some 300 varied conversations in the train split."""
        return cls.from_jsonl(_SAMPLE, name="sample")

    @classmethod
    def _of(cls, sources: Mapping[SplitName, Source], name: str, origin: Origin | None = None) -> Self:
        return cls(
            name=name,
            train=sources["train"],
            validation=sources.get("validation"),
            test=sources.get("test"),
            origin=origin,
        )

    @classmethod
    def _of_files(
        cls, given: Mapping[SplitName, Paths], name: str | None, kind: Kind, choice: FormChoice
    ) -> Self:
        paths: dict[SplitName, tuple[str, ...]] = {split: texts_of(each) for split, each in given.items()}
        sources: dict[SplitName, Source] = {
            split: source_of(each, kind, choice, must_end_answered=split != "test")
            for split, each in paths.items()
        }
        origin = Origin(", ".join(Path(path).name for each in paths.values() for path in each))
        return cls._of(sources, name or Path(paths["train"][0]).stem, origin)


def _given(train: T, validation: T | None, test: T | None) -> dict[SplitName, T]:
    every: dict[SplitName, T | None] = {"train": train, "validation": validation, "test": test}
    return {split: each for split, each in every.items() if each is not None}
