"""Changes that the service carries out over time: accepted, then polled, always under a deadline."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from phi_finetune._azure.client import Client
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import error_parts, expect
from phi_finetune._waiting import Look, Patience, wait_for
from phi_finetune.retries import retry_after_s

__all__ = ["Failed", "follow", "hint_s", "wait_gone"]


class Failed(Exception):
    """The service accepted a change and then failed it; the caller knows what that means."""

    def __init__(self, code: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


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
        return Look(str((body.get("properties") or {}).get("provisioningState", "still there")))

    wait_for(look, Patience(resource, timeout, client.clock, client.notify, next_call))


def hint_s(answer: Answer) -> float | None:
    """How long the answer asks to wait before the next look, in seconds."""
    return retry_after_s(answer.headers, time.time())
