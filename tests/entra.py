"""What gives out tokens, answering inside this process: Entra ID, and the addresses of managed identities."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from azure.core.pipeline.transport import RequestsTransport
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectTimeout
from urllib3 import HTTPResponse

if TYPE_CHECKING:
    from requests import _types as types

    from phi_finetune.protocols import TokenTransport

AUTHORITY = "login.microsoftonline.com"
IMDS = "169.254.169.254"
TENANT = "11111111-1111-4111-8111-111111111111"
CLIENT = "22222222-2222-4222-8222-222222222222"


class Entra(HTTPAdapter):
    """Answers requests for tokens; each token is a new one.

    A person's browser is to send back the sign-in's nonce as its code: Entra ID's tokens hold the nonce.

    Attributes:
        seen: The requests for tokens, as (host, fields of the query and the body, and
            the tenant).
        connect_timeouts: Seconds that each request allowed for connecting.
        refusal: The status and the body that a request for a token is answered with, in place of a token.
        identities: The hosts, besides Entra ID's, at which a managed identity is found.
        sends: How many requests there were, of any kind.
        silent: Whether nothing answers any more.
        transport: azure-core's own transport, on a session whose every host is this one.
        closed: Whether somebody closed that transport.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.identities: set[str] = set()
        self.sends = 0
        self.connect_timeouts: list[object] = []
        self.silent = False
        self.closed = False
        session = Session()
        session.mount("https://", self)
        session.mount("http://", self)
        self.transport: TokenTransport = RequestsTransport(session=session)

    def close(self) -> None:
        """Note that the transport was closed."""
        self.closed = True

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: types.TimeoutType = None,
        verify: types.VerifyType = True,
        cert: types.CertType = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """Answer, as the host of the request would."""
        url = urlsplit(str(request.url))
        host = url.hostname or ""
        self.sends += 1
        self.connect_timeouts.append(timeout[0] if isinstance(timeout, tuple) else timeout)
        if self.silent or (host != AUTHORITY and host not in self.identities):
            raise ConnectTimeout(f"nothing answers at {host}", request=request)
        fields = {name: values[-1] for name, values in parse_qs(f"{url.query}&{_text(request.body)}").items()}
        status, body = self._answer(host, url.path, fields)
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        raw = HTTPResponse(io.BytesIO(content), status=status, headers=headers, preload_content=False)
        return self.build_response(request, raw)

    def _answer(self, host: str, path: str, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path.endswith("/discovery/instance"):
            return 200, {"tenant_discovery_endpoint": f"https://{host}/t", "metadata": []}
        if path.endswith("/openid-configuration"):
            return 200, _endpoints(path.split("/")[1])
        if path.endswith("/devicecode"):
            return 200, _device_code()
        self.seen.append((host, {**fields, "tenant": path.split("/")[1]}))
        return self.refusal or (200, self._token(fields))

    def _token(self, fields: dict[str, str]) -> dict[str, Any]:
        now = int(time.time())
        token = {
            "token_type": "Bearer",
            "access_token": f"token-{len(self.seen)}",
            "expires_in": 3600,
            "expires_on": str(now + 3600),
            "resource": fields.get("resource", ""),
        }
        if "code" in fields or "device_code" in fields:
            person = {"uid": "person", "utid": TENANT}
            identity: dict[str, Any] = {
                "iss": f"https://{AUTHORITY}/{TENANT}/v2.0",
                "aud": fields["client_id"],
                "sub": "person",
                "tid": TENANT,
                "preferred_username": "person@example.org",
                "exp": now + 3600,
                "nonce": fields.get("code", ""),
            }
            token |= {
                "client_info": _base64(person),
                "id_token": f"{_base64({})}.{_base64(identity)}.signature",
            }
        return token


def _endpoints(tenant: str) -> dict[str, Any]:
    base = f"https://{AUTHORITY}/{tenant}/oauth2/v2.0"
    return {
        "issuer": f"https://{AUTHORITY}/{tenant}/v2.0",
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "device_authorization_endpoint": f"{base}/devicecode",
    }


def _device_code() -> dict[str, Any]:
    return {
        "device_code": "device",
        "user_code": "ABC123",
        "verification_uri": "https://microsoft.com/devicelogin",
        "expires_in": 900,
        "interval": 5,
        "message": "open the page",
    }


def _base64(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _text(body: bytes | str | object) -> str:
    return body.decode() if isinstance(body, bytes) else body if isinstance(body, str) else ""
