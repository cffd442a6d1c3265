"""Answers in the form of their requests, whole or as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from phi_finetune.local.generate import Completion

__all__ = ["Chat", "azures", "event", "refusal", "trouble"]


def azures(completions: Sequence[Completion], *, many: bool) -> dict[str, Any]:
    """Azure's own form: a text, or a list of them where a list of conversations was sent."""
    texts = [completion.text for completion in completions]
    return {"output": texts if many else texts[0]}


@attrs.frozen
class Chat:
    """An answer in OpenAI's form.

    Attributes:
        id: The answer's own id.
        created: When it began, in seconds since 1970.
        model: What the model is called.
    """

    id: str
    created: int
    model: str

    def whole(self, completion: Completion) -> dict[str, Any]:
        """The answer as one object."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": completion.text},
            "finish_reason": completion.finish_reason,
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": _usage(completion)}

    def piece(self, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
        """The event of a piece of the answer."""
        choice = {"index": 0, "delta": dict(delta), "finish_reason": finish_reason}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def usage(self, completion: Completion) -> bytes:
        """The event that says how many tokens there were."""
        return event({**self._head("chat.completion.chunk"), "choices": [], "usage": _usage(completion)})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def event(value: Mapping[str, Any] | str) -> bytes:
    """A server-sent event."""
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


def refusal(code: str, message: str) -> dict[str, Any]:
    """What the endpoint itself says of a request that it does not let through."""
    return {"error": {"code": code, "message": message}}


def trouble(message: str) -> dict[str, Any]:
    """What the container says of a request that it does not understand."""
    return {"error": message}


def _usage(completion: Completion) -> dict[str, int]:
    prompt, answer = completion.prompt_tokens, completion.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
