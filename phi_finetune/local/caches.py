"""What a model keeps of the rows that it goes on with, and which rows can be computed together.

Like generate.py, it goes along with a model that is packaged for MLflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Kind", "Limits", "State"]


@dataclass(frozen=True)
class Kind:
    """What rows must have in common to be computed together.

    Attributes:
        windowed: Whether they may outgrow the window of the model's attention, so that it matters.
        long: Whether they are longer than what the model's positions were made for at first, so that it counts
            them otherwise.
    """

    windowed: bool
    long: bool


@dataclass(frozen=True)
class Limits:
    """Lengths at which a model computes otherwise.

    Attributes:
        window: The tokens that each layer can look back at, its own among them; None where it is all.
        original: The longest row whose positions are counted the short way; None where there is one way only.
    """

    window: int | None
    original: int | None

    @classmethod
    def of(cls, model: Any) -> Limits:
        """Those of a model."""
        from transformers import DynamicCache

        layers = DynamicCache(config=model.config).layers
        windows = [layer.sliding_window for layer in layers if hasattr(layer, "sliding_window")]
        rope = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) or {}
        original = rope["original_max_position_embeddings"] if rope.get("rope_type") == "longrope" else None
        return cls(min(windows, default=None), original)

    def kind(self, length: int, most: int) -> Kind:
        """What a row is that has so many tokens, and may come to have so many."""
        return Kind(
            windowed=self.window is not None and most > self.window,
            long=self.original is not None and length > self.original,
        )


class State:
    """A batch under way: the cache, the mask over what is padded, and the last logits.

    Args:
        model: What computes it.
        cache_name: The name of the model's argument that takes the cache.
        prompts: The tokens of each row, which are read at once.
        pad: The token that stands before those of a row that is shorter.
        kind: What all its rows are.

    Attributes:
        kind: What all its rows are.
        logits: What the model says of the next token of each row.
    """

    logits: Any

    def __init__(
        self, model: Any, cache_name: str, prompts: Sequence[Sequence[int]], pad: int, kind: Kind
    ) -> None:
        import torch

        self.kind = kind
        self._model, self._cache_name = model, cache_name
        self._cache = _cache(model, kind)
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

    def can_take(self, other: State) -> bool:
        """Whether another batch can be put to this one: of the same kind, and no layer forgets what it reads."""
        return self.kind == other.kind and self._is_plain() and other._is_plain()

    def take(self, other: State) -> None:
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


def _cache(model: Any, kind: Kind) -> Any:
    """An empty cache; where no row outgrows the window, one without it, since only such ones can be merged."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    cache = DynamicCache(config=model.config)
    replaceable = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)
    if replaceable and not kind.windowed:
        cache.layers = [DynamicLayer() for _ in cache.layers]
    return cache
