"""Answers from a model: batched, with a key-value cache, ended by the token that ends a turn.

A model folder that is packaged for MLflow takes a copy of this file along, so it needs torch and transformers only.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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

    def start(self, answers: Sequence[Answer]) -> _State:
        """Read the questions of answers, and draw the first token of each."""
        import torch

        with torch.inference_mode():
            state = _State(self._model, self._cache_name, [answer.prompt for answer in answers], self._pad())
            self._draw_all(answers, state)
        return state

    def go_on(self, answers: Sequence[Answer], state: _State) -> None:
        """Draw the next token of each answer."""
        import torch

        with torch.inference_mode():
            state.step([answer.tokens[-1] for answer in answers])
            self._draw_all(answers, state)

    def _draw_all(self, answers: Sequence[Answer], state: _State) -> None:
        for answer, row in zip(answers, state.logits.float(), strict=True):
            self._take(answer, _draw(row, answer))

    def _take(self, answer: Answer, token: int) -> None:
        if token in self._stops:
            answer.finish_reason = "stop"
            return
        answer.tokens.append(token)
        room = min(answer.sampling.max_new_tokens, self._context - len(answer.prompt))
        if len(answer.tokens) >= room:
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
        self._groups: list[tuple[list[Answer], _State]] = []

    def join(self, answers: Sequence[Answer]) -> None:
        """Take answers in, and draw the first token of each."""
        if not answers:
            return
        state = self._generator.start(answers)
        self._groups.append((list(answers), state))
        self._tidy()

    def step(self) -> list[Answer]:
        """Draw the next token of each answer; those that got one."""
        self._tidy()
        for answers, state in self._groups:
            self._generator.go_on(answers, state)
        drawn = [answer for answers, _ in self._groups for answer in answers]
        self._tidy()
        return drawn

    def _tidy(self) -> None:
        """Leave out what is done, and put together what can be computed together."""
        kept: list[tuple[list[Answer], _State]] = []
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


class _State:
    """A batch under way: the cache, the mask over what is padded, and the last logits."""

    def __init__(self, model: Any, cache_name: str, prompts: Sequence[Sequence[int]], pad: int) -> None:
        import torch
        from transformers import DynamicCache

        self._model, self._cache_name = model, cache_name
        self._cache = DynamicCache(config=model.config)
        width, device = max(map(len, prompts)), model.device
        ids = torch.full((len(prompts), width), pad, device=device)
        self._mask = torch.zeros((len(prompts), width), dtype=torch.long, device=device)
        for place, prompt in enumerate(prompts):
            ids[place, width - len(prompt) :] = torch.tensor(prompt, device=device)
            self._mask[place, width - len(prompt) :] = 1
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        self._forward(ids, self._positions)

    def step(self, tokens: Sequence[int]) -> None:
        """Go on with a token for each row."""
        import torch

        ids = torch.tensor(tokens, device=self._mask.device).unsqueeze(1)
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        self._positions = self._positions[:, -1:] + 1
        self._forward(ids, self._positions)

    def keep(self, rows: Sequence[int]) -> None:
        """Leave out all other rows, and what was padded for their sake."""
        import torch

        chosen = torch.tensor(rows, device=self._mask.device)
        self._cache.batch_select_indices(chosen)
        self._mask, self._positions = self._mask[chosen], self._positions[chosen]
        unused = int((self._mask.cumsum(-1) == 0).sum(-1).min())
        if unused and self._is_plain():
            self._mask = self._mask[:, unused:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, unused:], layer.values[:, :, unused:]

    def can_take(self, other: _State) -> bool:
        """Whether another batch can be put to this one: not where layers forget all but a window of what they read."""
        return self._is_plain() and other._is_plain()

    def take(self, other: _State) -> None:
        """Put another batch's rows to this one's."""
        import torch

        width = max(self._mask.shape[1], other._mask.shape[1])
        for state in (self, other):
            state._widen(width)
        for mine, theirs in zip(self._cache.layers, other._cache.layers, strict=True):
            mine.keys = torch.cat([mine.keys, theirs.keys])
            mine.values = torch.cat([mine.values, theirs.values])
        self._mask = torch.cat([self._mask, other._mask])
        self._positions = torch.cat([self._positions[:, -1:], other._positions[:, -1:]])

    def _is_plain(self) -> bool:
        from transformers.cache_utils import DynamicLayer

        return all(type(layer) is DynamicLayer for layer in self._cache.layers)

    def _widen(self, width: int) -> None:
        """Pad on the left."""
        from torch.nn.functional import pad

        more = width - self._mask.shape[1]
        if more:
            self._mask = pad(self._mask, (more, 0))
            for layer in self._cache.layers:
                layer.keys = pad(layer.keys, (0, 0, more, 0))
                layer.values = pad(layer.values, (0, 0, more, 0))

    def _forward(self, ids: Any, positions: Any) -> None:
        settings: dict[str, Any] = {self._cache_name: self._cache}
        answer = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **settings,
        )
        self.logits = answer.logits[:, -1, :]


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
