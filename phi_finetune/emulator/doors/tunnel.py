"""What a client says to one of Azure's hosts, once the proxy has let it through."""

from __future__ import annotations

import select
import socket
import socketserver
import struct
import sys
from http.server import BaseHTTPRequestHandler
from typing import Any

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import (
    AnswerNeverCame,
    NoAnswerInTime,
    NobodyListens,
    NoConnectionInTime,
)
from phi_finetune.emulator.core.http import Request, Response

__all__ = ["Tunnel"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which closing a connection resets it (socket(7))."""


class Tunnel(BaseHTTPRequestHandler):
    """One connection, request after request, until the client leaves or a fault resets it.

    Args:
        connection: The connection, after its TLS handshake.
        address: Where the client is.
        server: Who accepted it.
        host: The host that the client means.
        cloud: Who answers.
    """

    protocol_version = "HTTP/1.1"

    def __init__(
        self,
        connection: socket.socket,
        address: Any,
        server: socketserver.BaseServer,
        *,
        host: str,
        cloud: Cloud,
    ) -> None:
        self._host = host
        self._cloud = cloud
        super().__init__(connection, address, server)

    def do_GET(self) -> None:
        """Answer a request."""
        self._acknowledge()
        try:
            body = self._body()
        except ValueError:
            self.close_connection = True
            self.send_error(400, explain="The length of the request's body can't be read.")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Request(self.command, f"https://{self._host}{self.path}", headers, body)
        try:
            answer = self._cloud.handle(asked)
        except (NoAnswerInTime, NoConnectionInTime):
            self._stay_silent()
        except (AnswerNeverCame, NobodyListens):
            self._reset()
        else:
            self._send(answer)

    do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing; the cloud's journal has it."""

    def _send(self, answer: Response) -> None:
        names = {name.lower(): name for name in answer.headers}
        has_body = self.command != "HEAD" and answer.status != 204
        length = int(answer.headers.get(names.get("content-length", ""), len(answer.body)))
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        # RFC 9110: 204 has no length; HEAD has that of the body which GET would give (wire.md 10).
        if answer.status != 204 and "content-length" not in names:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if has_body:
            self._write(answer)
            # A fault may have cut the body; the client then waits for the rest until the connection ends.
            self.close_connection = self.close_connection or len(answer.body) < length

    def _write(self, answer: Response) -> None:
        if not answer.pause_s:
            self.wfile.write(answer.body)
            return
        for at in range(len(answer.body)):
            # A client says nothing before it has its answer: it has had enough, and left.
            if select.select([self.connection], [], [], answer.pause_s)[0]:
                self.close_connection = True
                return
            self.wfile.write(answer.body[at : at + 1])

    def _stay_silent(self) -> None:
        """Wait until the client has had enough, by its own timeout and the machine's clock."""
        self.close_connection = True
        self.rfile.read(1)

    def _reset(self) -> None:
        """End the connection with a reset: it was there before the request, so it can't be refused any more."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _acknowledge(self) -> None:
        """Say at once that the head has come, where the system has a way to (Linux).

        urllib3 uses Nagle's algorithm through proxies: it sends the body when the head is acknowledged, for which a
        system takes some 40 ms where it has nothing else to send.
        """
        if sys.platform == "linux":
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _body(self) -> bytes:
        """The whole body.

        Raises:
            ValueError: It does not say how long it is in a way that HTTP knows.
        """
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        return self._exactly(_size(self.headers.get("Content-Length", "0"), base=10))

    def _chunks(self) -> bytes:
        chunks: list[bytes] = []
        while size := _size(self._line().partition(";")[0], base=16):
            chunks.append(self._exactly(size))
            self._line()
        while self._line():
            pass  # trailers mean nothing to any route
        return b"".join(chunks)

    def _line(self) -> str:
        line = self.rfile.readline(65_537)
        if not line.endswith(b"\n"):
            raise ConnectionAbortedError("the client left in the middle of a request")
        return line.decode("latin-1").strip()

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError("the client left in the middle of a request")
        return data


def _size(text: str, *, base: int) -> int:
    size = int(text, base)
    if size < 0:
        raise ValueError(f"a negative length: {size}")
    return size
