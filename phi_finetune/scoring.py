"""What goes to an endpoint and what comes back: chat requests, replies, and how a refusal is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from phi_finetune._unshown import Unshown
from phi_finetune.chat_dataset import Conversation
from phi_finetune.errors import (
    InvalidParameter,
    ScoringFailed,
    ScoringModelError,
    ScoringThrottled,
    ScoringTimeout,
    ScoringUnauthorized,
    ScoringUnavailable,
    UnexpectedAnswer,
)
from phi_finetune.protocols import Try

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune._azure.rest import Answer
    from phi_finetune.endpoints import Endpoint

__all__ = ["ChatReply", "Sampling", "Turns"]

Turns: TypeAlias = str | Sequence[Mapping[str, str]] | Mapping[str, Any] | Conversation
"""What can be asked: a text, a list of messages with ``role`` and ``content``, or a row of a data set."""


@attrs.frozen
class Sampling:
    """How an answer is drawn.

    Attributes:
        temperature: How bold the sampling is; 0 always takes the likeliest token.
        top_p: Sample from the likeliest tokens that together have this probability.
        do_sample: False always takes the likeliest token.
        max_new_tokens: The most tokens that the answer may have.
        repetition_penalty: Above 1 it makes repetition less likely; None leaves it to the model.
    """

    temperature: float = 0.6
    top_p: float = 0.9
    do_sample: bool = True
    max_new_tokens: int = 200
    repetition_penalty: float | None = None

    def __attrs_post_init__(self) -> None:
        _check("temperature", self.temperature, self.temperature >= 0, "0 or more")
        _check("top_p", self.top_p, 0 < self.top_p <= 1, "more than 0 and at most 1")
        _check("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1, "1 or more")
        if self.repetition_penalty is not None:
            _check("repetition_penalty", self.repetition_penalty, self.repetition_penalty > 0, "more than 0")

    def as_parameters(self) -> dict[str, float | bool | int]:
        """The settings as the endpoint takes them; those left to the model are not named."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


@attrs.frozen
class ChatReply:
    """An answer.

    Attributes:
        text: What the model says.
        deployment: The deployment that answered; None where the endpoint does not say.
        prompt_tokens: Tokens of the question; None where the endpoint does not say.
        completion_tokens: Tokens of the answer; None where the endpoint does not say.
        raw: The whole answer, as it came.
    """

    text: str
    deployment: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    raw: Any = attrs.field(default=None, repr=False, eq=False)

    def __str__(self) -> str:
        return self.text


def request_body(turns: Turns, sampling: Sampling) -> Unshown:
    """A chat request in the form that Azure's chat-completion models take (azureml-examples, chat-completion)."""
    return Unshown(
        input_data={"input_string": messages_of(turns), "parameters": sampling.as_parameters()}, params={}
    )


def messages_of(turns: Turns) -> list[dict[str, str]]:
    """The messages to send. Of a data set's row the last turn is left out where it is the assistant's.

    Raises:
        InvalidParameter: There is nothing to send, or it is not a conversation.
    """
    if isinstance(turns, str):
        messages = [{"role": "user", "content": turns}]
    elif isinstance(turns, Conversation):
        messages = [{"role": turn.role, "content": turn.content} for turn in turns.prompt]
    elif isinstance(turns, Mapping):
        messages = _without_answer(_checked(turns.get("messages")))
    else:
        messages = _checked(turns)
    if messages and any(message["content"].strip() for message in messages):
        return messages
    raise InvalidParameter(
        "There is no message to send",
        name="message",
        value=None,
        allowed="a text, messages, or a row of a data set",
    )


def send(client: Client, endpoint: Endpoint, body: Unshown, deployment: str | None) -> Answer:
    """Send a request to an endpoint and give its good answer.

    The key is fetched once and kept in memory; a 401 fetches it anew. Headers are made for each request
    (azure-ai-ml's own ``invoke`` shares one dictionary between all of them: wire.md 9).

    Raises:
        ScoringFailed: The endpoint did not answer; a subclass says how.
        HostRefused: Its address is not one of an endpoint in the workspace's region. Neither key nor question was sent.
    """
    client.hosts.check(endpoint.scoring_uri)
    client.hosts.check_scoring(endpoint.scoring_uri, client.facts.location)
    started, refusals = client.clock.monotonic(), 0
    answer = _post(client, endpoint, body, deployment)
    while answer.status == 401 and endpoint.auth == "key":
        if refusals and not _asked_anew(client, endpoint, answer, refusals, started):
            break
        refusals += 1
        client.forget(_key_of(endpoint))
        answer = _post(client, endpoint, body, deployment)
    if answer.status == 200:
        return answer
    raise _refusal(answer, endpoint, deployment)


def read_json(answer: Answer, resource: str) -> Any:
    """The answer's JSON value.

    Raises:
        UnexpectedAnswer: It is not JSON: half an answer is never given as a whole one.
    """
    try:
        return json.loads(answer.body)
    except ValueError:
        raise UnexpectedAnswer(
            "The endpoint's answer cannot be read",
            resource=resource,
            why=f"{len(answer.body)} bytes that are not JSON",
            next_call="ask again",
            request_id=answer.headers.get("x-request-id"),
        ) from None


def read_reply(answer: Answer, resource: str) -> ChatReply:
    """The reply in an answer, in Azure's form (``output``) or in OpenAI's (``choices``)."""
    value = read_json(answer, resource)
    usage = value.get("usage") if isinstance(value, Mapping) else None
    tokens = usage if isinstance(usage, Mapping) else {}
    return ChatReply(
        text=_text(value, resource),
        deployment=answer.headers.get("azureml-model-deployment"),
        prompt_tokens=tokens.get("prompt_tokens"),
        completion_tokens=tokens.get("completion_tokens"),
        raw=value,
    )


