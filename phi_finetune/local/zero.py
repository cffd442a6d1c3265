"""DeepSpeed's configuration: the user's own file, or one made from the stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from phi_finetune.errors import InvalidParameter
from phi_finetune.local._files import read_json
from phi_finetune.local.parameters import Settled

__all__ = ["BUCKET", "zero_config"]

BUCKET: Final = 200_000_000
"""Numbers that the GPUs exchange at a time."""

_FROM_PARAMETERS: Final = {
    **{name: {"enabled": "auto"} for name in ("bf16", "fp16")},
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
}
"""What the trainer takes from the other parameters."""

_DIVIDED: Final[Mapping[int, Mapping[str, Any]]] = {
    2: {
        "stage": 2,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
    },
    3: {
        "stage": 3,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}


def zero_config(settled: Settled, folder: Path) -> dict[str, Any] | None:
    """The configuration to train with; None where DeepSpeed is not what trains.

    Without a file of the user's own, nothing is moved to the machine's memory, and optimiser and schedule are those of
    the other parameters.

    Args:
        settled: The parameters.
        folder: What the path of the parameter ``deepspeed`` is relative to.

    Raises:
        InvalidParameter: The file is no configuration of the stage that ``deepspeed_stage`` names, or one with which
            the trained weights could not be written whole.
    """
    if not settled.zero:
        return None
    given = settled.values["deepspeed"]
    if given is None:
        return {**_FROM_PARAMETERS, "zero_optimization": dict(_DIVIDED[settled.zero])}
    try:
        config = read_json(folder / str(given))
    except (OSError, ValueError):
        raise _refused("it is not a JSON object that can be read") from None
    divided = config.get("zero_optimization")
    if not isinstance(divided, dict):
        raise _refused("it has no zero_optimization, which says what is divided")
    stage = divided.get("stage")
    if stage != settled.zero:
        raise _refused(f"its stage is {stage!r}, and deepspeed_stage is {settled.zero}")
    if stage == 3 and not divided.get("stage3_gather_16bit_weights_on_model_save"):
        raise _refused(
            "with stage 3 the weights are gathered at the end only where "
            "stage3_gather_16bit_weights_on_model_save is true"
        )
    return config


def _refused(why: str) -> InvalidParameter:
    return InvalidParameter(
        "DeepSpeed's configuration cannot be used",
        name="deepspeed",
        why=why,
        resource="parameter deepspeed",
        next_call="change the file, or leave it out and set deepspeed_stage",
    )
