"""Changes that the service carries out over time: accepted, then polled, always under a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from phi_finetune._azure.client import Client
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import error_parts, expect
from phi_finetune._reconcile import DOUBTFUL, Change, settle
from phi_finetune._waiting import SHOWS_WITHIN_LOOKS, Look, Patience, wait_for
from phi_finetune.errors import NotFound, PhiFinetuneError, ServiceError
from phi_finetune.retries import retry_after_s

__all__ = ["Failed", "apply", "delete", "follow", "hint_s", "state", "wait_gone"]


class Failed(Exception):
    """The service accepted a change and then failed it; the caller knows what that means."""

    def __init__(self, code: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def as_error(self, what: str, resource: str, costs: str, next_call: str) -> ServiceError:
        """The error for a caller to whom no further meaning of it is known."""
        why = f"{self.code}: {self.message}" if self.code else self.message
        return ServiceError(
            what, resource=resource, why=why, costs=costs, next_call=next_call, code=self.code
        )


def apply(
    client: Client,
    send: Callable[[], Answer],
    look: Callable[[], dict[str, Any] | None],
    *,
    resource: str,
    costs: str,
    next_call: str,
) -> Answer | dict[str, Any]:
    """Send a change; give its answer, a refusal too, or what was found where the answer does not tell.

    Args:
        client: The handle.
        send: Sends it.
        look: What it has made, as ARM describes it; None where that does not show.
        resource: What it is about.
        costs: What may be running while nobody knows.
        next_call: What the caller may do then.

    Raises:
        OutcomeUnknown: Looking does not tell either.
        ServiceUnreachable: The answer was lost, and nothing shows.
    """

    def doubt(answer: Answer) -> str | None:
        return f"HTTP {answer.status}" if answer.status in DOUBTFUL else None

    return settle(send, look, Change(resource, costs, next_call, client.clock, client.notify), doubt)


def delete(
    client: Client,
    path: str,
    *,
    query: Mapping[str, str],
    resource: str,
    costs: str,
    next_call: str,
    timeout: timedelta,
) -> bool:
    """Delete something and see it gone; False where it was not there. Every error has ``costs``.

    Raises:
        DeadlineExceeded: It is still there.
        OutcomeUnknown: Neither an answer nor a look told whether it goes.
        NotFound: There is no such workspace.
        ServiceError: The service gave up on it.
    """
    change = Change(resource, costs, next_call, client.clock, client.notify)
    try:
        return _see_gone(client, path, query, change, timeout)
    except NotFound:
        raise
    except Failed as failure:
        raise failure.as_error(f"Could not delete {resource}", resource, costs, next_call) from None
    except PhiFinetuneError as error:
        error.costs = costs
        raise


def _see_gone(
    client: Client, path: str, query: Mapping[str, str], change: Change, timeout: timedelta
) -> bool:
    resource, next_call = change.resource, change.next_call
    api = query["api-version"]
    absences = 0

    def found() -> dict[str, Any] | None:
        nonlocal absences
        body = client.find(path, api=api, resource=resource, doing="see whether it is gone")
        if body is not None:
            return body if state(body) == "Deleting" else None
        # One 404 proves nothing, where nothing tells that the deletion was accepted (reliability.md 3.3).
        absences += 1
        return {} if absences == SHOWS_WITHIN_LOOKS - 1 else None

    outcome = apply(
        client,
        lambda: client.rest.send("DELETE", client.url + path, query=query),
        found,
        resource=resource,
        costs=change.costs,
        next_call=next_call,
    )
    if isinstance(outcome, Answer):
        client.check_workspace(outcome)
        if outcome.status in (204, 404):
            return False
        expect(outcome, 200, 202, doing=f"delete {resource}", resource=resource, next_call=next_call)
        follow(client, outcome, resource=resource, timeout=timeout, next_call=next_call)
    wait_gone(client, path, api=api, resource=resource, timeout=timeout, next_call=next_call)
    return True


def state(body: Mapping[str, Any]) -> str:
    """The provisioning state of something, as Azure names it."""
    return str((body.get("properties") or {}).get("provisioningState"))


def follow(client: Client, answer: Answer, *, resource: str, timeout: timedelta, next_call: str) -> None:
    """Wait until a change that was accepted is done.

    An answer that names no operation was done at once.

    Raises:
        Failed: The service gave up on it.
        DeadlineExceeded: It is not done in time.
    """
    url = answer.headers.get("azure-asyncoperation")
    if url is None:
        return

    def look() -> Look[bool]:
        seen = expect(client.rest.send("GET", url), 200, doing="follow the operation", resource=resource)
        body = seen.json()
        status = str(body.get("status"))
        if status == "Succeeded":
            return Look(status, True)
        if status in ("Failed", "Canceled"):
            code, message = error_parts(seen.body)
            raise Failed(code, message or f"the operation ended as {status}")
        return Look(status, hint_s=hint_s(seen))

    wait_for(look, Patience(resource, timeout, client.clock, client.notify, next_call))


def wait_gone(
    client: Client, path: str, *, api: str, resource: str, timeout: timedelta, next_call: str
) -> None:
    """Wait until something answers 404, after its deletion was accepted.

    Raises:
        DeadlineExceeded: It is still there.
    """

    def look() -> Look[bool]:
        body: dict[str, Any] | None = client.find(
            path, api=api, resource=resource, doing="see whether it is gone"
        )
        if body is None:
            return Look("gone", True)
        return Look(state(body))

    wait_for(look, Patience(resource, timeout, client.clock, client.notify, next_call))


def hint_s(answer: Answer) -> float | None:
    """How long the answer asks to wait before the next look, in seconds."""
    return retry_after_s(answer.headers, time.time())
