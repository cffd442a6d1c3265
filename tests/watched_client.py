"""A client whose calls are noted, so that a test can be held to the operations that it says it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from azure.ai.ml import MLClient

__all__ = ["WatchedClient", "not_called"]

_GROUPS = "azure.ai.ml.operations."


class WatchedClient:
    """An ``MLClient`` that notes which of its operations are called.

    A call is noted as ``jobs.get``, and also with the class of its first argument, such as
    ``jobs.create_or_update:PipelineJob``. A client of a registry puts ``registry.`` before.

    Args:
        client: The client.
        called: Where the names of calls go.
        prefix: What stands before each name.
    """

    def __init__(self, client: MLClient, called: set[str], prefix: str = "") -> None:
        self._client = client
        self._called = called
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if type(found).__module__.startswith(_GROUPS):
            return _WatchedGroup(found, self._called, f"{self._prefix}{name}.")
        return _noting(found, f"{self._prefix}{name}", self._called) if callable(found) else found


class _WatchedGroup:
    """One of the client's groups of operations."""

    def __init__(self, group: object, called: set[str], prefix: str) -> None:
        self._group = group
        self._called = called
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return _noting(getattr(self._group, name), f"{self._prefix}{name}", self._called)


def _noting(call: Callable[..., Any], name: str, called: set[str]) -> Callable[..., Any]:
    @wraps(call)
    def noted(*args: Any, **options: Any) -> Any:
        called.add(name)
        if args:
            called.add(f"{name}:{type(args[0]).__name__}")
        return call(*args, **options)

    return noted


def not_called(declared: Iterable[str], called: set[str]) -> list[str]:
    """Which of the declared operations were not called."""
    return sorted(set(declared) - called)
