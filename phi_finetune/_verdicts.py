"""What is done about each fault of each kind of request: the data of the page about faults, held by its tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

import attrs

__all__ = ["FAULTS", "OPERATIONS", "VERDICTS", "Fault", "Kind", "Operation", "Verdict", "verdict"]

Verdict: TypeAlias = Literal["retry", "reconcile", "re-authenticate", "fail"]
"""``retry``: the request is sent again as often as the retry policy says; then the error is told. ``reconcile``: that
too, where sending it again is safe; and then what it would have made is looked for, and adopted.
``re-authenticate``: sent again with a new token, whatever the policy. ``fail``: the error is told at once."""

Kind: TypeAlias = Literal["read", "wait", "change", "file", "question", "action"]
"""``read``: changes nothing. ``wait``: a look of a wait, which outlives five looks in a row that fail. ``change``: a
PUT or DELETE of something with a name. ``file``: the same for a file, which has no answer to read. ``question``: to a
model. ``action``: another POST that changes something."""

Fault: TypeAlias = Literal[
    "429 with Retry-After",
    "429",
    "503",
    "500",
    "502",
    "409",
    "connection reset",
    "connection refused",
    "read timeout",
    "connect timeout",
    "401, expired token",
    "half a JSON body",
    "body cut short",
    "applied, then reset",
    "applied, then timeout",
]
"""The fifteen of reliability.md 1.1."""

FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)


@attrs.frozen
class Operation:
    """One kind of request.

    Attributes:
        name: What it does, for people.
        request: The request, as ``"METHOD pattern"`` over host and path.
        kind: How it can be dealt with.
    """

    name: str
    request: str
    kind: Kind


OPERATIONS: Final = (
    Operation("list the jobs", "GET */jobs", "read"),
    Operation("read a model of the registry", "GET */models/Phi-4*", "read"),
    Operation("read the store's access", "POST */listSecrets", "read"),
    Operation("fetch an endpoint's keys", "POST */listKeys", "read"),
    Operation("read a job's steps", "GET */history/*", "read"),
    Operation("follow an operation", "GET */*OperationsStatus/*", "wait"),
    Operation("make a cluster", "PUT */computes/*", "change"),
    Operation("submit a job", "PUT */jobs/*", "change"),
    Operation("register a model", "PUT */models/*", "change"),
    Operation("register a data set", "PUT */data/*", "change"),
    Operation("make an endpoint", "PUT */onlineEndpoints/answers", "change"),
    Operation("make a deployment", "PUT */deployments/*", "change"),
    Operation("set the traffic", "PUT */onlineEndpoints/answers", "change"),
    Operation("delete an endpoint", "DELETE */onlineEndpoints/answers", "change"),
    Operation("delete a cluster", "DELETE */computes/*", "change"),
    Operation("upload a file", "PUT *.blob.core.windows.net/*", "file"),
    Operation("ask a model", "POST *.inference.ml.azure.com/score", "question"),
    Operation("cancel a job", "POST */cancel", "action"),
)

_LOST: Final[tuple[Fault, ...]] = (
    "500",
    "502",
    "connection reset",
    "read timeout",
    "half a JSON body",
    "body cut short",
    "applied, then reset",
    "applied, then timeout",
)
"""After these it is not known whether the request was carried out."""
_CARRIED_OUT: Final[tuple[Fault, ...]] = ("applied, then reset", "applied, then timeout")

_EVERYWHERE: Final[Mapping[Fault, Verdict]] = {
    **dict.fromkeys(FAULTS, "retry"),
    "401, expired token": "re-authenticate",
    "409": "fail",
}
_LOOKED_FOR: Final[Mapping[Fault, Verdict]] = {
    **_EVERYWHERE,
    **dict.fromkeys(_LOST, "reconcile"),
    "409": "reconcile",
}

VERDICTS: Final[Mapping[Kind, Mapping[Fault, Verdict]]] = {
    "read": _EVERYWHERE,
    "wait": {**_EVERYWHERE, "409": "retry"},
    "change": _LOOKED_FOR,
    "file": {**_EVERYWHERE, **dict.fromkeys(_CARRIED_OUT, "reconcile"), "409": "reconcile"},
    "question": _EVERYWHERE,
    "action": _LOOKED_FOR,
}


def verdict(operation: Operation, fault: Fault) -> Verdict:
    """What is done about a fault of a request."""
    return VERDICTS[operation.kind][fault]
