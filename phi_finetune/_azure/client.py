"""What stands behind a workspace object: the transport, REST calls, azure-ai-ml's clients, and what was learnt.

Nothing is built, and nobody is asked for a token, before it is needed.
"""

from __future__ import annotations

import copy
import platform
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from phi_finetune._azure.hosts import PUBLIC, AzureCloud, Hosts
from phi_finetune._azure.rest import Answer, Rest
from phi_finetune._azure.translate import error_parts, expect
from phi_finetune._deadlines import BoundedClock, Deadline
from phi_finetune.errors import ConfigurationError, InvalidParameter, NotFound, UnexpectedAnswer
from phi_finetune.protocols import Clock, CredentialPolicy, Listener, RetryPolicy
from phi_finetune.retries import for_leaving

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from requests import Session

    from phi_finetune._azure.transport import Transport
    from phi_finetune._preflight import Preflight
    from phi_finetune._token_cache import CachedCredential
    from phi_finetune.events import Event
    from phi_finetune.retries import RetryBudget

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
        cloud: Which of Microsoft's clouds.
        allowed_hosts: Hosts that may be spoken to besides the cloud's.
        budget: What all further sends together may cost; None sets no limit.
        on_found: Called once, when the workspace was found, with this handle and the answer.
        session: What sends, in place of a session of its own; a local workspace answers by it.
        tracking_uri: Where MLflow finds the runs; None asks the workspace.
        preflight: What is checked beforehand of the machine that trains; None where it is not at hand.

    Raises:
        ConfigurationError: A host that is allowed is no host's name.
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
        cloud: AzureCloud = PUBLIC,
        allowed_hosts: Iterable[str] = (),
        budget: RetryBudget | None = None,
        on_found: Callable[[Client, Answer], None] | None = None,
        session: Session | None = None,
        tracking_uri: str | None = None,
        preflight: Preflight | None = None,
    ) -> None:
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.workspace_name = workspace_name
        self.clock = clock
        self.notify = notify
        self.cloud = cloud
        self.hosts = Hosts(cloud, allowed_hosts)
        self._credentials = credentials
        self._retries = retries
        self._budget = budget
        self._on_found = on_found
        self.session = session
        self.tracking_uri = tracking_uri
        self.preflight = preflight
        self._lock = threading.RLock()
        self._remembered: dict[str, Any] = {}
        self._own: dict[str, Any] = {}
        self._call_timeout: timedelta | None = None
        self._deadline: Deadline | None = None
        self._outside: Client | None = None
        self._origin: Client | None = None

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
        return self.cloud.arm + self.path

    @property
    def resource(self) -> str:
        """How errors name the workspace."""
        return f"workspace {self.workspace_name} in resource group {self.resource_group}"

    def with_options(self, *, timeout: timedelta | None, retries: RetryPolicy | None) -> Client:
        """A handle with other limits for each call, which shares all that was learnt, and the connections.

        Raises:
            InvalidParameter: The timeout is not above 0.
        """
        other = self.outside_calls()._copy()
        if timeout is not None:
            check_timeout(timeout)
            other._call_timeout = timeout
        if retries is not None:
            other._retries = retries
        return other

    def for_call(self, timeout: timedelta | None = None, resource: str | None = None) -> Client:
        """The handle for one call, which begins now: nothing that it does goes on after the call's limit.

        Args:
            timeout: The call's own limit; None is that of the options, or of the call around it.
            resource: What the call is about, for the error that says that its limit was reached.

        Raises:
            InvalidParameter: The timeout is not above 0.
        """
        if timeout is not None:
            check_timeout(timeout)
        limits = [timeout, None if self._deadline is not None else self._call_timeout]
        given = [limit.total_seconds() for limit in limits if limit is not None]
        if not given:
            return self
        deadline = Deadline.after(self.outside_calls().clock, min(given), resource)
        if self._deadline is not None and self._deadline.until_s <= deadline.until_s:
            return self
        inside = self._copy()
        inside._deadline, inside._outside = deadline, self.outside_calls()
        inside.clock = BoundedClock(deadline)
        return inside

    def outside_calls(self) -> Client:
        """The handle without the limit of a call that is going on."""
        return self if self._outside is None else self._outside

    def _copy(self) -> Client:
        other = copy.copy(self)
        other._own, other._origin = {}, self._origin or self
        return other

    @property
    def transport(self) -> Transport:
        """The one transport, as far as connections go; limits are this handle's."""
        return self._remember_own("transport", self._build_transport)

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
        return self._remember_own("rest", self._build_rest)

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
        """What ``look_up`` gives, asked for once in the life of this client and all that share with it."""
        return self._once(self._remembered, key, look_up)

    def _remember_own(self, key: str, look_up: Callable[[], T]) -> T:
        return self._once(self._own, key, look_up)

    def _once(self, memory: dict[str, Any], key: str, look_up: Callable[[], T]) -> T:
        # Not "if key in": another thread may forget it in between.
        with suppress(KeyError):
            known: T = memory[key]
            return known
        with self._lock:
            if key not in memory:
                memory[key] = look_up()
            found: T = memory[key]
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

    def for_leaving(self, *, quiet: bool = False, limited: bool = False) -> Client:
        """The same workspace, asked with the patience of the way out (:func:`~phi_finetune.retries.for_leaving`), which
        the budget of retries does not end.

        Args:
            quiet: Nobody hears of events.
            limited: The limit of the call that is going on ends it; or else none does.
        """
        other = self._copy() if limited else self.outside_calls()._copy()
        other._retries, other._budget = for_leaving(self._retries), None
        if not limited:
            other._call_timeout = None
        if quiet:
            other.notify = _hear_nothing
        return other

    def ml_client(self) -> MLClient:
        """The real azure-ai-ml client of the workspace, on our transport, its own retries and telemetry off."""
        return self._remember_own("ml_client", self._build_ml_client)

    def _build_transport(self) -> Transport:
        return self._first_transport.limited(
            retries=self._retries, budget=self._budget, notify=self.notify, deadline=self._deadline
        )

    @property
    def _first_transport(self) -> Transport:
        """The transport that has the connections, and no limits of a call."""
        return self.remember("transport", self._build_first_transport)

    def _build_first_transport(self) -> Transport:
        from phi_finetune._azure.transport import Transport

        # All handles of the workspace sign in through this one, so no options of one of them go into it.
        first = self._origin or self
        return Transport(
            retries=first._retries,
            clock=first.clock,
            credential=lambda: first.credential,
            notify=first.notify,
            hosts=first.hosts,
            budget=first._budget,
            session=first.session,
        )

    def _sign_in(self) -> CachedCredential:
        from phi_finetune._credentials_sign_in import sign_in
        from phi_finetune._token_cache import CachedCredential
        from phi_finetune.events import CredentialChosen

        # The credential outlives the call that it is first needed in.
        chosen = sign_in(self._credentials, self._first_transport, self.cloud.arm_scope)
        credential = chosen if isinstance(chosen, CachedCredential) else CachedCredential(chosen)
        if credential.attempts:
            won = credential.attempts[-1]
            (self._origin or self).notify(
                CredentialChosen(resource=f"credential {won.name}", took_s=won.took_s)
            )
        return credential

    def _build_rest(self) -> Rest:
        from phi_finetune import __version__

        agent = f"phi-finetune/{__version__} Python/{platform.python_version()}"
        return Rest(self.transport, self.credential, agent, self.hosts)

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
            cloud=self.cloud.name,
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
            api=f"https://{location}{self.cloud.api}",
            tracking_uri=str(properties.get("mlFlowTrackingUri", "")),
        )

    def _ask_for_workspace(self) -> Answer:
        answer = self.rest.send("GET", self.url, query={"api-version": WORKSPACE_API})
        return expect(answer, 200, doing="find the workspace", resource=self.resource, next_call=_CHECK_NAMES)


def _hear_nothing(event: Event) -> None:
    return None


def check_timeout(timeout: timedelta) -> None:
    """Refuse a limit that leaves no time.

    Raises:
        InvalidParameter: It is not above 0.
    """
    if timeout <= timedelta(0):
        raise InvalidParameter("A call needs time", name="timeout", value=timeout, allowed="more than zero")


def attached(
    client: Client | None, thing: str, timeout: timedelta | None = None, resource: str | None = None
) -> Client:
    """The handle of an object, for the call that begins with this; its limits are those of :meth:`Client.for_call`.

    Raises:
        ConfigurationError: It has none: it was unpickled or built by hand.
    """
    if client is not None:
        return client.for_call(timeout, resource)
    raise ConfigurationError(
        f"This {thing} is not attached to a workspace",
        why="it was unpickled, or built by hand",
        next_call="revive it: workspace.attach(it)",
    )
