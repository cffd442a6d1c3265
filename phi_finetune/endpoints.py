"""Endpoints: a deployed model that answers."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import attrs

from phi_finetune._handles import WithoutHandle, kept
from phi_finetune._leases import check_ours, lease_end, lease_tag, lease_until, longer_lease
from phi_finetune._leaving import DELETE_TIMEOUT, delete_surely
from phi_finetune._lineage import MADE_BY
from phi_finetune._unshown import Unshown
from phi_finetune.deployments import AuthMode, Deployment, DeploymentSpec, Probe, deployment_from_arm
from phi_finetune.errors import ConfigurationError, InvalidParameter, PhiFinetuneError
from phi_finetune.events import Deleted, Warned
from phi_finetune.scoring import ChatReply, Sampling, Turns, read_reply, request_body, send

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.registered_models import RegisteredModel

__all__ = ["Endpoint", "EndpointKeys", "write_request"]

TAG_TIMEOUT = timedelta(minutes=10)
_AUTH: Mapping[str, AuthMode] = {"key": "key", "aadtoken": "aad_token"}


@attrs.frozen
class EndpointKeys:
    """An endpoint's two keys; neither is shown by repr.

    Attributes:
        primary: The first.
        secondary: The second, for use while the first is made anew.
    """

    primary: str = attrs.field(repr=False)
    secondary: str = attrs.field(repr=False)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("keys are not pickled; fetch them again with endpoint.keys()")


@attrs.frozen(slots=False)
class Endpoint(WithoutHandle):
    """A live scoring service, as it was when last looked at.

    As a context manager it deletes itself at the end, and sees itself gone, if the call that gave it had created it;
    that is more patient than the workspace's retry policy, and a Ctrl-C meanwhile waits for it. One that was there
    before is left, and a :class:`~phi_finetune.events.Warned` says so.

    Attributes:
        name: Its name.
        scoring_uri: Where requests go.
        auth: How callers sign in.
        traffic: The percentage of requests for each deployment.
        provisioning_state: Azure's state of it.
        description: A text for people.
        tags: Its tags.
        created_here: Whether the call that gave this object created it.
    """

    name: str
    scoring_uri: str
    auth: AuthMode = "key"
    traffic: Mapping[str, int] = attrs.field(factory=dict, hash=False)
    provisioning_state: str = "Succeeded"
    description: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    created_here: bool = attrs.field(default=False, eq=False)
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    @property
    def resource(self) -> str:
        """How errors and events name it."""
        return f"endpoint {self.name}"

    @property
    def lease_until(self) -> datetime | None:
        """When its lease ends, in UTC: from then on ``ws.sweep()`` deletes it. None where it has none."""
        return lease_until(self.tags)

    def __getstate__(self) -> dict[str, Any]:
        # Who unpickles it did not create it, so that no with block there deletes it.
        return {**super().__getstate__(), "created_here": False}

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.created_here and error is None:
            self._delete_surely()
            return
        if self.created_here and error is not None:
            self._delete_after(error)
            return
        message = "it was there before, so it is left, and goes on billing; endpoint.delete() ends that"
        self._handle().notify(Warned(resource=self.resource, message=message))

    def _delete_surely(self) -> None:
        """Delete on the way out: patiently, and once more where that is interrupted."""
        from phi_finetune._azure.endpoints import delete_endpoint

        def delete(client: Client) -> None:
            if delete_endpoint(client, self.name, DELETE_TIMEOUT):
                client.notify(Deleted(resource=self.resource))

        next_call = f"ws.endpoint({self.name!r}).delete()"
        delete_surely(self._handle(), delete, resource=self.resource, next_call=next_call)

    def _delete_after(self, error: BaseException) -> None:
        """Delete, and let no failure of that take the place of the error that ended the block."""
        try:
            self._delete_surely()
        except PhiFinetuneError as second:
            message = f"{self.resource} may still be there, and bill: {second.what}"
            error.add_note(f"{message}. Next: ws.endpoint({self.name!r}).delete()")
            self._handle().notify(Warned(resource=self.resource, message=message))

    def chat(
        self,
        message: Turns,
        *,
        temperature: float = 0.6,
        top_p: float = 0.9,
        do_sample: bool = True,
        max_new_tokens: int = 200,
        repetition_penalty: float | None = None,
        deployment: str | None = None,
    ) -> ChatReply:
        """Ask the model.

        Args:
            message: A text, a list of messages, or a row of the data set, whose last answer is then not sent.
            temperature: How bold the sampling is; 0 always takes the likeliest token.
            top_p: Sample from the likeliest tokens that together have this probability.
            do_sample: False always takes the likeliest token.
            max_new_tokens: The most tokens that the answer may have.
            repetition_penalty: Above 1 it makes repetition less likely; None leaves it to the model.
            deployment: Ask this deployment, whatever its traffic; None lets the traffic decide.

        Raises:
            InvalidParameter: A setting is out of range, or there is no message to send.
            ScoringFailed: The endpoint did not answer; a subclass says how.
        """
        sampling = Sampling(temperature, top_p, do_sample, max_new_tokens, repetition_penalty)
        question = request_body(message, sampling)
        del message  # a traceback may show each function's variables
        answer = send(self._handle(), self, question, deployment)
        return read_reply(answer, self.resource)

    def chat_many(
        self, messages: Iterable[Turns], *, sampling: Sampling | None = None, concurrency: int = 2
    ) -> Iterator[ChatReply]:
        """Ask the model many things at a time; replies come in the order of the messages.

        Args:
            messages: What to ask, each as :meth:`chat` takes it; read as they are asked.
            sampling: Settings for all of them; None takes the defaults of :meth:`chat`.
            concurrency: How many are asked at a time. An endpoint answers 429 when more than twice its machines'
                concurrent requests are in hand, so 2 is the most for one machine with Azure's default of one.

        Raises:
            ScoringFailed: One was not answered; those before it were given.
        """
        if concurrency < 1:
            raise InvalidParameter(
                "Nobody can ask", name="concurrency", value=concurrency, allowed="1 or more"
            )
        client, chosen = self._handle(), sampling or Sampling()

        def ask(question: Unshown) -> ChatReply:
            return read_reply(send(client, self, question, None), self.resource)

        waiting = (request_body(message, chosen) for message in messages)
        del messages  # a traceback may show each function's variables
        with ThreadPoolExecutor(max_workers=concurrency) as pool:
            asked = deque(pool.submit(ask, question) for question in islice(waiting, concurrency))
            while asked:
                reply = asked.popleft().result()
                asked.extend(pool.submit(ask, question) for question in islice(waiting, 1))
                yield reply

    def score(
        self, body: Mapping[str, Any] | str | os.PathLike[str], *, deployment: str | None = None
    ) -> Any:
        """Send a request as it is, and give the answer's JSON value.

        Args:
            body: The request, or the path of a file that holds it as JSON.
            deployment: Ask this deployment, whatever its traffic; None lets the traffic decide.

        Raises:
            ScoringFailed: The endpoint did not answer; a subclass says how.
            InvalidParameter: The file cannot be read as JSON.
        """
        from phi_finetune.scoring import read_json

        question = Unshown(body if isinstance(body, Mapping) else _read_request(Path(body)))
        del body  # a traceback may show each function's variables
        return read_json(send(self._handle(), self, question, deployment), self.resource)

    def write_request(
        self, row: Turns, path: str | os.PathLike[str], sampling: Sampling | None = None
    ) -> Path:
        """Write a request file that :meth:`score` sends; see :func:`write_request`."""
        return write_request(row, path, sampling)

    def refresh(self) -> Endpoint:
        """The endpoint as it is now.

        Raises:
            NotFound: It is not there.
        """
        from phi_finetune._azure.endpoints import get_endpoint

        client = self._handle()
        return from_arm(get_endpoint(client, self.name), client, created_here=self.created_here)

    def keys(self) -> EndpointKeys:
        """The endpoint's keys.

        Raises:
            ConfigurationError: Callers sign in with an Entra token.
        """
        from phi_finetune._azure.endpoints import keys

        if self.auth != "key":
            raise ConfigurationError(
                "The endpoint has no keys", resource=self.resource, why="it takes Entra tokens"
            )
        return EndpointKeys(*keys(self._handle(), self.name))

    def deployments(self) -> tuple[Deployment, ...]:
        """What is deployed behind it."""
        return deployments_of(self._limited()._handle(), self.name)

    def deploy(
        self,
        model: RegisteredModel,
        deployment: str,
        *,
        instance_type: str,
        instance_count: int = 1,
        request_timeout: timedelta = timedelta(seconds=90),
        max_concurrent_requests: int = 1,
        liveness: Probe | None = None,
        readiness: Probe | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(hours=2),
    ) -> Endpoint:
        """Put a further model behind the endpoint. It takes no traffic until :meth:`shift_traffic` gives it some.

        If it does not become healthy it is deleted before the error is raised.

        Args:
            model: The model.
            deployment: The deployment's name.
            instance_type: The size of its machines.
            instance_count: How many machines.
            request_timeout: How long an answer may take; Azure allows up to 180 s.
            max_concurrent_requests: Requests that each machine works on at a time.
            liveness: When the container counts as alive; None waits 600 s before the first look.
            readiness: When it may take requests; None waits 600 s before the first look.
            tags: Further tags.
            timeout: How long the call may take in all. A deployment that is not healthy by then is deleted again, which
                may take up to an hour more.

        Raises:
            SizeNotAllowed: The base model does not permit the size for inference.
            QuotaExceeded: The subscription has too few cores.
            DeploymentFailed: It did not become healthy; with the container's log.
            DeadlineExceeded: The time was up.
        """
        from phi_finetune._deploying import add_or_undo, check_size

        spec = DeploymentSpec(
            model=model.id,
            name=deployment,
            instance_type=instance_type,
            instance_count=instance_count,
            request_timeout=request_timeout,
            max_concurrent_requests=max_concurrent_requests,
            liveness=liveness or Probe(),
            readiness=readiness or Probe(),
            tags={**(tags or {}), **MADE_BY},
        )
        call = self._limited(timeout)
        client = call._handle()
        check_size(client, model, instance_type)
        add_or_undo(client, call.refresh(), spec, timeout)
        return call.refresh()

    def shift_traffic(
        self, traffic: Mapping[str, int], *, timeout: timedelta = timedelta(minutes=30)
    ) -> Endpoint:
        """Set which deployment takes which percentage of the requests.

        Args:
            traffic: Percent for each deployment; together 100, or 0 to take no requests at all.
            timeout: How long the call may take in all.

        Raises:
            InvalidParameter: It does not add up.
            DeploymentFailed: The service gave up on it.
            DeadlineExceeded: It is not set in time; it may be later.
        """
        from phi_finetune._deploying import give_traffic

        total = sum(traffic.values())
        if total not in (0, 100) or any(not 0 <= share <= 100 for share in traffic.values()):
            raise InvalidParameter(
                f"The traffic adds up to {total} percent",
                resource=self.resource,
                name="traffic",
                value=dict(traffic),
                allowed="shares from 0 to 100 that add up to 100, or to 0",
            )
        client = self._limited(timeout)._handle()
        return attrs.evolve(give_traffic(client, self.name, traffic, timeout), created_here=self.created_here)

    def logs(
        self,
        deployment: str = "default",
        *,
        lines: int = 100,
        container: Literal["inference-server", "storage-initializer"] = "inference-server",
    ) -> str:
        """The last lines that a deployment's container wrote.

        Args:
            deployment: The deployment.
            lines: How many lines.
            container: The one that answers, or the one that fetches the model first.

        Raises:
            NotFound: There is no such deployment.
        """
        from phi_finetune._azure.endpoints import logs

        kind = "StorageInitializer" if container == "storage-initializer" else None
        return logs(self._handle(), self.name, deployment, lines=lines, container=kind)

    def delete_deployment(self, deployment: str, *, timeout: timedelta = DELETE_TIMEOUT) -> Endpoint:
        """Delete one of its deployments, and see it gone; its machines cost money until then.

        Args:
            deployment: The deployment; one that is not there is as good as deleted.
            timeout: How long the call may take in all, until it is seen gone.

        Raises:
            ServiceError: It takes traffic; :meth:`shift_traffic` first.
            DeadlineExceeded: It is still there, and bills.
        """
        from phi_finetune._azure.endpoints import delete_deployment

        call = self._limited(timeout)
        client = call._handle()
        if delete_deployment(client, self.name, deployment, timeout):
            client.notify(Deleted(resource=f"deployment {deployment} of {self.resource}"))
        return call.refresh()

    def extend(self, lease: timedelta, *, timeout: timedelta = TAG_TIMEOUT) -> Endpoint:
        """Let its lease end ``lease`` from now, by the service's clock; one that ends later stays as it is.

        An endpoint of this library's that had no lease has one then.

        Args:
            lease: From one minute to 366 days.
            timeout: How long the call may take in all.

        Raises:
            ConfigurationError: This library did not make the endpoint.
            NotFound: It is not there.
            DeadlineExceeded: It is not written in time.
        """
        from phi_finetune._azure.endpoints import tag_endpoint

        call = self._limited(timeout)
        client, now = call._handle(), call.refresh()
        check_ours(now.tags, self.resource)
        until = lease_end(client, lease)
        if now.lease_until is not None and now.lease_until >= until:
            return now
        body = tag_endpoint(client, self.name, lease_tag(until), timeout)
        return from_arm(body, client, created_here=self.created_here)

    def delete(self, *, timeout: timedelta = DELETE_TIMEOUT) -> None:
        """Delete the endpoint with its deployments, and see it gone. One that is not there is as good as deleted.

        Args:
            timeout: How long the call may take in all, until it is seen gone.

        Raises:
            DeadlineExceeded: It is still there, and bills.
        """
        from phi_finetune._azure.endpoints import delete_endpoint

        client = self._limited(timeout)._handle()
        if delete_endpoint(client, self.name, timeout):
            client.notify(Deleted(resource=self.resource))

    def _handle(self) -> Client:
        from phi_finetune._azure.client import attached

        return attached(self._client, "endpoint")


def from_arm(body: Mapping[str, Any], client: Client, *, created_here: bool = False) -> Endpoint:
    """An endpoint from ARM's description of it."""
    from phi_finetune._azure.paths import required

    properties: Mapping[str, Any] = body.get("properties") or {}
    return Endpoint(
        name=str(required(body, "name", "endpoint")),
        scoring_uri=str(properties.get("scoringUri") or ""),
        auth=_AUTH.get(str(properties.get("authMode")).lower(), "key"),
        traffic={str(key): int(value) for key, value in (properties.get("traffic") or {}).items()},
        provisioning_state=str(properties.get("provisioningState")),
        description=properties.get("description"),
        tags={str(key): str(value) for key, value in (body.get("tags") or {}).items()},
        created_here=created_here,
        client=client,
    )


