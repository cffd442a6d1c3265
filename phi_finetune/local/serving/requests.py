"""Scoring requests, in the two forms that a chat model's container takes.

Azure's own form is ``{"input_data": {"input_string": [...], "parameters": {...}}}``, with one conversation or a list
of them; the other is OpenAI's ``{"messages": [...]}``. What a request asks for and cannot have is refused, by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import attrs

from phi_finetune.local.generate import Sampling

__all__ = ["MOST_CONVERSATIONS", "Asked", "BadRequest", "Turn", "read_request"]

Turn = dict[str, str]

MOST_CONVERSATIONS: Final = 256
"""That one request may bring."""
_MOST_STOPS: Final = 4
"""As OpenAI has it."""
_ROLES: Final = ("system", "user", "assistant", "tool")
_COMMON: Final = ("temperature", "top_p", "do_sample", "repetition_penalty", "seed", "stop")
_AZURES: Final = (*_COMMON, "max_new_tokens", "return_full_text")
_LENGTHS: Final = ("max_completion_tokens", "max_tokens", "max_new_tokens")
_TAKEN: Final = ("messages", "model", "stream", "stream_options", "user", "metadata", "store")
_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
}
"""What OpenAI's clients send with values that ask for nothing; with others it is refused."""


class BadRequest(Exception):
    """The body is not a request that the container understands. The words go to the caller, and to no log."""


@attrs.frozen
class Asked:
    """What is asked.

    Attributes:
        conversations: The conversations to go on with.
        sampling: How.
        openai: Whether it came in OpenAI's form.
        many: Whether a list of conversations was sent, so that a list is wanted, be it of one answer.
        stream: Whether the answer is wanted piece by piece.
        usage: Whether a stream ends with how many tokens there were.
        model: What the caller calls the model; None for whatever there is.
    """

    conversations: tuple[tuple[Turn, ...], ...] = attrs.field(repr=False)
    sampling: Sampling
    openai: bool = False
    many: bool = False
    stream: bool = False
    usage: bool = False
    model: str | None = None


def read_request(body: Any) -> Asked:
    """Read a body of either form.

    Raises:
        BadRequest: It has neither, a value is of the wrong type or out of range, or it asks for what is not known.
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
    _only(body, ("input_data", "params"), "The request")
    _only(data, ("input_string", "parameters"), "input_data")
    parameters = _given({**_object(body, "params"), **_object(data, "parameters")})
    _only(parameters, _AZURES, "parameters")
    _flag(parameters, "return_full_text", False)
    asked = data["input_string"]
    many = isinstance(asked, list) and bool(asked) and all(isinstance(one, list) for one in asked)
    if many and len(asked) > MOST_CONVERSATIONS:
        raise BadRequest(f"There are {len(asked)} conversations; {MOST_CONVERSATIONS} may be asked at once.")
    talks = tuple(_messages(one) for one in (asked if many else [asked]))
    return Asked(talks, _sampling(parameters, ("max_new_tokens",)), many=many)


def _openai(body: Mapping[str, Any]) -> Asked:
    values = _given(body)
    _only(values, (*_COMMON, *_LENGTHS, *_TAKEN, *_NEUTRAL), "The request")
    for name, neutral in _NEUTRAL.items():
        if name in values and values[name] not in neutral:
            raise BadRequest(f"{name} is not supported, other than {neutral[0]!r}.")
    options = _object(values, "stream_options")
    _only(options, ("include_usage", "include_obfuscation"), "stream_options")
    stream = _flag(values, "stream", False)
    if options and not stream:
        raise BadRequest("stream_options needs stream.")
    return Asked(
        (_messages(values.get("messages")),),
        _sampling(values, _LENGTHS),
        openai=True,
        stream=stream,
        usage=_flag(options, "include_usage", False),
        model=_text(values, "model"),
    )


def _sampling(values: Mapping[str, Any], lengths: Sequence[str]) -> Sampling:
    default = Sampling()
    named = [name for name in lengths if name in values]
    if len(named) > 1:
        raise BadRequest(f"{named[0]} and {named[1]} are the same; give one of them.")
    length = named[0] if named else lengths[0]
    sampling = Sampling(
        max_new_tokens=_whole(values, length, default.max_new_tokens),
        temperature=_number(values, "temperature", default.temperature),
        top_p=_number(values, "top_p", default.top_p),
        do_sample=_flag(values, "do_sample", default.do_sample),
        repetition_penalty=_number(values, "repetition_penalty", default.repetition_penalty),
        seed=_whole(values, "seed", default.seed),
        stop=_stops(values.get("stop", [])),
    )
    _check(sampling.max_new_tokens >= 1, f"{length} must be 1 or more.")
    _check(0 <= sampling.temperature < float("inf"), "temperature must be 0 or more.")
    _check(0 < sampling.top_p <= 1, "top_p must be more than 0 and at most 1.")
    _check(0 < sampling.repetition_penalty < float("inf"), "repetition_penalty must be more than 0.")
    _check(-(2**63) <= sampling.seed < 2**63, "seed must fit into 64 bits.")
    return sampling


def _check(good: bool, why: str) -> None:
    if not good:
        raise BadRequest(why)


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
        raise BadRequest("stop must be a text, or a list of texts.")
    _check(len(stops) <= _MOST_STOPS, f"stop may have {_MOST_STOPS} texts at most.")
    return tuple(stops)


def _messages(value: Any) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value:
        raise BadRequest("The messages must be a list with at least one message.")
    return tuple(_message(number, message) for number, message in enumerate(value))


def _message(number: int, message: Any) -> Turn:
    role = message.get("role") if isinstance(message, dict) else None
    content = _joined(message.get("content")) if isinstance(message, dict) else None
    if not isinstance(role, str) or not isinstance(content, str):
        raise BadRequest(f"Message {number} must have a role and a content, both of them text.")
    # A template leaves out, without a word, what a role that it does not know has said.
    _check(role in _ROLES, f"The role of message {number} must be one of {', '.join(_ROLES)}.")
    return {"role": role, "content": content}


def _joined(content: Any) -> Any:
    """A content in OpenAI's parts, as long as they are text, as one text."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    whole = len(texts) == len(content) and all(isinstance(text, str) for text in texts)
    return "".join(map(str, texts)) if whole else None


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is null: it asks for the default."""
    return {name: value for name, value in values.items() if value is not None}


def _only(values: Mapping[str, Any], known: Collection[str], what: str) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise BadRequest(f"{what} has {unknown[0]!r}, which is not known here.")


def _object(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key) or {}
    if not isinstance(value, dict):
        raise BadRequest(f"{key} must be an object.")
    return value


def _number(values: Mapping[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{key} must be a number.")
    return float(value)


def _whole(values: Mapping[str, Any], key: str, default: int) -> int:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{key} must be a whole number.")
    return value


def _flag(values: Mapping[str, Any], key: str, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{key} must be true or false.")
    return value


def _text(values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{key} must be a text.")
    return value
