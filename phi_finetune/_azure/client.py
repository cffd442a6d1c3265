"""What stands behind a workspace object: the transport, REST calls, azure-ai-ml's clients, and what was learnt.

Nothing is built, and nobody is asked for a token, before it is needed.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from phi_finetune._azure.hosts import ARM
from phi_finetune._azure.rest import Answer, Rest
from phi_finetune._azure.translate import error_parts, expect
from phi_finetune.errors import ConfigurationError, NotFound, UnexpectedAnswer
from phi_finetune.protocols import Clock, CredentialPolicy, Listener, RetryPolicy

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from phi_finetune._azure.transport import Transport
    from phi_finetune._token_cache import CachedCredential

__all__ = ["Client", "WorkspaceFacts"]

WORKSPACE_API = "2024-10-01-preview"
PROVIDER = "/providers/Microsoft.MachineLearningServices"

_CHECK_NAMES = "check the name, the resource group and the subscription that connect() was given"

T = TypeVar("T")

PIPELINE_BUILDER = threading.Lock()
"""azure-ai-ml keeps the pipeline being built in a stack of the whole process: two threads that build at once mix
their steps up, measured in 63 of 64 runs (wire.md 10)."""


@attrs.frozen
class WorkspaceFacts:
    """What the workspace says of itself.

    Attributes:
        location: Its region.
        guid: Its own id.
        api: The region's data plane, such as ``https://eastus.api.azureml.ms``.
        tracking_uri: The address of its MLflow service.
    """

    location: str
    guid: str
    api: str
    tracking_uri: str


class Client:
    """The handle that a workspace and all its objects share. Safe to share between threads.

    Args:
        subscription_id: The subscription.
        resource_group: The resource group.
        workspace_name: The workspace.
        credentials: How to sign in.
        retries: When to send again.
        clock: Time, and its passing.
        notify: Hears every event.
        on_found: Called once, when the workspace was found, with this handle and the answer.
    """

    def __init__(
        self,
        *,
        subscription_id: str,
        resource_group: str,
        workspace_name: str,
        credentials: CredentialPolicy,
        retries: RetryPolicy,
        clock: Clock,
        notify: Listener,
        on_found: Callable[[Client, Answer], None] | None = None,
    ) -> None:
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.workspace_name = workspace_name
        self.clock = clock
        self.notify = notify
        self._credentials = credentials
        self._retries = retries
        self._on_found = on_found
        self._lock = threading.RLock()
        self._remembered: dict[str, Any] = {}

    @property
    def path(self) -> str:
        """The ARM path of the workspace."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"{PROVIDER}/workspaces/{self.workspace_name}"
        )

    @property
    def url(self) -> str:
        """The ARM URL of the workspace."""
        return ARM + self.path

    @property
    def resource(self) -> str:
        """How errors name the workspace."""
        return f"workspace {self.workspace_name} in resource group {self.resource_group}"

    @property
    def transport(self) -> Transport:
        """The one transport."""
        return self.remember("transport", self._build_transport)

    @property
    def credential(self) -> CachedCredential:
        """The credential, signed in with on first use.

        Raises:
            AuthenticationFailed: No way of signing in worked.
        """
        return self.remember("credential", self._sign_in)

    @property
    def rest(self) -> Rest:
        """Plain REST calls."""
        return self.remember("rest", self._build_rest)

    @property
    def facts(self) -> WorkspaceFacts:
        """What the workspace says of itself, asked once.

        Raises:
            NotFound: There is no such workspace.
        """
        return self.remember("workspace", self._look_up_workspace)

    def server_time(self) -> datetime:
        """The time by the service's clock, asked each time.

        Raises:
            NotFound: There is no such workspace.
            UnexpectedAnswer: The service does not say.
        """
        return self._ask_for_workspace().served_at()

    def remember(self, key: str, look_up: Callable[[], T]) -> T:
        """What ``look_up`` gives, asked for once in the life of this client."""
        # Not "if key in": another thread may forget it in between.
        with suppress(KeyError):
            known: T = self._remembered[key]
            return known
        with self._lock:
            if key not in self._remembered:
                self._remembered[key] = look_up()
            found: T = self._remembered[key]
            return found

    def forget(self, key: str) -> None:
        """Ask again next time."""
        with self._lock:
            self._remembered.pop(key, None)

    def get(
        self, path: str, *, api: str, resource: str, doing: str, next_call: str | None = None
    ) -> dict[str, Any]:
        """GET something under the workspace that must be there.

        Raises:
            NotFound: It is not, or the workspace itself is absent.
        """
        answer = self.rest.send("GET", self.url + path, query={"api-version": api})
        self.check_workspace(answer)
        return expect(answer, 200, doing=doing, resource=resource, next_call=next_call).json()

    def find(self, path: str, *, api: str, resource: str, doing: str) -> dict[str, Any] | None:
        """GET something under the workspace; None where the service says 404 of it, and of nothing above it.

        Raises:
            NotFound: The workspace itself is absent.
        """
        answer = self.rest.send("GET", self.url + path, query={"api-version": api})
        if answer.status != 404:
            return expect(answer, 200, doing=doing, resource=resource).json()
        self.check_workspace(answer)
        return None

    def listed(
        self, path: str, *, api: str, resource: str, doing: str, query: Mapping[str, str] = {}
    ) -> list[dict[str, Any]]:
        """Every item of a list under the workspace, page by page."""
        pages = self.rest.pages(self.url + path, query={"api-version": api, **query})
        items: list[dict[str, Any]] = []
        for page in pages:
            self.check_workspace(page)
            items.extend(expect(page, 200, doing=doing, resource=resource).json().get("value", ()))
        return items

    def check_workspace(self, answer: Answer) -> None:
        """Refuse an answer that says 404 of the workspace, or of what is above it, and not of what was asked for.

        Raises:
            NotFound: The workspace is absent.
        """
        if answer.status != 404:
            return
        code, message = error_parts(answer.body)
        absent = code in ("SubscriptionNotFound", "ResourceGroupNotFound") or (
            code == "ResourceNotFound" and f"workspaces/{self.workspace_name}'".lower() in message.lower()
        )
        if absent:
            raise NotFound(
                "Could not find the workspace",
                resource=self.resource,
                why=f"{code}: {message}",
                next_call=_CHECK_NAMES,
                status_code=404,
                code=code,
            )

    def ml_client(self) -> MLClient:
        """The real azure-ai-ml client of the workspace, on our transport, its own retries and telemetry off."""
        return self.remember("ml_client", self._build_ml_client)

    def _build_transport(self) -> Transport:
        from phi_finetune._azure.transport import Transport

        return Transport(
            retries=self._retries, clock=self.clock, credential=lambda: self.credential, notify=self.notify
        )

    def _sign_in(self) -> CachedCredential:
        from phi_finetune._token_cache import CachedCredential
        from phi_finetune.events import CredentialChosen

        chosen = self._credentials.credential(transport=self.transport)
        credential = chosen if isinstance(chosen, CachedCredential) else CachedCredential(chosen)
        if credential.attempts:
            won = credential.attempts[-1]
            self.notify(CredentialChosen(resource=f"credential {won.name}", took_s=won.took_s))
        return credential

    def _build_rest(self) -> Rest:
        from phi_finetune import __version__

        agent = f"phi-finetune/{__version__} Python/{platform.python_version()}"
        return Rest(self.transport, self.credential, agent)

    def _build_ml_client(self) -> MLClient:
        from azure.ai.ml import MLClient

        return MLClient(
            self.credential,
            self.subscription_id,
            self.resource_group,
            self.workspace_name,
            transport=self.transport,
            retry_total=0,
            enable_telemetry=False,
            show_progress=False,
        )

    def _look_up_workspace(self) -> WorkspaceFacts:
        answer = self._ask_for_workspace()
        body = answer.json()
        properties = body.get("properties") or {}
        location = body.get("location")
        if not location:
            raise UnexpectedAnswer("The workspace does not say where it is", resource=self.resource)
        if self._on_found is not None:
            self._on_found(self, answer)
        return WorkspaceFacts(
            location=location,
            guid=str(properties.get("workspaceId", "")),
            api=f"https://{location}.api.azureml.ms",
            tracking_uri=str(properties.get("mlFlowTrackingUri", "")),
        )

    def _ask_for_workspace(self) -> Answer:
        answer = self.rest.send("GET", self.url, query={"api-version": WORKSPACE_API})
        return expect(answer, 200, doing="find the workspace", resource=self.resource, next_call=_CHECK_NAMES)


def attached(client: Client | None, thing: str) -> Client:
    """The handle of an object.

    Raises:
        ConfigurationError: It has none: it was unpickled or built by hand.
    """
    if client is not None:
        return client
    raise ConfigurationError(
        f"This {thing} is not attached to a workspace",
        why="it was unpickled, or built by hand",
        next_call="revive it: workspace.attach(it)",
    )
