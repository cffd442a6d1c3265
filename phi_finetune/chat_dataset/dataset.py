"""Chat data in splits, read a row at a time and never held whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from phi_finetune.chat_dataset.canonical import read_line, utf8_block
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.frame import preview_frame
from phi_finetune.chat_dataset.keys import drawn
from phi_finetune.chat_dataset.manifest import manifest
from phi_finetune.chat_dataset.parts import lines_of
from phi_finetune.chat_dataset.repairing import Repaired, repair
from phi_finetune.chat_dataset.report import TOLD_FAULTS, ValidationReport
from phi_finetune.chat_dataset.shaping import Shaping
from phi_finetune.chat_dataset.split_info import Measuring
from phi_finetune.chat_dataset.splits import SplitName
from phi_finetune.chat_dataset.validation import LEAST_TRAINING_ROWS, validate
from phi_finetune.chat_dataset.writing import check_not_read, progress, write_whole
from phi_finetune.errors import InvalidData, InvalidParameter

if TYPE_CHECKING:
    from pandas import DataFrame

    from phi_finetune.catalog.chat_templates import ChatTemplate
    from phi_finetune.chat_dataset.stats_views import DatasetStats
    from phi_finetune.chat_dataset.tokens import Tokenizer
    from phi_finetune.chat_dataset.xray import Trained, Xray
    from phi_finetune.protocols import Listener

__all__ = ["LEAST_TRAINING_ROWS", "ChatDataset", "SplitName", "sample_conversations"]

_DIGEST_FORMAT = 1  # goes up with any change of the canonical line or of the digest's own form


@attrs.frozen
class ChatDataset(Shaping):
    """Conversations in up to three splits: train, validation and test.

    Made by one of the methods whose names begin with ``from_``. Making one reads nothing; each method that gives
    rows reads them anew, checks them on the way and holds few of them at a time. A problem is an
    :class:`~phi_finetune.errors.InvalidData` that names the file and the row and never quotes the row's text.

    Each row of the train and validation splits must end with the assistant's turn. A row of the test split
    may end with the user's.

    Attributes:
        name: What it is called in names of jobs and models.
        origin: Where it came from; None for records of the caller's own.
    """

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
        return lines_of(source)

    def check(self) -> None:
        """Read everything, unless that was done, and return if it is fit for training.

        Raises:
            InvalidData: It is not: a row breaks a rule, a split has no row, or there are fewer than 10 training rows
                (the training component drops rows of one message or none, then needs at least 10:
                azureml-acft-contrib-hf-nlp 0.0.91, read 2026-11). Its ``faults`` tell up to 20 problems;
                :meth:`validate` tells all.
        """
        if not self._is_known_to_be_fit():
            self.validate(limit=TOLD_FAULTS).check()

    def _is_known_to_be_fit(self) -> bool:
        """Whether all splits were measured, so that no row breaks a rule, and have rows enough."""
        try:
            known = {split: self._known(split, source.stamp()) for split, source in self._sources().items()}
        except InvalidData:  # a file is gone
            return False
        train = known["train"]
        return (
            train is not None
            and train.rows >= LEAST_TRAINING_ROWS
            and all(each and each.rows for each in known.values())
        )

    def validate(
        self,
        *,
        deep: bool = False,
        model: str | ChatTemplate | None = None,
        max_seq_length: int | None = None,
        tokenizer: Tokenizer | None = None,
        sample: int | None = 2000,
        limit: int = 1000,
    ) -> ValidationReport:
        """Look through all rows, and report every problem; a broken row raises nothing.

        It takes little memory, whatever the size. With ``deep`` the data is read up to five times, and less than 24
        bytes a row are held.

        Args:
            deep: Whether to look for rows that say the same, in a split and across splits, for other answers to
                the same turns, and in some of the rows for keys and personal data.
            model: The model's name or chat template: rows are measured as it writes them, and where it has no
                system turn, each row with one is told. None takes any system turn.
            max_seq_length: Where training cuts a row, in tokens; None and -1 are the model's context length. Longer
                rows are told, among some of the rows, and how much of the tokens is lost. Without a model and a
                length, none are.
            tokenizer: The model's tokenizer, as for :meth:`stats`; without one, tokens are estimated.
            sample: How many rows of each split, about, are looked at for lengths, keys and personal data; the
                report gives an interval then. None looks at all.
            limit: How many problems the report holds; its counts are complete.

        Raises:
            InvalidParameter: A number is below 1.
            Exception: Whatever a function given to :meth:`map` or :meth:`filter` raises.
        """
        return validate(
            self.name,
            self._sources(),
            deep=deep,
            model=model,
            max_seq_length=max_seq_length,
            tokenizer=tokenizer,
            sample=sample,
            limit=limit,
        )

    def repair(self, *, join_turns: bool = False, deep: bool = False, limit: int = 1000) -> Repaired:
        """Mend what can be mended safely, and leave out the rows where that is not possible.

        The mends: other names of the roles (human, gpt, bot, ...) become user and assistant; blank messages at the
        end and blank system messages are left out; system messages elsewhere go to the front, joined to one; a
        user's turn at the end of a row to train or measure on is left out. The texts of turns stay as they are. It
        reads the data once, to tell what was done.

        Args:
            join_turns: Whether turns of one role that follow each other become one, with a blank line between.
            deep: Whether to leave out rows that say the same as one before, or as one held out.
            limit: How many of the rows mended are told one by one; the counts are complete.

        Raises:
            InvalidData: A file cannot be read.
        """
        return repair(self, join_turns=join_turns, deep=deep, limit=limit)

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

    def sample(self, n: int = 5, split: SplitName = "train", *, seed: int = 0) -> DataFrame:
        """Give rows drawn at random, as :meth:`preview` gives the first; the whole split is read.

        What a row says and the seed decide, so the same call gives the same rows. They come in the order of the data.

        Args:
            n: How many rows at most; so many are held.
            split: The split to draw from.
            seed: Another seed gives other rows.

        Raises:
            InvalidData: A row breaks a rule.
            InvalidParameter: ``n`` is below 1, or there is no such split.
        """
        if n < 1:
            raise InvalidParameter(f"A sample of {n} rows", name="n", value=n, allowed="1 or more")
        return preview_frame(map(read_line, drawn(lines_of(self._source(split)), n, seed)))

    def stats(
        self,
        *,
        model: str | ChatTemplate | None = None,
        tokenizer: Tokenizer | None = None,
        max_seq_length: int | None = None,
        sample: int | None = None,
        seed: int = 0,
    ) -> DatasetStats:
        """Measure all splits in one pass: rows, turns, characters, and tokens by role, with percentiles.

        Args:
            model: The model's name or chat template: a row's tokens are then those of the text that training makes
                of it. Without one, they are those of what is said.
            tokenizer: The model's tokenizer: a folder or a file ``tokenizer.json``, an object that has ``encode``, or
                a function. Without one, tokens are estimated, and the intervals say by how much that may be off.
            max_seq_length: Where training cuts a row, in tokens; None and -1 are the model's context length.
                Without a model and a length, nothing is told of cuts.
            sample: How many rows of a split are looked at for tokens and spreads; a split with no more rows is
                measured exactly, and a larger one with 95 % intervals. 5,000, or 2,000 with a tokenizer.
            seed: Another seed draws another sample.

        Raises:
            InvalidData: A row breaks a rule.
            InvalidParameter: ``sample`` or ``max_seq_length`` is below 1, or the model or the tokenizer is not known.
            MissingDependency: A model or a tokenizer was given, and the extra ``tokens`` is not installed.
        """
        from phi_finetune.chat_dataset.stats import stats, turns_of_blocks

        return stats(
            {split: turns_of_blocks(source.blocks()) for split, source in self._sources().items()},
            model=model,
            tokenizer=tokenizer,
            max_seq_length=max_seq_length,
            sample=sample,
            seed=seed,
        )

    def xray(
        self,
        row: int,
        model: str | ChatTemplate,
        *,
        split: SplitName = "train",
        tokenizer: Tokenizer | None = None,
        max_seq_length: int | None = None,
        trained: Trained = "assistant",
    ) -> Xray:
        """Show what training makes of a row: what is learned, what is only read, and what is cut off.

        Args:
            row: Its place in the split, counted from 0.
            model: The model's name, such as ``"Phi-4"``, or a chat template.
            split: The split it is in.
            tokenizer: The model's tokenizer, as for :meth:`stats`; without one, tokens are estimated word by word.
            max_seq_length: Where training cuts, in tokens; None and -1 are the model's context length.
            trained: What is learned: what the assistant says, with the token that ends its turn, or all of the text.

        Raises:
            InvalidData: A row up to this one breaks a rule.
            InvalidParameter: There is no such row or split, the model is not known, or the tokenizer cannot be used.
            MissingDependency: The extra ``tokens`` is not installed.
        """
        from phi_finetune.chat_dataset.xray import xray

        return xray(
            self.row(row, split),
            model,
            tokenizer=tokenizer,
            max_seq_length=max_seq_length,
            trained=trained,
        )

    def write(
        self,
        folder: str | os.PathLike[str],
        *,
        encoding: Literal["ascii", "utf-8"] = "ascii",
        on_event: Listener | None = None,
    ) -> dict[SplitName, Path]:
        """Write each split to ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` in a folder.

        The folder is made if there is none, and files of these names are replaced. Nothing is replaced before
        all splits were written and found good, and no file is ever seen half written. Beside them
        ``manifest.json`` says where the data came from, and each file's rows, size and SHA-256.

        Args:
            folder: Where to.
            encoding: ``"ascii"`` escapes all other characters, and is what a job is given. In ``"utf-8"`` they stand
                as they are: a file is smaller where the text is not English, and pandas takes a multiple of the
                memory to read it whole.
            on_event: Hears of the progress, as :class:`~phi_finetune.events.WriteProgress`.

        Returns:
            The path of each split's file.

        Raises:
            InvalidData: A row breaks a rule. No file was written.
            InvalidParameter: A file that this data set is read from would be replaced.
            OSError: The folder cannot be made or written to.
        """
        sources = self._sources()
        targets: dict[SplitName, Path] = {split: Path(folder) / f"{split}.jsonl" for split in sources}
        listing = Path(folder) / "manifest.json"
        check_not_read(
            [*targets.values(), listing], [path for source in sources.values() for path in source.files]
        )
        Path(folder).mkdir(parents=True, exist_ok=True)
        stamps = {split: source.stamp() for split, source in sources.items()}
        canonical: dict[SplitName, Measuring] = {
            split: Measuring(source.blocks()) for split, source in sources.items()
        }
        written: dict[SplitName, Measuring] = canonical
        if encoding == "utf-8":
            written = {split: Measuring(map(utf8_block, blocks)) for split, blocks in canonical.items()}
        contents = {path: progress(written[split], path, on_event) for split, path in targets.items()}
        write_whole({**contents, listing: manifest(self, targets, written)})
        for split, measured in canonical.items():
            self._remember(split, stamps[split], measured)
        return targets


def sample_conversations() -> tuple[Conversation, ...]:
    """Give the conversations of :meth:`ChatDataset.from_sample`, all at once."""
    return tuple(ChatDataset.from_sample().rows())
