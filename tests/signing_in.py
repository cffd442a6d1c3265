"""Whom the tests of the credentials sign in: a bare machine, its Azure CLI, a person at its browser."""

from __future__ import annotations

import os
import threading
import webbrowser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import ClientAuthenticationError
from entra import Entra

from phi_finetune.errors import AuthenticationFailed
from phi_finetune.protocols import CredentialPolicy, TokenTransport

ARM = "https://management.azure.com/.default"
SIGNED_OUT = "echo \"Please run 'az login' to setup account.\" >&2; exit 1"


def bare_machine(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make this a machine with nobody signed in, no tools, and no screen."""
    tools = home / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("HOME", str(home))
    speaking = (
        "CI",
        "DEFAULT_IDENTITY_CLIENT_ID",
        "DISPLAY",
        "GITHUB_ACTIONS",
        "TF_BUILD",
        "WAYLAND_DISPLAY",
    )
    for name in [name for name in os.environ if name in speaking or name.startswith("SSH_")]:
        monkeypatch.delenv(name)


def screen(monkeypatch: pytest.MonkeyPatch, browser: webbrowser.BaseBrowser) -> None:
    """Give the machine a screen with a browser on it."""
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "_tryorder", ["person"])
    monkeypatch.setattr(webbrowser, "_browsers", {"person": [None, browser]})


def failure(policy: CredentialPolicy, entra: Entra | None = None) -> AuthenticationFailed:
    """The error of a policy that can't sign in."""
    with pytest.raises(AuthenticationFailed) as caught:
        policy.credential((entra or Entra()).transport)
    return caught.value


class AzCommand:
    """An ``az`` on the path: a script that notes its arguments, then does what it is told."""

    def __init__(self, home: Path) -> None:
        self._script = home / "bin" / "az"
        self._notes = home / "notes"

    def does(self, script: str) -> None:
        self._script.write_text(f'#!/bin/sh\necho "$@" >> {self._notes}\n{script}\n')
        self._script.chmod(0o755)

    def gives(self, token: str) -> None:
        expires_on = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
        self.does(f"""echo '{{"accessToken": "{token}", "expires_on": {expires_on}}}'""")

    @property
    def calls(self) -> list[str]:
        return self._notes.read_text().splitlines() if self._notes.exists() else []


class PersonsBrowser(webbrowser.BaseBrowser):
    """A browser whose person signs in at once: it sends the code that Entra ID would send back."""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        answer = {"code": asked["nonce"], "state": asked["state"]}
        threading.Thread(target=requests.post, args=(asked["redirect_uri"], answer)).start()
        return True


class AbsentPerson(webbrowser.BaseBrowser):
    """A browser in front of which nobody sits."""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        return True


class Constant:
    """A credential that gives the same token to everybody."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken("constant", 4_000_000_000)


class Broken:
    """A credential whose source refuses."""

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        raise ClientAuthenticationError("the source refused; access_token=canary-1 eyJhbGciOi.eyJjYW5hcnki.x")

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        raise AssertionError("the other method is preferred")


class OwnPolicy:
    """A policy as a user would write it."""

    def credential(self, transport: TokenTransport | None = None) -> Constant:
        return Constant()
