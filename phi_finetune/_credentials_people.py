"""The policies that take a person's account: from the Azure CLI, in a browser, or with a code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from phi_finetune._credentials_sign_in import SignIn, check_timeout, options
from phi_finetune.errors import AuthenticationFailed

if TYPE_CHECKING:
    from datetime import datetime

    from azure.core.credentials import TokenProvider

    from phi_finetune.protocols import TokenTransport

__all__ = ["AzureCli", "Browser", "DeviceCode", "login_command", "why_no_browser"]

_PLACES_WITHOUT_BROWSER: Final = (
    (("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"), "this is an SSH session"),
    (("CI", "TF_BUILD", "GITHUB_ACTIONS"), "this is a build pipeline"),
    # A job of Azure ML has the first; a compute instance, and Azure's other hosts, the others (pain.md A2).
    (("AZUREML_RUN_ID", "MSI_ENDPOINT", "IDENTITY_ENDPOINT"), "this is a machine of Azure's"),
)


@attrs.frozen(kw_only=True)
class AzureCli(SignIn):
    """The account that ``az login`` signed in.

    Attributes:
        tenant_id: The tenant to take tokens from. None: the account's current one.
        timeout_s: Seconds that ``az`` may take for a token. azure-identity allows 10 unless told otherwise,
            and 13 have been seen (pain.md A1).
    """

    tenant_id: str | None = None
    timeout_s: int = attrs.field(default=30, validator=check_timeout)

    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        from azure.identity import AzureCliCredential

        return AzureCliCredential(tenant_id=self.tenant_id or "", process_timeout=self.timeout_s)

    def _next_call(self) -> str | None:
        return login_command(self.tenant_id)


@attrs.frozen(kw_only=True)
class Browser(SignIn):
    """A person, in a browser window that opens on this machine; where none can open, it fails at once.

    Attributes:
        tenant_id: The tenant to sign in to. None: the person's own.
        timeout_s: Seconds that the person has.
    """

    tenant_id: str | None = None
    timeout_s: int = attrs.field(default=300, validator=check_timeout)

    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        from azure.identity import InteractiveBrowserCredential

        obstacle = why_no_browser()
        if obstacle:
            raise AuthenticationFailed(obstacle)
        return InteractiveBrowserCredential(
            tenant_id=self.tenant_id, timeout=self.timeout_s, **options(transport)
        )

    def _renewal(self, transport: TokenTransport | None) -> Callable[[], TokenProvider] | None:
        return None

    def _next_call(self) -> str | None:
        return login_command(self.tenant_id)


@attrs.frozen(kw_only=True)
class DeviceCode(SignIn):
    """A person, in a browser on any machine, with a code that is shown here.

    Attributes:
        on_prompt: Shows the person one line with the address and the code: ``print`` will do. Without it
            nobody would see the code, so it fails at once.
        tenant_id: The tenant to sign in to. None: the person's own.
        timeout_s: Seconds that the person has; a code is good for 15 minutes.
    """

    on_prompt: Callable[[str], object] | None = None
    tenant_id: str | None = None
    timeout_s: int = attrs.field(default=900, validator=check_timeout)

    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        from azure.identity import DeviceCodeCredential

        if self.on_prompt is None:
            raise AuthenticationFailed("nobody would see the code: pass on_prompt=print")
        return DeviceCodeCredential(
            prompt_callback=partial(_show, self.on_prompt),
            tenant_id=self.tenant_id,
            timeout=self.timeout_s,
            **options(transport),
        )

    def _renewal(self, transport: TokenTransport | None) -> Callable[[], TokenProvider] | None:
        return None

    def _next_call(self) -> str | None:
        return "pass on_prompt=print" if self.on_prompt is None else login_command(self.tenant_id)


def _show(on_prompt: Callable[[str], object], address: str, code: str, expires_on: datetime) -> None:
    on_prompt(f"To sign in, open {address} and enter the code {code} by {expires_on:%H:%M} UTC.")


def login_command(tenant_id: str | None) -> str:
    """The command that signs the Azure CLI in, as it works on this machine."""
    tenant = f" --tenant {tenant_id}" if tenant_id else ""
    return f"az login{tenant}{' --use-device-code' if why_no_browser() else ''}"


def why_no_browser() -> str | None:
    """The reason for which no browser can open for the person here; None when one can."""
    for variables, place in _PLACES_WITHOUT_BROWSER:
        found = next((name for name in variables if os.environ.get(name)), None)
        if found:
            return f"no browser can open: {place} ({found} is set)"
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not has_screen:
        return "no browser can open: there is no screen (DISPLAY and WAYLAND_DISPLAY are not set)"
    return None if _python_finds_browser() else "no browser can open: Python's webbrowser finds none"


def _python_finds_browser() -> bool:
    import webbrowser

    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True
