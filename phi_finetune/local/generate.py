"""Answers from a model: batched, with a key-value cache, ended by the token that ends a turn.

A model folder that is packaged for MLflow takes a copy of this file along, and of caches.py: they need torch and
transformers only.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from phi_finetune.local.caches import Kind, Limits, State

__all__ = ["Answer", "Batch", "Completion", "Generator", "Sampling", "TooLong", "answer_rows"]

_HALF_A_CHARACTER = "\ufffd"
"""What a character whose tokens are not all there yet is shown as."""


class TooLong(ValueError):
    """A conversation leaves the model no room for an answer."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn.

    Attributes:
        max_new_tokens: The most tokens that the answer may have.
        temperature: How bold the sampling is; 0 always takes the likeliest token.
        top_p: Sample from the likeliest tokens that together have this probability.
        do_sample: False always takes the likeliest token.
        repetition_penalty: Above 1 it makes repetition less likely.
        seed: Seed of the draws; the answer does not depend on what else is in the batch.
        stop: Texts that end the answer; it goes up to before the first of them.
    """

    max_new_tokens: int = 200
    temperature: float = 0.6
    top_p: float = 0.9
    do_sample: bool = True
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    @property
    def greedy(self) -> bool:
        """Whether always the likeliest token is taken."""
        return not self.do_sample or self.temperature == 0


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: What the model says.
        prompt_tokens: Tokens of the question.
        completion_tokens: Tokens of the answer, without the one that ends it.
        finish_reason: ``stop`` where the model ended its turn, ``length`` where its tokens ran out.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"]


@dataclass(eq=False)
class Answer:
    """An answer under way.

    Attributes:
        prompt: The question's tokens.
        sampling: How it is drawn.
        draws: Where its chances come from; None for one that takes the likeliest token.
        tokens: What there is of it.
        finish_reason: Why it ended; None while it goes on.
        given_up: Whether nobody waits for it any more; it then leaves its batch.
        shown: How much of its text was given as pieces, in characters.
        end: Where in its text a stop text begins, in characters; None where there is none.
    """

    prompt: list[int]
    sampling: Sampling
    draws: Any
    tokens: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    given_up: bool = False
    shown: int = 0
    end: int | None = None

    @property
    def going(self) -> bool:
        """Whether it needs more tokens."""
        return self.finish_reason is None and not self.given_up


_Group: TypeAlias = tuple[list[Answer], State]
"""Answers, and where each of them stands, in the same order."""


class Generator:
    """A model with its tokenizer, that answers conversations."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Take a model and a tokenizer of transformers.

        Args:
            model: A causal language model, or a PEFT model on one.
            tokenizer: Its tokenizer, with a chat template.
        """
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._stops = _stops(model, tokenizer)
        self._context = int(getattr(model.config, "max_position_embeddings", 0) or 1_000_000)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        names = inspect.signature(base.forward).parameters
        self._cache_name = "past_key_values" if "past_key_values" in names else "cache"
        if "cache" in names:
            self._cache_name = "cache"
        self._limits = Limits.of(model)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Generator:
        """Load a model folder, with the adapter in its ``adapter`` folder where there is one.

        Args:
            folder: A Hugging Face model in safetensors; nothing is fetched, and no code of its own is run.

        Raises:
            ValueError: The model's weights are not all there.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = Path(folder).resolve()
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="auto",
            output_loading_info=True,
        )
        if lacking := sorted(map(str, report["missing_keys"])):
            # Else they would be drawn by chance, and the model would answer nonsense.
            raise ValueError(f"{len(lacking)} of the weights are missing, {lacking[0]} among them")
        if (path / "adapter").is_dir():
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, path / "adapter")
        return cls(model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer)

    def answer(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], sampling: Sampling | Sequence[Sampling]
    ) -> list[Completion]:
        """Answer several conversations at once.

        Args:
            conversations: Each a list of ``{"role": ..., "content": ...}``.
            sampling: How to draw; one for all, or one for each.

        Raises:
            TooLong: A conversation fills the model's context.
        """
        ways = [sampling] * len(conversations) if isinstance(sampling, Sampling) else sampling
        answers = [self.begin(*one) for one in zip(conversations, ways, strict=True)]
        for _ in self._run(answers):
            pass
        return [self.completion(answer) for answer in answers]

    def stream(
        self, conversation: Sequence[Mapping[str, str]], sampling: Sampling
    ) -> Iterator[str | Completion]:
        """Answer a conversation piece by piece: texts, and at the end the whole answer.

        Raises:
            TooLong: The conversation fills the model's context.
        """
        return self._pieces(self.begin(conversation, sampling))

    def _pieces(self, answer: Answer) -> Iterator[str | Completion]:
        for _ in self._run([answer]):
            piece = self.piece(answer)
            if piece:
                yield piece
        yield self.completion(answer)

    def begin(self, conversation: Sequence[Mapping[str, str]], sampling: Sampling) -> Answer:
        """An answer that a batch can take in.

        Raises:
            TooLong: The conversation fills the model's context.
        """
        import torch

        text = self._tokenizer.apply_chat_template(
            [dict(turn) for turn in conversation], tokenize=False, add_generation_prompt=True
        )
        prompt = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(prompt) >= self._context:
            raise TooLong(f"The conversation has {len(prompt)} tokens, and the model takes {self._context}")
        draws = None if sampling.greedy else torch.Generator().manual_seed(sampling.seed)
        return Answer(prompt, sampling, draws)

    def batch(self) -> Batch:
        """An empty batch."""
        return Batch(self)

    @property
    def parameters(self) -> int:
        """How many weights the model has."""
        return sum(weight.numel() for weight in self._model.parameters())

    def piece(self, answer: Answer) -> str:
        """What is new of an answer's text since this was last asked; empty where that cannot be told yet."""
        text = self._text(answer)
        if answer.finish_reason is None:
            if text.endswith(_HALF_A_CHARACTER):
                return ""
            text = text[: len(text) - _begun(text, answer.sampling.stop)]
        new = text[answer.shown :]
        answer.shown = max(answer.shown, len(text))
        return new

    def completion(self, answer: Answer) -> Completion:
        """An answer that has ended."""
        reason = answer.finish_reason or "length"
        return Completion(self._text(answer), len(answer.prompt), len(answer.tokens), reason)

    def _run(self, answers: Sequence[Answer]) -> Iterator[None]:
        """Draw a token for every unfinished answer, again and again; one that is finished leaves the batch."""
        batch = self.batch()
        batch.join(answers)
        if answers:
            yield
        while batch.step():
            yield

    def start(self, answers: Sequence[Answer]) -> list[_Group]:
        """Read all that there is of answers, and draw the next token of each; those of a kind are in one group."""
        kinds: dict[Kind, list[Answer]] = {}
        for answer in answers:
            kinds.setdefault(self._kind(answer), []).append(answer)
        return [(group, self._read(group, kind)) for kind, group in kinds.items()]

    def go_on(self, answers: Sequence[Answer], state: State) -> list[_Group]:
        """Draw the next token of each answer; those that became another kind are in groups of their own then."""
        import torch

        staying = [place for place, answer in enumerate(answers) if self._kind(answer) == state.kind]
        changed = [answer for answer in answers if self._kind(answer) != state.kind]
        if changed and staying:
            state.keep(staying)
        left = [answers[place] for place in staying]
        if left:
            with torch.inference_mode():
                state.step([answer.tokens[-1] for answer in left])
                self._draw_all(left, state)
        return [*([(left, state)] if left else []), *self.start(changed)]

    def _read(self, answers: Sequence[Answer], kind: Kind) -> State:
        import torch

        rows = [[*answer.prompt, *answer.tokens] for answer in answers]
        with torch.inference_mode():
            state = State(self._model, self._cache_name, rows, self._pad(), kind)
            self._draw_all(answers, state)
        return state

    def _kind(self, answer: Answer) -> Kind:
        prompt = len(answer.prompt)
        return self._limits.kind(prompt + len(answer.tokens), prompt + self._room(answer))

    def _room(self, answer: Answer) -> int:
        """How many tokens an answer may have."""
        return min(answer.sampling.max_new_tokens, self._context - len(answer.prompt))

    def _draw_all(self, answers: Sequence[Answer], state: State) -> None:
        for answer, row in zip(answers, state.logits.float(), strict=True):
            self._take(answer, _draw(row, answer))

    def _take(self, answer: Answer, token: int) -> None:
        if token in self._stops:
            answer.finish_reason = "stop"
            return
        answer.tokens.append(token)
        if len(answer.tokens) >= self._room(answer):
            answer.finish_reason = "length"
        if answer.sampling.stop:
            text = self._text(answer)
            found = [text.find(stop) for stop in answer.sampling.stop if stop in text]
            if found:
                answer.end, answer.finish_reason = min(found), "stop"

    def _text(self, answer: Answer) -> str:
        text: str = self._tokenizer.decode(
            answer.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text[: answer.end]

    def _pad(self) -> int:
        pad = self._tokenizer.pad_token_id
        return int(pad) if pad is not None else 0


class Batch:
    """Answers that are drawn together. Others join at any time, and each leaves when it has ended or is given up.

    Args:
        generator: Whose answers they are.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._groups: list[_Group] = []

    def join(self, answers: Sequence[Answer]) -> None:
        """Take answers in, and draw the first token of each."""
        self._groups.extend(self._generator.start(answers))
        self._tidy()

    def step(self) -> list[Answer]:
        """Draw the next token of each answer; those that got one."""
        self._tidy()
        drawn = [answer for answers, _ in self._groups for answer in answers]
        self._groups = [new for group in self._groups for new in self._generator.go_on(*group)]
        self._tidy()
        return drawn

    def _tidy(self) -> None:
        """Leave out what is done, and put together what can be computed together."""
        kept: list[_Group] = []
        for answers, state in self._groups:
            going = [place for place, answer in enumerate(answers) if answer.going]
            if not going:
                continue
            if len(going) < len(answers):
                state.keep(going)
            left = [answers[place] for place in going]
            into = next((each for each in kept if each[1].can_take(state)), None)
            if into is None:
                kept.append((left, state))
            else:
                into[0].extend(left)
                into[1].take(state)
        self._groups = kept


def _draw(logits: Any, answer: Answer) -> int:
    import torch

    sampling = answer.sampling
    if sampling.repetition_penalty != 1.0:
        seen = torch.tensor([*answer.prompt, *answer.tokens], device=logits.device).unique()
        logits = logits.clone()
        chosen = logits[seen]
        penalty = sampling.repetition_penalty
        logits[seen] = torch.where(chosen > 0, chosen / penalty, chosen * penalty)
    if sampling.greedy:
        return int(logits.argmax())
    chances, order = torch.softmax(logits.cpu() / sampling.temperature, -1).sort(descending=True, stable=True)
    before = chances.cumsum(-1) - chances
    chances = chances.masked_fill(before >= sampling.top_p, 0.0)
    return int(order[torch.multinomial(chances, 1, generator=answer.draws)])


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of one that ends it."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest


def _stops(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: those that the model names, and what its template ends a turn with."""
    named = [tokenizer.eos_token_id, getattr(model.config, "eos_token_id", None)]
    settings = getattr(model, "generation_config", None)
    named.append(getattr(settings, "eos_token_id", None))
    ends = {"<|end|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>"} & set(tokenizer.added_tokens_encoder)
    named += [tokenizer.convert_tokens_to_ids(token) for token in sorted(ends)]
    found: set[int] = set()
    for each in named:
        if each is not None:
            found.update(each if isinstance(each, (list, tuple)) else [each])
    return frozenset(found)


def answer_rows(generator: Generator, rows: Any, params: Mapping[str, Any]) -> list[str]:
    """Answer conversations that stand in a table, as MLflow gives them.

    Args:
        generator: What answers.
        rows: A pandas table, or a list, whose rows have ``messages``, each ``[{"role": ..., "content": ...}]``.
        params: How to draw the answers, by the names of :class:`Sampling`.
    """
    records = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    talks = [[dict(turn) for turn in record["messages"]] for record in records]
    return [each.text for each in generator.answer(talks, Sampling(**params))]
