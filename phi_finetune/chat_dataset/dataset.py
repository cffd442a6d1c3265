"""Chat data in splits, read a row at a time and never held whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from phi_finetune.chat_dataset.conversation import Conversation, canonical_line
from phi_finetune.chat_dataset.draw import Draw, Source
from phi_finetune.chat_dataset.frame import frame_records, preview_frame
from phi_finetune.chat_dataset.json_lines import JsonLines
from phi_finetune.chat_dataset.rules import Fault
from phi_finetune.chat_dataset.split_info import SplitInfo, measure
from phi_finetune.chat_dataset.spool import Spool
from phi_finetune.chat_dataset.tail import Tail
from phi_finetune.chat_dataset.writing import check_not_read, write_whole
from phi_finetune.errors import InvalidParameter

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["LEAST_TRAINING_ROWS", "ChatDataset", "SplitName", "sample_conversations"]

SplitName: TypeAlias = Literal["train", "validation", "test"]

_SAMPLE = Path(__file__).parent.parent / "samples" / "conversations.jsonl"
_DIGEST_FORMAT = 1  # goes up with any change of the canonical line or of the digest's own form
LEAST_TRAINING_ROWS = 10  # azureml-acft-contrib-hf-nlp 0.0.91, read 2026-11


def _check_name(_instance: object, _attribute: object, name: str) -> None:
    if not name.strip():
        raise InvalidParameter("A data set's name is blank", name="name", value=name, allowed="any text")


@attrs.frozen
class _Measured:
    """What a split came to when its source had this stamp, and its lines if they are few."""

    stamp: Hashable
    info: SplitInfo
    content: bytes | None


class _Cache(dict[SplitName, _Measured]):
    """What was measured, by split; a pickle leaves it out, as it may hold rows."""

    def __reduce__(self) -> tuple[type[_Cache], tuple[()]]:
        return _Cache, ()


@attrs.frozen
class ChatDataset:
    """Conversations in up to three splits: train, validation and test.

    Made by :meth:`from_jsonl`, :meth:`from_records`, :meth:`from_pandas` or :meth:`from_sample`. Making one
    reads nothing; each method that gives rows reads them anew, checks them on the way and holds one at a
    time. A problem is an :class:`~phi_finetune.errors.InvalidData` that names the file and the row and never
    quotes the row's text.

    Each row of the train and validation splits must end with the assistant's turn. A row of the test split
    may end with the user's.

    Attributes:
        name: What it is called in names of jobs and models.
    """

    name: str = attrs.field(validator=_check_name)
    _train: Source = attrs.field(alias="train")
    _validation: Source | None = attrs.field(alias="validation", default=None)
    _test: Source | None = attrs.field(alias="test", default=None)
    _measured: _Cache = attrs.field(factory=_Cache, init=False, repr=False, eq=False)

    @classmethod
    def from_jsonl(
        cls,
        train: str | os.PathLike[str],
        validation: str | os.PathLike[str] | None = None,
        test: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
    ) -> ChatDataset:
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
            train=JsonLines(Path(train), must_end_answered=True),
            validation=None if validation is None else JsonLines(Path(validation), must_end_answered=True),
            test=None if test is None else JsonLines(Path(test), must_end_answered=False),
        )

    @classmethod
    def from_records(
        cls,
        train: Iterable[Mapping[str, object]],
        validation: Iterable[Mapping[str, object]] | None = None,
        test: Iterable[Mapping[str, object]] | None = None,
        *,
        name: str = "records",
    ) -> ChatDataset:
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
            train=Spool(train, f"{name} (train)", must_end_answered=True),
            validation=_optional_spool(validation, f"{name} (validation)", must_end_answered=True),
            test=_optional_spool(test, f"{name} (test)", must_end_answered=False),
        )

    @classmethod
    def from_pandas(
        cls,
        train: DataFrame,
        validation: DataFrame | None = None,
        test: DataFrame | None = None,
        *,
        name: str = "frame",
    ) -> ChatDataset:
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
    def from_sample(cls) -> ChatDataset:
        """Take the sample that comes with this library: some 300 varied conversations in the train split."""
        return cls.from_jsonl(_SAMPLE, name="sample")

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits that there are, in the order train, validation, test."""
        return tuple(self._sources())

    @property
    def digest(self) -> str:
        """A SHA-256 of all splits' conversations, in hexadecimal; it stands for the data in names of jobs.

        It depends on the splits' names, rows and their order, and on nothing else: not on the data set's
        name, on file names, white space, escaping, the order of keys, or keys that are left out. It reads the
        data, once.

        Raises:
            InvalidData: A row breaks a rule.
        """
        digest = hashlib.sha256(f"phi-finetune chat data, format {_DIGEST_FORMAT}\n".encode())
        for split in self.splits:
            digest.update(f"{split} {self.describe(split).sha256}\n".encode())
        return digest.hexdigest()

    def rows(self, split: SplitName = "train") -> Iterator[Conversation]:
        """Read a split's conversations, in order.

        Raises:
            InvalidData: When the first row that breaks a rule is reached.
            InvalidParameter: There is no such split.
        """
        return self._source(split).rows()

    def row(self, index: int, split: SplitName = "train") -> Conversation:
        """Read one conversation.

        Args:
            index: Its place, counted from 0 and without blank lines. All rows before it are read too.
            split: The split it is in.

        Raises:
            InvalidData: A row up to this one breaks a rule.
            InvalidParameter: There is no such row or split.
        """
        row = next(islice(self.rows(split), index, None), None) if index >= 0 else None
        if row is None:
            raise InvalidParameter(
                f"The {split} split of {self.name} has no row {index}",
                name="index",
                value=index,
                allowed="0 to the number of rows less 1",
                next_call=f'data.describe("{split}").rows tells how many there are',
            )
        return row

    def lines(self, split: SplitName = "train") -> Iterator[bytes]:
        r"""Read a split as the JSON lines that the training component takes.

        Each is one row's ``{"messages": [{"role": ..., "content": ...}, ...]}`` in ASCII with ``\n`` at its
        end; the same conversation gives the same bytes, whatever it was read from.

        Raises:
            InvalidData: When the first row that breaks a rule is reached.
            InvalidParameter: There is no such split.
        """
        source = self._source(split)
        known = self._measured.get(split)
        if known is not None and known.content is not None and known.stamp == source.stamp():
            return iter(known.content.splitlines(keepends=True))
        return map(canonical_line, source.rows())

    def describe(self, split: SplitName = "train") -> SplitInfo:
        """Count and hash a split's lines; it is read the first time, and again only if its file changed.

        Raises:
            InvalidData: A row breaks a rule.
            InvalidParameter: There is no such split.
        """
        source = self._source(split)
        stamp = source.stamp()
        before = self._measured.get(split)
        if before is not None and before.stamp == stamp:
            return before.info
        info, content = measure(map(canonical_line, source.rows()))
        self._measured[split] = _Measured(stamp, info, content)
        return info

    def check(self) -> None:
        """Read everything once, and return if it is fit for training.

        Raises:
            InvalidData: The first problem found: a row that breaks a rule, a split with no row, or fewer than
                10 training rows (the training component drops rows of one message or none, then needs at
                least 10: azureml-acft-contrib-hf-nlp 0.0.91, read 2026-11).
        """
        for split in self.splits:
            if self.describe(split).rows == 0:
                raise Fault("empty-split").error(self._source(split).label)
        if self.describe("train").rows < LEAST_TRAINING_ROWS:
            raise Fault("too-few-rows").error(self._source("train").label)

    def preview(self, n: int = 5, split: SplitName = "train") -> DataFrame:
        """Give the first rows as a frame, one conversation a row, with the text in full.

        Its columns are ``messages`` (a list of dicts), ``prompt`` (what the user says first), ``answer``
        (what the assistant says last; None if the last turn is the user's) and ``turns`` (messages of user
        and assistant). Pandas shortens long text when it shows a frame, unless its option
        ``display.max_colwidth`` is None.

        Args:
            n: How many rows at most. No more than these are read from a file.
            split: The split to look at.

        Raises:
            InvalidData: One of these rows breaks a rule.
            InvalidParameter: ``n`` is below 1, or there is no such split.
        """
        if n < 1:
            raise InvalidParameter(f"A preview of {n} rows", name="n", value=n, allowed="1 or more")
        return preview_frame(islice(self.rows(split), n))

    def split(self, *, validation: float = 0.0, test: float = 0.0, seed: int = 0) -> ChatDataset:
        """Draw a validation and a test split out of the train split.

        A row's content and the seed alone decide where it goes. So the same call gives the same rows in the
        same order on every machine, rows appended later move none of the earlier ones, and equal rows stay in
        one split. The sizes come near the fractions and rarely meet them exactly.

        Args:
            validation: The share of the rows to measure the loss on, from 0 to below 1; 0 draws none.
            test: The share of the rows to keep for trying the result, from 0 to below 1; 0 draws none.
            seed: Another seed gives another draw.

        Raises:
            InvalidData: A split came out with no row.
            InvalidParameter: A fraction is out of range, the two leave nothing to train on, or there is such
                a split.
        """
        for split, fraction in (("validation", validation), ("test", test)):
            self._check_fraction(split, fraction)
        if validation + test >= 1:
            raise InvalidParameter(
                f"The fractions {validation} and {test} leave nothing to train on",
                name="validation",
                value=validation,
                allowed="less than 1 together with test",
            )
        left, test_rows = _draw(self._train, "test", test, seed)
        # The second draw is from what the first one left, so its fraction is of fewer rows.
        left, validation_rows = _draw(left, "validation", validation / (1 - test), seed)
        return ChatDataset(
            name=self.name,
            train=left,
            validation=validation_rows or self._validation,
            test=test_rows or self._test,
        )

    def hold_out(self, rows: int) -> ChatDataset:
        """Make the last rows of the train split the validation split.

        Unlike :meth:`split` it takes exactly so many, and rows appended later change which. For a set whose rows
        are in an order that matters, :meth:`split` is the better way.

        Args:
            rows: How many, at least 1.

        Raises:
            InvalidParameter: It leaves nothing to train on, or there is a validation split already.
            InvalidData: A row breaks a rule.
        """
        if self._validation is not None:
            raise InvalidParameter(
                "There is a validation split already", name="rows", value=rows, allowed="a set without one"
            )
        start = self.describe("train").rows - rows
        if rows < 1 or start < 1:
            allowed = f"1 to {start + rows - 1}"
            raise InvalidParameter(f"Cannot hold out {rows} rows", name="rows", value=rows, allowed=allowed)
        return attrs.evolve(
            self,
            train=Tail(self._train, "validation", start, takes=False),
            validation=Tail(self._train, "validation", start, takes=True),
        )

    def write(self, folder: str | os.PathLike[str]) -> dict[SplitName, Path]:
        """Write each split to ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` in a folder.

        The folder is made if there is none, and files of these names are replaced. Nothing is replaced before
        all splits were written and found good, and no file is ever seen half written.

        Args:
            folder: Where to.

        Returns:
            The path of each split's file.

        Raises:
            InvalidData: A row breaks a rule. No file was written.
            InvalidParameter: A file that this data set is read from would be replaced.
            OSError: The folder cannot be made or written to.
        """
        targets: dict[SplitName, Path] = {split: Path(folder) / f"{split}.jsonl" for split in self.splits}
        check_not_read(
            targets.values(), [path for source in self._sources().values() for path in source.files]
        )
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_whole({path: self.lines(split) for split, path in targets.items()})
        return targets

    def _sources(self) -> dict[SplitName, Source]:
        every: dict[SplitName, Source | None] = {
            "train": self._train,
            "validation": self._validation,
            "test": self._test,
        }
        return {split: source for split, source in every.items() if source is not None}

    def _source(self, split: SplitName) -> Source:
        source = self._sources().get(split)
        if source is None:
            raise InvalidParameter(
                f"The data set {self.name} has no such split",
                name="split",
                value=split,
                allowed=", ".join(self.splits),
            )
        return source

    def _check_fraction(self, split: str, fraction: float) -> None:
        if not 0 <= fraction < 1:
            raise InvalidParameter(
                f"The fraction {split} is {fraction}",
                name=split,
                value=fraction,
                allowed="from 0 to below 1",
            )
        if fraction and split in self.splits:
            raise InvalidParameter(
                f"The data set {self.name} has a {split} split already",
                name=split,
                value=fraction,
                allowed="0",
            )


def sample_conversations() -> tuple[Conversation, ...]:
    """Give the conversations of :meth:`ChatDataset.from_sample`, all at once."""
    return tuple(ChatDataset.from_sample().rows())


def _optional_spool(
    records: Iterable[Mapping[str, object]] | None, label: str, *, must_end_answered: bool
) -> Spool | None:
    return None if records is None else Spool(records, label, must_end_answered=must_end_answered)


def _draw(whole: Source, split: SplitName, fraction: float, seed: int) -> tuple[Source, Source | None]:
    """Give what a draw leaves, and what it takes."""
    if not fraction:
        return whole, None
    left = Draw(whole, split, seed, fraction, takes=False)
    taken = Draw(whole, split, seed, fraction, takes=True)
    for part in (left, taken):
        if next(part.rows(), None) is None:
            raise Fault("empty-draw").error(part.label)
    return left, taken
