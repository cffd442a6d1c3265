"""The routes of the scoring hosts (wire.md 9, "Invoke")."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import SCORING
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.scoring import handlers

__all__ = ["ROUTES"]

ROUTES = tuple(
    Route("POST", SCORING, path, handlers.score, audience="handler", errors="scoring")
    for path in ("/score", "/v1/chat/completions")
)
