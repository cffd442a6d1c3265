"""The socket of the server, and its beginning and end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from phi_finetune.local._files import write_text
from phi_finetune.local.serving.app import Service

__all__ = ["serve"]

_ENDS_S: Final = 1
"""How long callers have, at the end, to take what they are told."""


def serve(service: Service, port: Path, broken: Callable[[], bool]) -> None:
    """Listen on a free port of 127.0.0.1 and answer, until SIGTERM.

    The system picks the port, so none that was asked for can be taken by another program.

    Args:
        service: What answers.
        port: The file that the port's number is written to.
        broken: Asked now and then: whether there is nothing to be answered any more.
    """
    config = uvicorn.Config(
        service.app(),
        host="127.0.0.1",
        port=0,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_ENDS_S,
    )
    _Server(config, service, port, broken).run()


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, service: Service, port: Path, broken: Callable[[], bool]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._port = port
        self._broken = broken

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        write_text(self._port, str(self.servers[0].sockets[0].getsockname()[1]))
        self._service.log("listens")

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._broken()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.end()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's own: at the end that raises the signal once more, and the process would count as killed.
        self.should_exit = self.should_exit or sig in (signal.SIGTERM, signal.SIGINT)
