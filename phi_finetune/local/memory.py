"""How much memory a fine-tune takes, told before it begins, and what would fit.

All numbers are bytes. With P the weights, T those that are trained, B rows of L tokens in a batch, H the width, F the
feed-forward width, N layers, A heads, V the vocabulary, w bytes a stored weight (4, or 2 for 16 bits), and a bytes a
calculated number (4; 2 for 16 bits):

- weights: ``P w``, and ``4 T`` more for adapters;
- gradients: ``4 T``;
- optimiser: ``8 T`` for AdamW (two moments), ``T / 16`` for Adafactor (rows and columns);
- activations: a layer keeps for the backward pass ``B L a (20 H + 5 F)``, and ``10 B L a H`` more with adapters; with
  checkpointing a layer keeps ``B L a H``, and one layer at a time three times the rest: it is computed anew, with its
  gradients beside it. Counting what autograd keeps gives
  13 H + 4 F; the numbers here are what a process was measured to take on a processor (transformers 5.24, F = 3 H), with
  what the backward pass holds for a while and what the allocator does not give back;
- scores: ``4 x 3 x B L_t V`` for the output layer, its softmax in 32 bits and their gradient, where ``L_t`` is the
  tokens that are trained on;
- overhead: what torch and its libraries take themselves: 530 MB in a process on a processor, as measured; 900 MB on a
  GPU, which is assumed.

On several GPUs each takes as much, and ``4 T`` more for the gradients that are exchanged. DeepSpeed divides gradients
and optimiser among them, with stage 3 the weights too; what it takes itself, 4 bytes for each of the numbers that are
exchanged at a time and a second copy of weights in 32 bits where the first has 16, is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Final

import attrs

from phi_finetune.errors import ConfigurationError
from phi_finetune.local.hardware import Hardware
from phi_finetune.local.model import FAMILIES, ModelFacts
from phi_finetune.local.parameters import Given, Settled, settle
from phi_finetune.local.zero import BUCKET

__all__ = [
    "Change",
    "MemoryEstimate",
    "check_fits",
    "estimate",
    "settle_to_fit",
    "shown",
    "trained_weights",
    "what_would_fit",
]

_OVERHEAD: Final = {"cpu": 530_000_000, "cuda": 900_000_000}
_SPARE: Final = 0.92
"""The share of the memory that may be planned with: some is lost between what is allocated."""
_SHORT_ROW: Final = 512
"""The ``max_seq_length`` that is advised: most turns of a chat are shorter."""


@attrs.frozen
class MemoryEstimate:
    """The memory of a fine-tune at its fullest, in bytes.

    Attributes:
        weights: The model and its adapters.
        gradients: Of what is trained.
        optimizer: The optimiser's own numbers.
        activations: What the forward pass keeps for the backward pass, with the output layer's scores.
        overhead: What torch itself takes.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.overhead

    def __str__(self) -> str:
        parts = {name: value for name, value in attrs.asdict(self).items() if value}
        told = ", ".join(f"{name} {shown(value)}" for name, value in parts.items())
        return f"{shown(self.total)}: {told}"


def estimate(
    facts: ModelFacts, settled: Settled, hardware: Hardware, *, longest_row: int, trained_share: float = 1.0
) -> MemoryEstimate:
    """The memory that a fine-tune will take at its fullest.

    Args:
        facts: The model.
        settled: The parameters.
        hardware: The machine.
        longest_row: Tokens of the longest row.
        trained_share: The share of tokens that are trained on.
    """
    lora, half = settled.lora, settled.values["precision"] == 16
    trained = trained_weights(facts, settled)
    adapters = trained if lora else 0
    stored = 2 if half and lora and hardware.device == "cuda" else 4
    optimizer = 8 * trained if settled.values["optim"] == "adamw_torch" else trained // 16
    exchanged = 0
    if settled.zero:
        optimizer += 4 * trained if half else 0
        exchanged = min(4 * BUCKET, 4 * trained)
    elif settled.ranks > 1:
        exchanged = 4 * trained
    parts = settled.ranks if settled.zero else 1
    tokens = int(settled.arguments["per_device_train_batch_size"]) * longest_row
    return MemoryEstimate(
        weights=(facts.parameters * stored + adapters * 4) // (parts if settled.zero == 3 else 1),
        gradients=4 * trained // parts + exchanged,
        optimizer=optimizer // parts,
        activations=_activations(facts, settled, tokens, half=half)
        + int(12 * tokens * trained_share * facts.vocabulary),
        overhead=_OVERHEAD[hardware.device],
    )


def trained_weights(facts: ModelFacts, settled: Settled) -> int:
    """How many weights are trained: the adapters', or all of the model's."""
    return _adapter_weights(facts, settled.lora.r) if settled.lora else facts.parameters


