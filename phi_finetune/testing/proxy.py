"""The fake for other processes and languages: an HTTPS proxy on this machine that leads to it.

::

    python -m phi_finetune.testing.proxy --port 8443

prints the environment variables to set, one ``NAME=value`` a line and an empty line after the last, and serves
until it is interrupted or terminated. In a test, :class:`ProxyDoor` leads to a cloud that the test looks into.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.doors.proxy import ProxyDoor

__all__ = ["ProxyDoor", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a new fake until interrupted (Ctrl-C, SIGINT) or terminated (SIGTERM); then nothing is left of it.

    Args:
        arguments: The command line's words; None takes those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m phi_finetune.testing.proxy",
        description="A fake of Azure Machine Learning behind an HTTPS proxy on 127.0.0.1.",
        epilog="Set the variables that it prints. They also sign a client in: azure-identity's "
        "DefaultAzureCredential reads them, and ClientSecretCredential takes AZURE_TENANT_ID, "
        "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="where it listens; 0, the default, is a free port"
    )
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    with ProxyDoor(Cloud(), port=chosen.port) as door:
        for name, value in door.environment().items():
            print(f"{name}={value}")
        print(flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
