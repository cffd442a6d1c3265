"""A Ctrl-C at a request of one's choice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.http import Request, Response

__all__ = ["When", "interrupted"]

When = Literal["before", "after"]


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, cloud: Cloud, *at: int, when: When) -> Iterator[None]:
    """A Ctrl-C before or after the requests of these numbers, counted from 1, are carried out."""
    handle, seen = cloud.handle, 0

    def stop(request: Request) -> Response:
        nonlocal seen
        seen += 1
        strikes = seen in at
        if strikes and when == "before":
            raise KeyboardInterrupt
        answer = handle(request)
        if strikes:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(cloud, "handle", stop)
        yield
