"""From Azure's refusals to this library's errors: one table, one function.

==========================================  =======================
answer                                      error
==========================================  =======================
401                                         AuthenticationFailed
403                                         PermissionMissing
404                                         NotFound
code or message that speaks of quota        QuotaExceeded
anything else                               ServiceError
==========================================  =======================
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from phi_finetune._azure.rest import Answer, sign_in_lapsed
from phi_finetune.errors import (
    AuthenticationFailed,
    NotFound,
    PermissionMissing,
    PhiFinetuneError,
    QuotaExceeded,
    ServiceError,
    ServiceUnreachable,
    UnexpectedAnswer,
)
from phi_finetune.retries import retry_after_s

__all__ = ["asks_to_wait", "azure_ai_ml_errors", "error_parts", "expect", "refuse", "speaks_of_quota"]

_QUOTA = re.compile(r"quota", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_BAD_REQUEST = (400, 409, 422)
_BLOB_RIGHTS = (
    "AuthorizationPermissionMismatch",
    "AuthorizationFailure",
    "KeyBasedAuthenticationNotPermitted",
)
_ACTION = re.compile(r"(?:perform action|action) '([^']+)'")


def expect(answer: Answer, *statuses: int, doing: str, resource: str, next_call: str | None = None) -> Answer:
    """Give the answer back where its status is one of ``statuses``.

    Raises:
        PhiFinetuneError: The one that the table above names.
    """
    if answer.status not in statuses:
        refuse(answer, doing=doing, resource=resource, next_call=next_call)
    return answer


def refuse(answer: Answer, *, doing: str, resource: str, next_call: str | None = None) -> NoReturn:
    """Raise the error for an answer that refuses something.

    Args:
        answer: The refusal.
        doing: What was attempted, as in "Could not <doing>".
        resource: On what.
        next_call: What comes next, where the caller knows better than the table; for a sign-in, a right, a quota or
            a bad request the table knows better.
    """
    code, message = error_parts(answer.body)
    # A blob store tells its code in a header, and its message in XML that says no more.
    code = code or answer.headers.get("x-ms-error-code")
    raise _error(
        answer.status,
        code,
        message,
        doing,
        resource,
        next_call,
        answer.headers.get("x-ms-request-id"),
        (asks_to_wait(answer.headers), answer.gave_up),
    )


def asks_to_wait(headers: Mapping[str, str]) -> str | None:
    """How long an answer asks to be left alone, in words; None where it asks nothing."""
    seconds = retry_after_s(headers, time.time())
    return f"the service asks to wait {seconds:g} s" if seconds else None


def error_parts(body: bytes) -> tuple[str | None, str]:
    """Code and message of an error's body, whichever of Azure's forms it has; the message may be empty."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return None, ""
    if not isinstance(value, dict):
        return None, ""
    inner = value.get("error", value)
    if not isinstance(inner, dict):
        return None, str(inner)[:500]
    details = [str(item.get("message", "")) for item in inner.get("details") or () if isinstance(item, dict)]
    message = " ".join([str(inner.get("message") or ""), *details]).strip()
    code = inner.get("code") or inner.get("error_code")
    return (str(code) if code else None), message[:2000]


def speaks_of_quota(code: str | None, message: str) -> bool:
    """Whether a refusal is about quota: there is no class or status for it (wire.md 4)."""
    return bool(_QUOTA.search(code or "") or _QUOTA.search(message))


