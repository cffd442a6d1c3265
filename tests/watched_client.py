"""A client whose calls are noted, so that a test can be held to the operations that it says it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from azure.ai.ml import MLClient

from phi_finetune.emulator.cloud import Cloud

__all__ = ["Watch", "WatchedClient"]

_GROUPS = "azure.ai.ml.operations."


class Watch:
    """What a test has called, and what was asked of the fake meanwhile.

    Args:
        cloud: The fake; None is the real service, which nobody looks into.

    Attributes:
        called: The names of the operations that were called.
    """

    def __init__(self, cloud: Cloud | None) -> None:
        self.called: set[str] = set()
        self._cloud = cloud
        self._before = len(cloud.journal) if cloud else 0

    def require(self, declared: Iterable[str], *, local: bool = False) -> None:
        """Hold the test to what it says.

        Args:
            declared: The operations that it says it shows.
            local: Whether it says that they send nothing.

        Raises:
            AssertionError: It called not all of them, the fake does not know what was asked, or something was
                sent after all.
        """
        missing = sorted(set(declared) - self.called)
        assert not missing, f"the test says that it shows {', '.join(missing)}, and did not call it"
        if self._cloud is None:
            return
        asked = [f"{entry.method} {entry.url}" for entry in list(self._cloud.journal)[self._before :]]
        assert not (local and asked), f"the test says that nothing is sent, and this was: {asked}"
        assert not self._cloud.unrouted, f"the fake does not know {self._cloud.unrouted}"


class WatchedClient:
    """An ``MLClient`` whose calls are noted.

    A call is noted as ``jobs.get``, and also with the class of its first argument, such as
    ``jobs.create_or_update:PipelineJob``. The client's own methods are of the group ``MLClient``. A client of a
    registry puts ``registry.`` before.

    Args:
        client: The client.
        watch: Where calls are noted.
        prefix: What stands before each name.
    """

    def __init__(self, client: MLClient, watch: Watch, prefix: str = "") -> None:
        self._client = client
        self._watch = watch
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if type(found).__module__.startswith(_GROUPS):
            return _WatchedGroup(found, self._watch, f"{self._prefix}{name}.")
        return _noting(found, f"{self._prefix}MLClient.{name}", self._watch) if callable(found) else found


class _WatchedGroup:
    """One of the client's groups of operations."""

    def __init__(self, group: object, watch: Watch, prefix: str) -> None:
        self._group = group
        self._watch = watch
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return _noting(getattr(self._group, name), f"{self._prefix}{name}", self._watch)


def _noting(call: Callable[..., Any], name: str, watch: Watch) -> Callable[..., Any]:
    @wraps(call)
    def noted(*args: Any, **options: Any) -> Any:
        watch.called.add(name)
        if args:
            watch.called.add(f"{name}:{type(args[0]).__name__}")
        return call(*args, **options)

    return noted
