"""A suite that any retry policy can be put through: whether it keeps what :class:`RetryPolicy` promises."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Final, get_args

import attrs

from phi_finetune.errors import InvalidParameter
from phi_finetune.protocols import RetryPolicy, Try, VerbClass
from phi_finetune.retries import checked_wait, may_send_again

__all__ = ["check_retry_policy"]

_STATUSES: Final = (None, 200, 400, 401, 403, 404, 408, 409, 412, 424, 429, 500, 501, 502, 503, 504)
_ATTEMPTS: Final = (1, 2, 5, 100)
_ELAPSED_S: Final = (0.0, 1.0, 100.0, 1e6)
_ASKED_S: Final = (None, 0.0, 7.0, 86_400.0, 1e308)
_FIRST: Final = Try(attempt=1, elapsed_s=0.0, verb_class="read", status_code=503)

_SEND_TAKES_S: Final = 0.1
_MOST_SENDS: Final = 10_000
_REPEATS: Final = 200
_THREADS: Final = 8


def check_retry_policy(policy: RetryPolicy) -> None:
    """Put a retry policy through everything that a request may meet; a few thousand questions, and no request.

    Five promises are checked. For every failure it gives None or a wait of 0 s to a day. It never sends again what
    may have been done already, or was refused for good (:func:`~phi_finetune.retries.may_send_again`). It waits at
    least as long as the answer asks. A request that never succeeds ends. It keeps no count of its own: the same
    failure gets the same verdict, however often and from whichever thread it is asked.

    Raises:
        AssertionError: It breaks one; the message says which, and for what failure.
    """
    for failed in _failures():
        _check_one(policy, failed)
    for verb_class in get_args(VerbClass):
        _check_end(policy, attrs.evolve(_FIRST, verb_class=verb_class))
    _check_purity(policy)


def _failures() -> Iterator[Try]:
    """What a policy may be asked about, and its borders."""
    for attempt, elapsed_s, verb_class, status_code, asked_s, sent in product(
        _ATTEMPTS, _ELAPSED_S, get_args(VerbClass), _STATUSES, _ASKED_S, (True, False)
    ):
        if sent or status_code is None:
            yield Try(attempt, elapsed_s, verb_class, status_code, asked_s, sent)


def _check_one(policy: RetryPolicy, failed: Try) -> None:
    wait_s = _wait_s(policy, failed)
    if wait_s is None:
        return
    if not may_send_again(failed):
        raise _broken(policy, "would send again what is not safe to send again, or does not help", failed)
    if failed.retry_after_s is not None and wait_s < failed.retry_after_s:
        raise _broken(policy, f"waits {wait_s} s, less than the answer asks for", failed)


def _check_end(policy: RetryPolicy, failed: Try) -> None:
    """See that a request which always fails is given up, on a clock on which each send takes a tenth of a second."""
    for _ in range(_MOST_SENDS):
        failed = attrs.evolve(failed, elapsed_s=failed.elapsed_s + _SEND_TAKES_S)
        wait_s = _wait_s(policy, failed)
        if wait_s is None:
            return
        failed = attrs.evolve(failed, attempt=failed.attempt + 1, elapsed_s=failed.elapsed_s + wait_s)
    raise _broken(policy, f"has not given up after {_MOST_SENDS} sends", failed)


def _check_purity(policy: RetryPolicy) -> None:
    def verdict(_: int) -> bool:
        return _wait_s(policy, _FIRST) is None

    with ThreadPoolExecutor(_THREADS) as pool:
        verdicts = {*map(verdict, range(_REPEATS)), *pool.map(verdict, range(_REPEATS))}
    if len(verdicts) > 1:
        raise _broken(policy, "once waits and once gives up, of the same failure", _FIRST)


def _wait_s(policy: RetryPolicy, failed: Try) -> float | None:
    try:
        return checked_wait(policy.wait_s(failed))
    except InvalidParameter as error:
        raise _broken(policy, f"gives a wait that is none: {error.what}", failed) from None
    except Exception as error:
        raise _broken(policy, f"raises {type(error).__name__}", failed) from error


def _broken(policy: RetryPolicy, what: str, failed: Try) -> AssertionError:
    return AssertionError(f"{type(policy).__name__} {what}: {failed}")