def _adapter_weights(facts: ModelFacts, rank: int) -> int:
    """Weights of the adapters: rank x (inputs + outputs) for each layer that they are on."""
    hidden, inner = facts.hidden, facts.intermediate
    pairs = facts.key_value_heads * (hidden // facts.heads)
    fused = FAMILIES[facts.family][0] == "qkv_proj"
    attention = (
        [(hidden, hidden + 2 * pairs)] if fused else [(hidden, hidden), (hidden, pairs), (hidden, pairs)]
    )
    forward = [(hidden, 2 * inner)] if fused else [(hidden, inner), (hidden, inner)]
    sides = [*attention, (hidden, hidden), *forward, (inner, hidden)]
    return facts.layers * rank * sum(inputs + outputs for inputs, outputs in sides)


def _activations(facts: ModelFacts, settled: Settled, tokens: int, *, half: bool) -> int:
    size = 2 if half else 4
    wide = 20 + 10 * (settled.lora is not None)
    layer = tokens * size * (wide * facts.hidden + 5 * facts.intermediate)
    if settled.arguments["activation_checkpointing"]:
        return tokens * size * facts.hidden * facts.layers + 3 * layer
    return layer * facts.layers


@attrs.frozen
class Change:
    """Parameters to set in place of those of a fine-tune.

    Attributes:
        values: The parameters; those that are not named stay as they are.
        need: What the fine-tune takes with them, in bytes.
    """

    values: Mapping[str, Given]
    need: int

    @property
    def code(self) -> str:
        """The call that sets them, to be put behind the fine-tune."""
        return f".with_parameters({', '.join(f'{name}={value!r}' for name, value in self.values.items())})"

    def __str__(self) -> str:
        # A comment, so that the line can be pasted as it is.
        return f"{self.code}  # about {shown(self.need)}"


def what_would_fit(
    facts: ModelFacts, settled: Settled, hardware: Hardware, *, longest_row: int, trained_share: float = 1.0
) -> tuple[Change, ...]:
    """Changes with which the fine-tune would fit this machine, from the least to the greatest; empty if none would.

    Each can be honoured on this machine.

    Args:
        facts: The model.
        settled: The parameters.
        hardware: The machine.
        longest_row: Tokens of the longest row.
        trained_share: The share of tokens that are trained on.
    """
    changes = _changes(facts, settled, hardware, longest_row, trained_share)
    return tuple(one for one in changes if _has_room(hardware, one.need))


def _has_room(hardware: Hardware, need: int) -> bool:
    return need <= hardware.memory_bytes * _SPARE


def _changes(
    facts: ModelFacts, settled: Settled, hardware: Hardware, longest_row: int, trained_share: float
) -> Iterator[Change]:
    """What could be set otherwise and be honoured on this machine, from the least to the greatest."""
    for values in _savings(settled, longest_row):
        changed = settle({**settled.values, **values}, hardware, checkpointing=True)
        if not changed.refused:
            row = min(longest_row, int(values.get("max_seq_length") or longest_row))
            need = estimate(facts, changed, hardware, longest_row=row, trained_share=trained_share)
            yield Change(values, need.total)


def _savings(settled: Settled, longest_row: int) -> Iterator[dict[str, Given]]:
    """Parameters that take less memory, in every combination; small batches, which cost nothing, in each."""
    rows, batches = (
        int(settled.values[name] or 1)
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    small = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": rows * batches}
    ways: tuple[tuple[bool, dict[str, Given]], ...] = (
        (settled.lora is None, {"apply_lora": True}),
        (longest_row > _SHORT_ROW, {"max_seq_length": _SHORT_ROW}),
        (settled.values["precision"] != 16, {"precision": 16}),
    )
    for lora, short, half in product(*(({}, way) if possible else ({},) for possible, way in ways)):
        if values := {**lora, **(small if rows > 1 else {}), **short, **half}:
            yield values


def check_fits(
    facts: ModelFacts, settled: Settled, hardware: Hardware, *, longest_row: int, trained_share: float = 1.0
) -> MemoryEstimate:
    """The estimate, if the machine has the memory.

    Args:
        facts: The model.
        settled: The parameters.
        hardware: The machine.
        longest_row: Tokens of the longest row.
        trained_share: The share of tokens that are trained on.

    Raises:
        ConfigurationError: It has not; ``next_call`` is the least change with which it would fit, or says that none
            would, and what the smallest would take.
    """
    need = estimate(facts, settled, hardware, longest_row=longest_row, trained_share=trained_share)
    if _has_room(hardware, need.total):
        return need
    changes = tuple(_changes(facts, settled, hardware, longest_row, trained_share))
    fitting = next((one for one in changes if _has_room(hardware, one.need)), None)
    raise ConfigurationError(
        f"The training does not fit into the memory of this machine, {shown(hardware.memory_bytes)}",
        resource=hardware.name,
        why=f"it would take about {need}",
        next_call=_too_large(changes) if fitting is None else str(fitting),
    )


def _too_large(changes: Sequence[Change]) -> str:
    other = "take a smaller model, or train on Azure"
    if not changes:
        return f"{other}: no parameters would make it fit"
    least = min(changes, key=lambda one: one.need)
    return (
        f"{other}: no parameters would make it fit, the smallest {least.code} takes about {shown(least.need)}"
    )


def settle_to_fit(
    values: Mapping[str, Given],
    facts: ModelFacts,
    hardware: Hardware,
    *,
    train_rows: int,
    longest_row: int,
    trained_share: float,
) -> tuple[Settled, MemoryEstimate]:
    """The parameters, with activations computed anew where the memory would not suffice otherwise, and the estimate.

    Args:
        values: The parameters, as :func:`~phi_finetune.local.parameters.settle` takes them.
        facts: The model.
        hardware: The machine.
        train_rows: Rows to train on.
        longest_row: Tokens of the longest row.
        trained_share: The share of tokens that are trained on.

    Raises:
        ConfigurationError: The memory does not suffice even so.
        InvalidParameter: A parameter cannot be honoured.
    """
    plain = settle(values, hardware, train_rows=train_rows)
    plain.check()
    try:
        return plain, check_fits(facts, plain, hardware, longest_row=longest_row, trained_share=trained_share)
    except ConfigurationError:
        sparing = settle(values, hardware, train_rows=train_rows, checkpointing=True)
        return sparing, check_fits(
            facts, sparing, hardware, longest_row=longest_row, trained_share=trained_share
        )


def shown(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
