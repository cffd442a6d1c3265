"""The door for other processes and languages: an HTTPS proxy on this machine's loopback.

A client that honours ``HTTPS_PROXY`` asks it for a tunnel to one of Azure's hosts. The proxy speaks TLS as
that host, with a certificate of its own authority, and a cloud answers what comes through. Nothing is ever
passed on: every other host, port and way of asking is refused with 403.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.hosts import is_azure
from phi_finetune.emulator.doors.authority import Authority
from phi_finetune.emulator.doors.tunnel import Tunnel

__all__ = ["ProxyDoor"]

_LOOPBACK = "127.0.0.1"
_TARGET = re.compile(r"(?P<host>[a-z0-9.-]{1,253}):(?P<port>[0-9]{1,5})", re.IGNORECASE)
_LOOK_FOR_END_S = 0.05


class ProxyDoor:
    """A context in which a proxy on 127.0.0.1 leads to a cloud.

    Every request goes to this one cloud, which refuses what carries another's token. Several proxies may be
    open at once, each on its own port.

    The connection is there before a request is known, so a fault that refuses it, or loses an answer, resets
    it here. A fault of silence lasts until the client's own timeout, in real seconds.

    Args:
        cloud: Who answers.
        port: Where it listens; 0 takes a free port.
    """

    def __init__(self, cloud: Cloud, *, port: int = 0) -> None:
        self._cloud = cloud
        self._port = port
        self._server: _Server | None = None
        self._parts = ExitStack()

    def __enter__(self) -> ProxyDoor:
        if self._server is not None:
            raise RuntimeError("This ProxyDoor is open already; make a second one.")
        with ExitStack() as parts:
            folder = parts.enter_context(TemporaryDirectory(prefix="phi-finetune-proxy-"))
            server = _Server(self._port, self._cloud, Authority(Path(folder)))
            parts.enter_context(server.running())
            self._server, self._parts = server, parts.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server = None
        self._parts.close()

    @property
    def url(self) -> str:
        """The proxy's address, ``http://127.0.0.1:`` and its port."""
        return f"http://{_LOOPBACK}:{self._open().server_address[1]}"

    @property
    def ca_file(self) -> Path:
        """The certificate (PEM) that a client must trust; it is gone when the proxy closes."""
        return self._open().authority.file

    def environment(self) -> dict[str, str]:
        """The environment variables that lead another process here, and sign it in.

        They are the proxy and its certificate, as ``requests``, OpenSSL, curl and Node read them; the service
        principal as azure-identity's ``EnvironmentCredential`` and ``DefaultAzureCredential`` read
        it; the workspace as :meth:`phi_finetune.Workspace.connect` reads it; and no pause in azure-ai-ml's
        ``jobs.stream`` (wire.md 5). Names stand in both cases because a client reads the one or the other.
        """
        ca, direct = str(self.ca_file), f"localhost,{_LOOPBACK}"
        return {
            "HTTPS_PROXY": self.url,
            "https_proxy": self.url,
            "NO_PROXY": direct,
            "no_proxy": direct,
            "REQUESTS_CA_BUNDLE": ca,
            "SSL_CERT_FILE": ca,
            "CURL_CA_BUNDLE": ca,
            "NODE_EXTRA_CA_CERTS": ca,
            "AZURE_TENANT_ID": self._cloud.tenant_id,
            "AZURE_CLIENT_ID": self._cloud.identity.client_id,
            "AZURE_CLIENT_SECRET": self._cloud.identity.client_secret,
            "AZURE_SUBSCRIPTION_ID": self._cloud.subscription_id,
            "AZURE_RESOURCE_GROUP": self._cloud.settings.resource_group,
            "AZUREML_WORKSPACE_NAME": self._cloud.workspace.name,
            "AZUREML_RUN_POLLING_INTERVAL_MIN": "0",
            "AZUREML_RUN_POLLING_INTERVAL_MAX": "0",
        }

    def _open(self) -> _Server:
        if self._server is None:
            raise RuntimeError("This ProxyDoor is not open. Use it in its with block.")
        return self._server


class _Server(ThreadingTCPServer):
    """Accepts connections, and can end them all."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, cloud: Cloud, authority: Authority) -> None:
        super().__init__((_LOOPBACK, port), _Front)
        self.cloud = cloud
        self.authority = authority
        self._lock = threading.Lock()
        # A second handle of each connection: TLS takes the first one's place, and this one can still end it.
        self._handles: dict[socket.socket, socket.socket] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """A context in which it listens; afterwards no connection and no thread of it is left."""
        thread = threading.Thread(
            target=self.serve_forever, args=(_LOOK_FOR_END_S,), name="phi-finetune-proxy"
        )
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self._end_all()
            self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = super().get_request()
        with self._lock:
            self._handles[connection] = connection.dup()
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Let go of a connection."""
        super().shutdown_request(request)
        if isinstance(request, socket.socket):
            with self._lock:
                self._handles.pop(request).close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what is wrong with this program; that a client left, or distrusts the authority, is not."""
        if not isinstance(sys.exception(), (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)

    def _end_all(self) -> None:
        with self._lock:
            for handle in self._handles.values():
                # The client may have ended it first.
                with suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)


class _Front(BaseHTTPRequestHandler):
    """The first request of a connection: a tunnel to a host, or a refusal."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Unbuffered, so that no byte of the TLS handshake is read here.
    rbufsize = 0

    def do_CONNECT(self) -> None:
        """Open a tunnel, and stay until it ends."""
        found = _TARGET.fullmatch(self.path)
        if found is None:
            self._refuse("That is no host and port")
            return
        host = found["host"].lower()
        if not is_azure(host):
            self._refuse(f"{host} is not one of Azure's hosts, and this proxy answers for those alone")
            return
        if int(found["port"]) != 443:
            self._refuse("This proxy answers for port 443 alone")
            return
        self.close_connection = True
        self.send_response_only(200, "Connection established")
        self.end_headers()
        assert isinstance(self.server, _Server)
        context = self.server.authority.context(host)
        with context.wrap_socket(self.connection, server_side=True) as secure:
            Tunnel(secure, self.client_address, self.server, host=host, cloud=self.server.cloud)

    def do_GET(self) -> None:
        """Refuse what is not sent through a tunnel."""
        self._refuse("This proxy answers HTTPS alone: ask for a tunnel (CONNECT)")

    do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing; the cloud's journal has it."""

    def _refuse(self, why: str) -> None:
        self.close_connection = True
        text = f"{why}. It belongs to phi-finetune's fake of Azure and passes nothing on.\n".encode()
        # Many clients show the reason alone.
        self.send_response_only(403, why)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
