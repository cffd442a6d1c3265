"""What a workspace checks itself before a job is sent to it, where the machine that trains is at hand.

A local workspace's client has one where it really trains; that of a workspace of Azure, or of one whose jobs are made
up, has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from phi_finetune.chat_dataset import ChatDataset
    from phi_finetune.local.memory import MemoryEstimate
    from phi_finetune.parameters import FinetuneParameters, Value

__all__ = ["Preflight"]


class Preflight(Protocol):
    """Refuses what could only fail later."""

    def check_model(self, model_id: str) -> None:
        """Refuse a model that can never be trained on the machine."""
        ...

    def check_finetune(
        self, model_id: str, parameters: Mapping[str, Value | None], data: ChatDataset
    ) -> MemoryEstimate:
        """Refuse a fine-tune that would fail on the machine as it is now; or say what memory it takes."""
        ...

    def notes_on(self, parameters: FinetuneParameters) -> tuple[str, ...]:
        """What the machine makes of parameters that the user gave, where it is not what they say; sentences."""
        ...