def deployments_of(client: Client, endpoint: str) -> tuple[Deployment, ...]:
    """What is deployed behind an endpoint; unlike the endpoint's own verb, it keeps to the client's limit of time."""
    from phi_finetune._azure.endpoints import get_endpoint, list_deployments

    traffic = from_arm(get_endpoint(client, endpoint), client).traffic
    return tuple(deployment_from_arm(item, endpoint, traffic) for item in list_deployments(client, endpoint))


def lease_longer(client: Client, there: Endpoint, tags: Mapping[str, str]) -> Endpoint:
    """The endpoint, with its lease as long at least as the one in ``tags``, if both have one."""
    from phi_finetune._azure.endpoints import tag_endpoint

    longer = longer_lease(client, there.resource, there.tags, lease_until({**tags, **MADE_BY}))
    return from_arm(tag_endpoint(client, there.name, longer, TAG_TIMEOUT), client) if longer else there


def write_request(row: Turns, path: str | os.PathLike[str], sampling: Sampling | None = None) -> Path:
    """Write a request file, as ``endpoint.score(path)`` and Azure's own tools send it.

    Args:
        row: A text, a list of messages, or a row of the data set, whose last answer is then left out.
        path: The file; written whole or not at all.
        sampling: Settings; None takes the defaults of :meth:`Endpoint.chat`.

    Returns:
        The file's path.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    text = json.dumps(request_body(row, sampling or Sampling()), indent=2)
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, target)
    return target


def _read_request(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise InvalidParameter(
            f"The request file {path.name} cannot be read",
            why=why,
            name="body",
            value=str(path),
            allowed="a file with one JSON object",
            next_call="write_request(row, path) writes one",
        ) from None
    if isinstance(value, Mapping):
        return value
    raise InvalidParameter(
        f"The request file {path.name} holds no object",
        name="body",
        value=str(path),
        allowed="one JSON object",
    )
