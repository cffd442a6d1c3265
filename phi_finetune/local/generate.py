"""Answers from a model: batched, with a key-value cache, ended by the token that ends a turn.

A model folder that is packaged for MLflow takes a copy of this file along, so it needs torch and transformers only.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Completion", "Generator", "Sampling", "TooLong", "answer_rows"]


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
    """

    max_new_tokens: int = 200
    temperature: float = 0.6
    top_p: float = 0.9
    do_sample: bool = True
    repetition_penalty: float = 1.0
    seed: int = 0

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


@dataclass
class _Answer:
    """An answer under way."""

    number: int
    prompt: list[int]
    sampling: Sampling
    draws: Any
    tokens: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None


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
    def load(cls, folder: str | Path) -> Generator:
        """Load a model folder, with the adapter in its ``adapter`` folder where there is one.

        Args:
            folder: A Hugging Face model in safetensors; nothing is fetched.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = Path(folder).resolve()
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, use_safetensors=True, dtype="auto"
        )
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
        answers = self._begin(conversations, sampling)
        for _ in self._run(answers):
            pass
        return [self._completion(answer) for answer in answers]

    def stream(
        self, conversation: Sequence[Mapping[str, str]], sampling: Sampling
    ) -> Iterator[str | Completion]:
        """Answer a conversation piece by piece: texts, and at the end the whole answer.

        Raises:
            TooLong: The conversation fills the model's context.
        """
        (answer,) = self._begin([conversation], sampling)
        return self._pieces(answer)

    def _pieces(self, answer: _Answer) -> Iterator[str | Completion]:
        said = ""
        for _ in self._run([answer]):
            text = self._text(answer.tokens)
            # A character may take several tokens; half of one is shown as this mark.
            if text.startswith(said) and not text.endswith("\ufffd") and text != said:
                yield text[len(said) :]
                said = text
        completion = self._completion(answer)
        if completion.text != said and completion.text.startswith(said):
            yield completion.text[len(said) :]
        yield completion

    def _begin(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], sampling: Sampling | Sequence[Sampling]
    ) -> list[_Answer]:
        import torch

        ways = [sampling] * len(conversations) if isinstance(sampling, Sampling) else list(sampling)
        answers = []
        for number, (conversation, way) in enumerate(zip(conversations, ways, strict=True)):
            text = self._tokenizer.apply_chat_template(
                [dict(turn) for turn in conversation], tokenize=False, add_generation_prompt=True
            )
            prompt = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(prompt) >= self._context:
                raise TooLong(
                    f"The conversation has {len(prompt)} tokens, and the model takes {self._context}"
                )
            draws = None if way.greedy else torch.Generator().manual_seed(way.seed)
            answers.append(_Answer(number, prompt, way, draws))
        return answers

    def _run(self, answers: Sequence[_Answer]) -> Iterator[None]:
        """Draw a token for every unfinished answer, again and again; one that is finished leaves the batch."""
        import torch

        active = list(answers)
        if not active:
            return
        with torch.inference_mode():
            state = _State(self._model, self._cache_name, [answer.prompt for answer in active], self._pad())
            while True:
                logits = state.logits.float()
                for answer, row in zip(active, logits, strict=True):
                    self._take(answer, _draw(row, answer))
                going = [place for place, answer in enumerate(active) if answer.finish_reason is None]
                yield
                if not going:
                    return
                if len(going) < len(active):
                    state.keep(going)
                    active = [active[place] for place in going]
                state.step([answer.tokens[-1] for answer in active])

    def _take(self, answer: _Answer, token: int) -> None:
        if token in self._stops:
            answer.finish_reason = "stop"
            return
        answer.tokens.append(token)
        room = min(answer.sampling.max_new_tokens, self._context - len(answer.prompt))
        if len(answer.tokens) >= room:
            answer.finish_reason = "length"

    def _completion(self, answer: _Answer) -> Completion:
        reason = answer.finish_reason or "length"
        return Completion(self._text(answer.tokens), len(answer.prompt), len(answer.tokens), reason)

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _pad(self) -> int:
        pad = self._tokenizer.pad_token_id
        return int(pad) if pad is not None else 0


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
        """Leave out all other rows."""
        import torch

        chosen = torch.tensor(rows, device=self._mask.device)
        self._cache.batch_select_indices(chosen)
        self._mask, self._positions = self._mask[chosen], self._positions[chosen]

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


def _draw(logits: Any, answer: _Answer) -> int:
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
