"""Whether all that the library needs of a workspace is there: sign-in, services, and the rights of each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from phi_finetune._actions import ACTIONS, permits
from phi_finetune.errors import PhiFinetuneError

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client

__all__ = ["Check", "Checkup"]


@attrs.frozen
class Check:
    """One thing that was tried.

    Attributes:
        name: What was tried, such as ``"workspace"``.
        ok: Whether it worked.
        found: What was found, or why it did not work.
        next_call: The call, command or role that helps; None where nothing is wrong.
    """

    name: str
    ok: bool
    found: str
    next_call: str | None = None


@attrs.frozen
class Checkup:
    """What :meth:`Workspace.doctor` found. As text it is a table.

    Attributes:
        checks: What was tried, in order. Where nobody could sign in, nothing after that was tried.
        missing: The actions that each call lacks the right to, by the call's name, such as ``"GpuCompute.ensure"``;
            a call that lacks none is left out. Empty as well where the permissions could not be listed.
    """

    checks: tuple[Check, ...]
    missing: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        """Whether everything worked, and no call lacks a right."""
        return all(check.ok for check in self.checks) and not self.missing

    def __str__(self) -> str:
        width = max(len(name) for name in (*(check.name for check in self.checks), *self.missing))
        lines = [f"{check.name:{width}}  {_sign(check.ok)}  {check.found}" for check in self.checks]
        lines += [f"{'':{width}}  Next: {check.next_call}" for check in self.checks if check.next_call]
        lines += [
            f"{call:{width}}  {_sign(False)}  lacks {', '.join(actions)}"
            for call, actions in self.missing.items()
        ]
        return "\n".join(lines)


def doctor(client: Client, registry: str) -> Checkup:
    """Try everything; see :meth:`Workspace.doctor`."""
    signed_in = _tried("credential", lambda: _credential(client))
    if not signed_in.ok:
        return Checkup((signed_in,))
    checks = [signed_in, *(_tried(name, ask) for name, ask in _questions(client, registry))]
    missing: dict[str, tuple[str, ...]] = {}

    def look() -> str:
        missing.update(_missing(client))
        return f"{len(missing)} of {len(ACTIONS)} calls lack a right" if missing else "enough for every call"

    permissions = _tried("permissions", look)
    return Checkup((*checks, attrs.evolve(permissions, ok=permissions.ok and not missing)), missing)


def _questions(client: Client, registry: str) -> Iterator[tuple[str, Callable[[], str]]]:
    from phi_finetune._azure.blob_store import files_below
    from phi_finetune._azure.permissions import sign_in
    from phi_finetune._azure.registry import list_models
    from phi_finetune.compute import list_skus

    def token(scope: str) -> str:
        sign_in(client, scope)
        return "a token is given"

    yield "token for Resource Manager", lambda: token(client.cloud.arm_scope)
    yield "token for Azure ML", lambda: token(client.cloud.ml_scope)
    yield "workspace", lambda: f"it is there, and its clock says {client.server_time():%Y-%m-%d %H:%M} UTC"
    yield "machine sizes", lambda: f"{len(list_skus(client))} with a GPU"
    yield f"registry {registry}", lambda: f"has {next(list_models(client, registry), 'no model')}"
    # A prefix that nothing is under: to list it takes the rights that reading takes, and gives next to nothing.
    yield (
        "blob store",
        lambda: f"can be read ({len(list(files_below(client, 'LocalUpload/none/')))} files listed)",
    )


def _credential(client: Client) -> str:
    attempts = client.credential.attempts
    return f"{attempts[-1].name} gives tokens" if attempts else "it gives tokens"


def _missing(client: Client) -> dict[str, tuple[str, ...]]:
    from phi_finetune._azure.permissions import list_permissions

    permissions = list_permissions(client)
    lacking = {
        call: tuple(action for action in actions if not permits(permissions, action))
        for call, actions in ACTIONS.items()
    }
    return {call: actions for call, actions in lacking.items() if actions}


def _tried(name: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(name, True, ask())
    except PhiFinetuneError as error:
        why = error.what if error.why is None else f"{error.what.rstrip('.')}: {error.why}"
        return Check(name, False, why, error.next_call)


def _sign(ok: bool) -> str:
    return "ok" if ok else "--"
