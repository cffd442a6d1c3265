"""No address of Azure's is looked up, so that a client which does not use ``requests`` reaches none by mistake."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies_environment

from phi_finetune.emulator.core.hosts import AZURE_DOMAINS, INSTANCE_METADATA, is_azure
from phi_finetune.emulator.doors.environment import environment
from phi_finetune.emulator.doors.shared import SharedContext

__all__ = ["AZURE_IS_SHUT", "AzureAddressRefused"]

_LOOK_UPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")


class AzureAddressRefused(socket.gaierror):
    """The address of one of Azure's hosts was asked for while a cloud is open; it was not looked up."""


@contextmanager
def _shut() -> Iterator[None]:
    shut = [True]
    places = [(name, look_up := getattr(socket, name), _guard(look_up, shut)) for name in _LOOK_UPS]
    for name, _, ours in places:
        setattr(socket, name, ours)
    try:
        with environment(_past_proxies()):
            yield
    finally:
        shut.clear()
        for name, original, ours in places:
            # Where somebody patched over ours since, theirs stays; ours passes everything on.
            if getattr(socket, name) is ours:
                setattr(socket, name, original)


def _guard(original: Callable[..., Any], shut: list[bool]) -> Callable[..., Any]:
    def look_up(host: str | bytes | None, *args: Any, **options: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host or ""
        if shut and is_azure(name):
            raise AzureAddressRefused(
                socket.EAI_FAIL,
                f"{name} is one of Azure's hosts, and a client that does not use Python's requests asked for "
                "its address. A fake or a replay is open, and answers clients that use requests only.",
            )
        return original(host, *args, **options)

    return look_up


def _past_proxies() -> dict[str, str]:
    """What makes other clients go to Azure's hosts directly, into the guard, where a proxy is configured."""
    proxies = getproxies_environment()
    exempt = proxies.pop("no", "")
    if not proxies or exempt == "*":
        return {}
    hosts = ",".join([exempt, *(f".{domain}" for domain in AZURE_DOMAINS), INSTANCE_METADATA]).lstrip(",")
    return {"no_proxy": hosts, "NO_PROXY": hosts}


AZURE_IS_SHUT = SharedContext(_shut)
"""While somebody is in it, Python's ``socket`` finds no address of Azure's, and no proxy leads there."""
