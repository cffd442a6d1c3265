"""Scoring requests and answers, in the two forms that a chat model's container speaks.

Azure's own form is ``{"input_data": {"input_string": [...], "parameters": {...}}}``, answered with
``{"output": "..."}``; the other is OpenAI's ``{"messages": [...]}``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phi_finetune.emulator.runners.ngram import Completion, Message

__all__ = ["BadRequest", "ChatRequest", "read_request"]


class BadRequest(Exception):
    """The body is not a request that the container understands."""


@dataclass(frozen=True)
class ChatRequest:
    """A conversation to go on with, and how. The defaults are assumed: Azure documents none."""

    messages: tuple[Message, ...]
    temperature: float = 0.6
    top_p: float = 0.9
    do_sample: bool = True
    max_new_tokens: int = 200
    seed: int = 0
    openai: bool = False
    model: str = "simulated"

    def body(self, completion: Completion) -> dict[str, Any]:
        """The answer in the form of the request."""
        if not self.openai:
            return {"output": completion.text}
        digest = hashlib.sha256(json.dumps([completion.text, self.messages]).encode()).hexdigest()
        prompt, answer = completion.prompt_tokens, completion.completion_tokens
        return {
            "id": f"chatcmpl-{digest[:32]}",
            "object": "chat.completion",
            "created": 0,  # A runner has no clock.
            "model": self.model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": completion.text},
                    "finish_reason": completion.finish_reason,
                }
            ],
            "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
        }


def read_request(body: Any) -> ChatRequest:
    """Read a body of either form.

    Raises:
        BadRequest: It has neither, or a value is of the wrong type.
    """
    if not isinstance(body, dict):
        raise BadRequest("The request must be a JSON object.")
    if "messages" in body:
        return _openai(body)
    data = body.get("input_data")
    if data is None:
        # Azure/azureml-examples#3385 has the words.
        raise BadRequest("A value is not provided for the 'input_data' parameter.")
    if not isinstance(data, dict) or "input_string" not in data:
        raise BadRequest("input_data must be an object with an input_string, a list of messages.")
    parameters = {**_object(body, "params"), **_object(data, "parameters")}
    return _request(data["input_string"], parameters, "max_new_tokens", openai=False)


def _openai(body: Mapping[str, Any]) -> ChatRequest:
    if body.get("stream"):
        raise BadRequest("Streaming is not supported.")
    return _request(body["messages"], body, "max_tokens", openai=True)


def _request(messages: Any, parameters: Mapping[str, Any], length: str, *, openai: bool) -> ChatRequest:
    default = ChatRequest(())
    do_sample = parameters.get("do_sample", default.do_sample)
    if not isinstance(do_sample, bool):
        raise BadRequest("do_sample must be true or false.")
    return ChatRequest(
        messages=_messages(messages),
        temperature=_number(parameters, "temperature", default.temperature),
        top_p=_number(parameters, "top_p", default.top_p),
        do_sample=do_sample,
        max_new_tokens=_whole(parameters, length, default.max_new_tokens),
        seed=_whole(parameters, "seed", default.seed),
        openai=openai,
        model=str(parameters.get("model", default.model)),
    )


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise BadRequest("The messages must be a list with at least one message.")
    for number, message in enumerate(value):
        if not isinstance(message, dict) or not all(
            isinstance(message.get(key), str) for key in ("role", "content")
        ):
            raise BadRequest(f"Message {number} must have a role and a content, both of them text.")
    return tuple({"role": message["role"], "content": message["content"]} for message in value)


def _object(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key) or {}
    if not isinstance(value, dict):
        raise BadRequest(f"{key} must be an object.")
    return value


def _number(parameters: Mapping[str, Any], key: str, default: float) -> float:
    value = parameters.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{key} must be a number.")
    return float(value)


def _whole(parameters: Mapping[str, Any], key: str, default: int) -> int:
    value = parameters.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{key} must be a whole number.")
    return value
