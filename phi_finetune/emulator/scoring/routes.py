"""The routes of the scoring hosts (wire.md 9, "Invoke"; reference of the Azure AI Model Inference API)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import SCORING, SERVERLESS
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.scoring import handlers, handlers_serverless

__all__ = ["ROUTES"]

ROUTES = (
    *(
        Route("POST", SCORING, path, handlers.score, audience="handler", errors="scoring")
        for path in ("/score", "/v1/chat/completions")
    ),
    *(
        Route("POST", SERVERLESS, path, handlers_serverless.chat, audience="handler", errors="scoring")
        for path in ("/chat/completions", "/v1/chat/completions")
    ),
    Route("GET", SERVERLESS, "/info", handlers_serverless.info, audience="handler", errors="scoring"),
)
