"""The keys of serverless endpoints, and who may call one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.identity.state import ML_AUDIENCE
from phi_finetune.emulator.online_endpoints.refusals import bad_request

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud
    from phi_finetune.emulator.serverless_endpoints.endpoint import ServerlessEndpoint

__all__ = ["Keys", "sent_key"]

_LENGTH = 32
"""The README of azure-ai-inference."""


def sent_key(request: Request) -> str | None:
    """The key or token of the Authorization header, with ``Bearer`` before it or without.

    Azure's page on fine-tuning with serverless APIs leaves it out, and that works (microsoft/PhiCookBook#73).
    """
    return request.bearer or request.headers.get("authorization", "").strip() or None


class Keys:
    """The keys that the serverless endpoints of one cloud have handed out."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._handed_out: set[str] = set()

    def knows(self, key: str | None) -> bool:
        """Whether a key comes from here, also one that is no longer good."""
        return key in self._handed_out

    def pair(self) -> dict[str, str]:
        """Two keys for a new endpoint."""
        return {"Primary": self._new(), "Secondary": self._new()}

    def of(self, endpoint: ServerlessEndpoint) -> dict[str, str]:
        """The keys of an endpoint.

        Raises:
            ServiceError: 400, where it takes none. The wording is ours.
        """
        if endpoint.spec.auth_mode == "AAD":
            raise bad_request(f"Serverless endpoint {endpoint.name} takes no keys: its auth mode is AAD.")
        return endpoint.keys

    def regenerate(self, endpoint: ServerlessEndpoint, kind: str, wanted: str | None) -> dict[str, str]:
        """Replace a key, by ``wanted`` if it is another one than now; both keys are returned.

        Raises:
            ServiceError: 400, where the endpoint takes no keys, or for another kind than ``Primary`` and
                ``Secondary``.
        """
        keys = self.of(endpoint)
        name = kind.capitalize()
        if name not in keys:
            raise bad_request(f"The key type {kind} is not one of {', '.join(keys)}.")
        keys[name] = self._keep(wanted) if wanted and wanted != keys[name] else self._new()
        return keys

    def admit(self, endpoint: ServerlessEndpoint, request: Request) -> None:
        """Refuse a caller whose key or token is not good for an endpoint.

        Raises:
            ServiceError: 400, where there is none (microsoft/semantic-kernel#8624); 401, where it is not good
                (assumed, as for online endpoints; the wording is ours).
        """
        key = sent_key(request)
        if key is None:
            message = "Auth token must be passed as a header called Authorization"
            raise ServiceError(400, "BadRequest", message)
        mode = endpoint.spec.auth_mode
        if mode == "AAD" or (mode == "KeyAndAAD" and request.claims):
            # The audience is that of the reference of the Azure AI Model Inference API.
            self._cloud.identity.check(request, (ML_AUDIENCE,))
        elif not self._cloud.replays and key not in endpoint.keys.values():
            raise ServiceError(401, "Unauthorized", "The key or token is wrong.")

    def _new(self) -> str:
        return self._keep(self._cloud.ids.secret(_LENGTH))

    def _keep(self, key: str) -> str:
        self._handed_out.add(key)
        return key
