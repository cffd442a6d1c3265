"""Errors as the services word them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape  # what XML needs too; xml.sax loads an HTTP client
from typing import Any

__all__ = ["ServiceError", "blob_envelope", "envelope", "mlflow_envelope"]


class ServiceError(Exception):
    """A refusal: the status, code and message of the answer.

    Args:
        status: HTTP status.
        code: The service's code, such as ``"UserError"``.
        message: The message, as the service words it.
        details: Further ``(code, message)`` pairs of the envelope.
        inner: The chain of inner error codes, outermost first (service.md: BadArgument > UnknownTargetType).
        headers: Headers of the answer, ``Retry-After`` for one.
        bare: Answer with an empty body, as a missing compute does (service.md).
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[tuple[str, str]] = (),
        inner: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        bare: bool = False,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.inner = tuple(inner)
        self.headers = dict(headers or {})
        self.bare = bare


def envelope(error: ServiceError, *, request_id: str, region: str, when: datetime) -> dict[str, Any]:
    """The body of an error: ARM's envelope, with the five notes that Azure ML adds (service.md)."""
    notes: list[dict[str, Any]] = [
        {"type": "ComponentName", "info": {"value": "managementfrontend"}},
        {"type": "Correlation", "info": {"value": {"operation": request_id, "request": request_id[:16]}}},
        {"type": "Environment", "info": {"value": region}},
        {"type": "Location", "info": {"value": region}},
        {"type": "Time", "info": {"value": when.isoformat()}},
    ]
    if error.inner:
        notes.append({"type": "InnerError", "info": {"value": _nested(error.inner)}})
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "details": [
                {"code": code, "message": message, "details": [], "additionalInfo": []}
                for code, message in error.details
            ],
            "additionalInfo": notes,
        }
    }


def blob_envelope(error: ServiceError) -> bytes:
    """The body of an error of Azure Storage (its page "Status and error codes")."""
    code, message = escape(error.code), escape(error.message)
    return (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    ).encode()


def mlflow_envelope(error: ServiceError) -> dict[str, Any]:
    """The body of an error of the MLflow service (wire.md 7)."""
    return {"error_code": error.code, "message": error.message}


def _nested(codes: Sequence[str]) -> dict[str, Any]:
    head, *rest = codes
    return {"code": head, "innerError": _nested(rest) if rest else None}
