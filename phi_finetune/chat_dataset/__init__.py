"""Chat data: conversations in splits, checked by the rules that training applies to them hours later."""

from __future__ import annotations

from phi_finetune.chat_dataset.conversation import Conversation, Message, Role
from phi_finetune.chat_dataset.dataset import (
    LEAST_TRAINING_ROWS,
    ChatDataset,
    SplitName,
    sample_conversations,
)
from phi_finetune.chat_dataset.origin import Origin
from phi_finetune.chat_dataset.repairing import Mended, Repaired
from phi_finetune.chat_dataset.report import Estimate, Problem, ValidationReport
from phi_finetune.chat_dataset.split_info import SplitInfo
from phi_finetune.chat_dataset.stats_views import DatasetStats
from phi_finetune.chat_dataset.tokens import TokenCount, count_tokens
from phi_finetune.chat_dataset.xray import Xray

__all__ = [
    "LEAST_TRAINING_ROWS",
    "ChatDataset",
    "Conversation",
    "DatasetStats",
    "Estimate",
    "Mended",
    "Message",
    "Origin",
    "Problem",
    "Repaired",
    "Role",
    "SplitInfo",
    "SplitName",
    "TokenCount",
    "ValidationReport",
    "Xray",
    "count_tokens",
    "sample_conversations",
]
