"""The thread that answers: all that is asked at a time is drawn in one batch, and whoever comes joins it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

import attrs

from phi_finetune.local.generate import Answer, Batch, Completion, Generator, Sampling, TooLong
from phi_finetune.local.serving.loading import load
from phi_finetune.local.threads import threads_for, use_threads

__all__ = ["MOST_ROWS", "Ask", "Done", "Event", "Failed", "Piece", "Worker"]

MOST_ROWS: Final = 32
"""Conversations that are drawn at a time; the next wait until one of them has ended."""


@attrs.frozen
class Piece:
    """The next piece of an answer's text."""

    text: str


@attrs.frozen
class Done:
    """An answer, and which of the conversations it is to."""

    row: int
    completion: Completion


@attrs.frozen
class Failed:
    """There will be no answer: the HTTP status that says so, and why."""

    status: int
    why: str


Event: TypeAlias = Piece | Done | Failed


@attrs.define(eq=False)
class Ask:
    """Conversations that are to be answered.

    Attributes:
        conversations: The conversations.
        sampling: How they are answered.
        stream: Whether pieces are told.
        tell: Called in the worker's thread with each piece, each answer, and what went wrong.
        given_up: Set where nobody waits for it any more; nothing more is then told.
    """

    conversations: Sequence[Sequence[dict[str, str]]] = attrs.field(repr=False)
    sampling: Sampling
    stream: bool
    tell: Callable[[Event], None]
    given_up: bool = False


@attrs.define(eq=False)
class _Row:
    ask: Ask
    number: int
    answer: Answer


class Worker:
    """Loads a model and answers with it, in one thread.

    Args:
        folder: The model's folder.
        failed: Called in the thread where the model cannot be loaded, or its code breaks; with why.
    """

    def __init__(self, folder: Path, failed: Callable[[str], None]) -> None:
        self._folder = folder
        self._failed = failed
        self._asked: SimpleQueue[Ask | None] = SimpleQueue()
        self._waiting: deque[_Row] = deque()
        self._rows: list[_Row] = []
        self._loaded = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._loaded.is_set() and not self._ending.is_set()

    def start(self) -> None:
        """Begin to load the model."""
        self._thread.start()

    def ask(self, ask: Ask) -> None:
        """Have conversations answered."""
        self._asked.put(ask)

    def end(self) -> None:
        """Answer no more; what is under way is dropped after its next token."""
        self._ending.set()
        self._asked.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended, for so long at most."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        generator = load(self._folder)
        if isinstance(generator, str):
            self._failed(f"the model cannot be loaded: {generator}")
            return
        try:
            with use_threads(threads_for(generator.parameters)):
                self._loaded.set()
                self._serve(generator)
        finally:
            if not self._ending.is_set():
                self._failed("the code that answers is broken; the error stands above")

    def _serve(self, generator: Generator) -> None:
        batch = generator.batch()
        while not self._ending.is_set():
            self._hear(generator)
            try:
                self._go_on(generator, batch)
            except RuntimeError as error:  # such as memory that ran out
                self._drop_all(Failed(500, f"The model's code failed: {type(error).__name__}."))
                batch = generator.batch()

    def _hear(self, generator: Generator) -> None:
        """Take in what was asked; wait for it where there is nothing else to do."""
        with suppress(Empty):
            idle = not self._waiting and not self._rows
            while (ask := self._asked.get(block=idle)) is not None:
                idle = False
                if not ask.given_up:
                    self._prepare(generator, ask)

    def _prepare(self, generator: Generator, ask: Ask) -> None:
        from jinja2 import TemplateError

        try:
            answers = [generator.begin(talk, ask.sampling) for talk in ask.conversations]
        except TooLong as error:
            ask.tell(Failed(400, f"{error}."))
        except TemplateError:
            # Its words may quote the conversation.
            ask.tell(Failed(400, "The model's chat template refuses the conversation."))
        else:
            self._waiting.extend(_Row(ask, number, answer) for number, answer in enumerate(answers))

    def _go_on(self, generator: Generator, batch: Batch) -> None:
        """Draw a token for each answer, of those that are under way and of those that can begin."""
        for row in self._rows:
            row.answer.given_up = row.ask.given_up
        self._rows = [row for row in self._rows if row.answer.going]
        batch.step()
        self._tell(generator)
        coming: list[_Row] = []
        while self._waiting and len(self._rows) + len(coming) < MOST_ROWS:
            row = self._waiting.popleft()
            if not row.ask.given_up:
                coming.append(row)
        self._rows = [*self._rows, *coming]
        batch.join([row.answer for row in coming])
        self._tell(generator)

    def _tell(self, generator: Generator) -> None:
        for row in self._rows:
            if row.ask.stream and (piece := generator.piece(row.answer)):
                row.ask.tell(Piece(piece))
            if row.answer.finish_reason is not None:
                row.ask.tell(Done(row.number, generator.completion(row.answer)))
        self._rows = [row for row in self._rows if row.answer.finish_reason is None]

    def _drop_all(self, why: Failed) -> None:
        for ask in {id(row.ask): row.ask for row in self._rows}.values():
            ask.given_up = True
            ask.tell(why)
        self._rows = []