def _text(value: Any, resource: str) -> str:
    if isinstance(value, Mapping):
        output = value.get("output")
        if isinstance(output, str):
            return output
        choices = value.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            content = (choices[0].get("message") or {}).get("content")
            if isinstance(content, str):
                return content
    raise UnexpectedAnswer(
        "The endpoint answered, but not as a chat model does",
        resource=resource,
        why="it holds neither output nor choices",
        next_call="endpoint.score(body) gives the answer as it is",
    )


def _post(client: Client, endpoint: Endpoint, body: Unshown, deployment: str | None) -> Answer:
    # No variable holds the headers: a traceback may show each function's variables.
    return client.rest.send(
        "POST",
        endpoint.scoring_uri,
        body=body,
        headers=_headers(client, endpoint, deployment),
        signed=endpoint.auth != "key",
        scope=client.cloud.ml_scope,
    )


def _asked_anew(client: Client, endpoint: Endpoint, refusal: Answer, attempt: int, started: float) -> bool:
    """Whether the retry policy lets a question be asked again whose new key was refused as one that has expired."""
    from phi_finetune._azure.transport import says_expired

    if not says_expired(refusal.body):
        return False
    failed = Try(attempt, client.clock.monotonic() - started, "score", status_code=refusal.status)
    return client.transport.wait_after(failed, f"POST {endpoint.scoring_uri}", "HTTP 401").is_over


def _headers(client: Client, endpoint: Endpoint, deployment: str | None) -> dict[str, str]:
    headers = {} if deployment is None else {"azureml-model-deployment": deployment}
    if endpoint.auth == "key":
        key = client.remember(_key_of(endpoint), lambda: _fetch_key(client, endpoint))
        headers["Authorization"] = f"Bearer {key()}"
    return headers


def _fetch_key(client: Client, endpoint: Endpoint) -> Callable[[], str]:
    """What gives the key: whoever looks through a handle's attributes does not come upon it."""
    from phi_finetune._azure.endpoints import keys

    key, _ = keys(client, endpoint.name)
    return lambda: key


def _key_of(endpoint: Endpoint) -> str:
    return f"key of {endpoint.name} at {endpoint.scoring_uri}"


_KINDS: Final[Mapping[int, tuple[type[ScoringFailed], str, str]]] = {
    401: (
        ScoringUnauthorized,
        "The endpoint refused the key or token",
        "check the role: listKeys for a key, onlineEndpoints/score for an Entra token",
    ),
    403: (
        ScoringUnauthorized,
        "The endpoint refused the caller's role",
        "ask for the action Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action",
    ),
    404: (
        ScoringUnavailable,
        "No deployment of the endpoint takes the request",
        "endpoint.deployments() says what there is, and endpoint.shift_traffic() gives one of them the traffic",
    ),
    408: (
        ScoringTimeout,
        "The answer took longer than the deployment's request timeout",
        "ask for fewer tokens, or deploy with a longer request_timeout (180 s at most)",
    ),
    424: (
        ScoringModelError,
        "The model's own code failed",
        "endpoint.logs() says why; a request of another form is the usual cause",
    ),
    429: (
        ScoringThrottled,
        "Too many requests are waiting at the endpoint",
        "ask less at a time, or deploy with more instances",
    ),
}


def _refusal(answer: Answer, endpoint: Endpoint, deployment: str | None) -> ScoringFailed:
    from phi_finetune._azure.operations import hint_s
    from phi_finetune._azure.translate import asks_to_wait

    kind, what, next_call = _KINDS.get(
        answer.status,
        (ScoringFailed, "The endpoint did not answer", "ask again; endpoint.logs() may say more"),
    )
    answered = deployment or answer.headers.get("azureml-model-deployment")
    if answer.status == 424 and answered is not None:
        next_call = next_call.replace("endpoint.logs()", f"endpoint.logs({answered!r})")
    told = answer.headers.get("ms-azureml-model-error-statuscode", "")
    reason = answer.headers.get("ms-azureml-model-error-reason")
    resource = endpoint.resource if deployment is None else f"deployment {deployment} of {endpoint.resource}"
    # The body is not quoted: it may hold the prompt.
    why = f"HTTP {answer.status}" + (
        f", the model's code answered {told} {reason or ''}".rstrip() if told else ""
    )
    why = "; ".join(part for part in (why, asks_to_wait(answer.headers), answer.gave_up) if part)
    return kind(
        what,
        resource=resource,
        why=why,
        costs=f"{endpoint.resource} bills as before",
        next_call=next_call,
        status_code=answer.status,
        request_id=answer.headers.get("x-request-id") or answer.headers.get("x-ms-request-id"),
        model_status=int(told) if told.isdecimal() else None,
        retry_after_s=hint_s(answer),
    )


def _checked(messages: object) -> list[dict[str, str]]:
    if isinstance(messages, Sequence) and not isinstance(messages, (str, bytes)):
        return [_message(message) for message in messages]
    raise InvalidParameter(
        "These are no messages", name="message", value=None, allowed="a list of objects with role and content"
    )


def _message(message: object) -> dict[str, str]:
    if isinstance(message, Mapping):
        role, content = message.get("role"), message.get("content")
        if isinstance(role, str) and isinstance(content, str):
            return {"role": role, "content": content}
    raise InvalidParameter(
        "A message lacks a role or a content",
        name="message",
        value=None,
        allowed="objects with role and content, both texts",
    )


def _without_answer(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages


def _check(name: str, value: float, good: bool, allowed: str) -> None:
    if not good:
        raise InvalidParameter(f"{name} is out of range", name=name, value=value, allowed=allowed)