@contextmanager
def azure_ai_ml_errors(*, doing: str, resource: str) -> Iterator[None]:
    """Turn what azure-ai-ml and azure-core raise into this library's errors.

    None of theirs is chained: they hold the live response, and with it tokens and bodies. Meanwhile azure-ai-ml's
    notices about its own experimental classes, which nobody can act on, are not shown.
    """
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        IncompleteReadError,
    )
    from jwt.exceptions import PyJWTError

    try:
        with without_notices():
            yield
    except ClientAuthenticationError as error:
        if error.response is None:
            raise sign_in_lapsed(error) from None
        raise _from_response(error, doing, resource) from None
    except IncompleteReadError as error:
        raise _unreachable(error, doing, resource) from None
    except HttpResponseError as error:
        # azure-core also says so of an answer that it cannot read, whatever its status, or that has none.
        if (error.status_code or 0) < 400:
            raise _unread(error, doing, resource) from None
        raise _from_response(error, doing, resource) from None
    except AzureError as error:
        if isinstance(error, MlException):
            message = _ANSI.sub("", str(error))
            raise ServiceError(f"Could not {doing}", resource=resource, why=message[:2000]) from None
        raise _unreachable(error, doing, resource) from None
    except PyJWTError:
        raise AuthenticationFailed(
            f"Could not {doing}",
            resource=resource,
            why="azure-ai-ml reads the token for https://ml.azure.com, and the credential's is not a JWT",
            next_call="give connect() a credential of Entra ID",
        ) from None
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        # What azure-ai-ml raises when an answer is cut, or lacks something: it reads without checking.
        raise _unread(error, doing, resource) from None


@contextmanager
def without_notices() -> Iterator[None]:
    """Keep azure-ai-ml's notices about experimental classes off the screen; every other record passes."""
    handlers = logging.getLogger("azure.ai.ml").handlers[:]
    notices = _Notices()
    for handler in handlers:
        handler.addFilter(notices)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(notices)


class _Notices(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "experimental class" not in record.getMessage()


def _unreachable(error: Exception, doing: str, resource: str) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"Could not {doing}", resource=resource, why=type(error).__name__, next_call="call again"
    )


def _unread(error: Exception, doing: str, resource: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"Could not {doing}",
        resource=resource,
        why=f"azure-ai-ml could not read an answer or a value ({type(error).__name__})",
        next_call="call again",
        status_code=getattr(error, "status_code", None),
    )


def _from_response(error: Any, doing: str, resource: str) -> PhiFinetuneError:
    code = getattr(error.error, "code", None)
    details = [getattr(item, "message", None) for item in getattr(error.error, "details", None) or ()]
    parts = [getattr(error.error, "message", None) or error.reason, *details]
    message = " ".join(str(part) for part in parts if part)
    headers = getattr(error.response, "headers", {}) or {}
    request_id, further = headers.get("x-ms-request-id"), (asks_to_wait(headers),)
    return _error(error.status_code or 0, code, message, doing, resource, None, request_id, further)


def _error(
    status: int,
    code: str | None,
    message: str,
    doing: str,
    resource: str,
    next_call: str | None,
    request_id: str | None,
    further: tuple[str | None, ...],
) -> PhiFinetuneError:
    kind, advice = _kind(status, code, message)
    known_better = kind not in (NotFound, ServiceError) or status in _BAD_REQUEST
    parts = (message or f"HTTP {status} without a message", *further)
    why = "; ".join(part for part in parts if part)
    return kind(
        f"Could not {doing}",
        resource=resource,
        why=f"{code}: {why}" if code else why,
        next_call=advice if known_better else next_call or advice,
        status_code=status,
        code=code,
        request_id=request_id,
    )


def _kind(status: int, code: str | None, message: str) -> tuple[type[PhiFinetuneError], str]:
    if status == 401:
        from phi_finetune.credentials import expected_tenant

        tenant = expected_tenant(message)
        if tenant:
            return AuthenticationFailed, f"sign in to the right tenant: az login --tenant {tenant}"
        return AuthenticationFailed, "sign in again (az login), or give connect() another credential"
    if status == 403 and code in _BLOB_RIGHTS:
        return (
            PermissionMissing,
            "ask for the role Storage Blob Data Contributor on the workspace's storage account",
        )
    if status == 403:
        action = _ACTION.search(message)
        lacks = f"the action {action.group(1)}" if action else "the role AzureML Data Scientist"
        return PermissionMissing, f"ask for {lacks} on the workspace"
    if status == 404:
        return NotFound, "check the name; the workspace's own lists say what is there"
    if speaks_of_quota(code, message):
        return (
            QuotaExceeded,
            "ask for more at https://aka.ms/azuremlquota, or take a smaller size or fewer nodes",
        )
    if status in _BAD_REQUEST:
        return ServiceError, "mend what the message names, and call again"
    return ServiceError, "call again later; if it stays, open a support case with the request id"
