"""Deploying: an endpoint, a deployment on it, and the traffic once that is healthy; or nothing left behind."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

from phi_finetune._azure.operations import Failed, follow
from phi_finetune._azure.translate import error_parts, refuse, speaks_of_quota
from phi_finetune._names import digest, slug
from phi_finetune.compute import MADE_BY, check_gpu_size
from phi_finetune.endpoints import AuthMode, Endpoint, Probe, check_name, from_arm
from phi_finetune.errors import (
    DeploymentFailed,
    InvalidParameter,
    NameTaken,
    PhiFinetuneError,
    QuotaExceeded,
)
from phi_finetune.events import AdoptedExisting, Created, Deleted, TrafficMoved, Warned
from phi_finetune.models import look_up

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune._azure.rest import Answer
    from phi_finetune.registered_models import RegisteredModel

__all__ = ["DeploymentSpec", "add_or_undo", "check_size", "deploy", "give_traffic"]

LONGEST_REQUEST: Final = timedelta(seconds=180)
"""Azure's page on managing quotas, 2026-01."""
MOST_INSTANCES: Final = 50
SERVES: Final = "phi-finetune.serves"
"""The tag that says which model an endpoint was made for."""
_SPEAKS_OF_NAME = re.compile(r"already exists|already an endpoint|unique within a region", re.IGNORECASE)
"""How the service words that a name is taken, in a 400 (azureml-examples issue 1931)."""
_LONGEST_NAME = 32
_DIGEST = 8
_GENERATIONS = 20


@attrs.frozen
class DeploymentSpec:
    """What a deployment is to be; see :meth:`RegisteredModel.deploy`."""

    model: str
    name: str
    instance_type: str
    instance_count: int
    request_timeout: timedelta
    max_concurrent_requests: int
    liveness: Probe
    readiness: Probe
    tags: Mapping[str, str]

    def __attrs_post_init__(self) -> None:
        check_name("deployment", self.name)
        if not 1 <= self.instance_count <= MOST_INSTANCES:
            raise InvalidParameter(
                "A deployment's number of machines is out of range",
                name="instance_count",
                value=self.instance_count,
                allowed=f"1 to {MOST_INSTANCES}",
            )
        if not timedelta(0) < self.request_timeout <= LONGEST_REQUEST:
            raise InvalidParameter(
                "A deployment's request timeout is out of range",
                name="request_timeout",
                value=self.request_timeout,
                allowed="more than 0 and at most 180 s",
            )
        if self.max_concurrent_requests < 1:
            raise InvalidParameter(
                "A deployment must work on one request at least",
                name="max_concurrent_requests",
                value=self.max_concurrent_requests,
                allowed="1 or more",
            )


def deploy(
    client: Client,
    model: RegisteredModel,
    spec: DeploymentSpec,
    *,
    endpoint: str | None,
    auth: AuthMode,
    description: str | None,
    tags: Mapping[str, str],
    timeout: timedelta,
) -> Endpoint:
    """Put a model behind an endpoint of its own."""
    if endpoint is not None:
        check_name("endpoint", endpoint)
    check_size(client, model, spec.instance_type)
    made, created = _endpoint(client, model, endpoint, auth, description, tags, timeout)
    if not created and spec.name in made.traffic and made.traffic[spec.name] == 100:
        return made
    if not created:
        add_or_undo(client, made, spec, timeout)
        return give_traffic(client, made.name, {spec.name: 100}, timeout)
    try:
        add_deployment(client, made.name, spec, timeout)
        return attrs.evolve(give_traffic(client, made.name, {spec.name: 100}, timeout), created_here=True)
    except (PhiFinetuneError, KeyboardInterrupt) as error:
        _delete_endpoint_after(error, client, made.name, timeout)
        raise


def add_or_undo(client: Client, endpoint: Endpoint, spec: DeploymentSpec, timeout: timedelta) -> None:
    """Make a deployment on an endpoint that stays, and delete it again if it does not become healthy.

    One that takes traffic was there before, and is left.

    Raises:
        QuotaExceeded: The subscription has too few cores.
        DeploymentFailed: It did not become healthy.
    """
    from phi_finetune._azure.endpoints import delete_deployment

    try:
        add_deployment(client, endpoint.name, spec, timeout)
    except (PhiFinetuneError, KeyboardInterrupt) as error:
        if not endpoint.traffic.get(spec.name):
            resource = f"deployment {spec.name} of endpoint {endpoint.name}"
            next_call = f"ws.endpoint({endpoint.name!r}).delete_deployment({spec.name!r})"
            delete = partial(delete_deployment, client, endpoint.name, spec.name, timeout)
            _delete_after(error, client, resource, delete, next_call)
        raise


def add_deployment(client: Client, endpoint: str, spec: DeploymentSpec, timeout: timedelta) -> None:
    """Make a deployment and wait until it is healthy.

    Raises:
        QuotaExceeded: The subscription has too few cores.
        DeploymentFailed: It did not become healthy.
    """
    from phi_finetune._azure.endpoints import put_deployment

    resource = f"deployment {spec.name} of endpoint {endpoint}"
    answer = put_deployment(client, endpoint, spec)
    if answer.status not in (200, 201, 202):
        _refuse_deployment(answer, resource)
    try:
        follow(
            client,
            answer,
            resource=resource,
            timeout=timeout,
            next_call=f'ws.endpoint("{endpoint}") looks again',
        )
    except Failed as failure:
        raise _failed(client, endpoint, spec, failure, resource) from None
    client.notify(Created(resource=resource))


def give_traffic(client: Client, endpoint: str, traffic: Mapping[str, int], timeout: timedelta) -> Endpoint:
    """Set the traffic, and see it set.

    Raises:
        DeploymentFailed: The service gave up on it.
    """
    from phi_finetune._azure.endpoints import put_traffic

    resource = f"endpoint {endpoint}"
    try:
        body = put_traffic(client, endpoint, traffic, timeout)
    except Failed as failure:
        raise DeploymentFailed(
            "The traffic could not be set", resource=resource, why=failure.message, code=failure.code
        ) from None
    client.notify(TrafficMoved(resource=resource, traffic=dict(traffic)))
    return from_arm(body, client)


def check_size(client: Client, model: RegisteredModel, size: str) -> None:
    """Refuse a size that the base model does not permit, or that cannot serve a model.

    Raises:
        SizeNotAllowed: With the sizes that it permits.
    """
    parts = (model.base_model or "").removeprefix("azureml://registries/").split("/")
    if len(parts) == 5:
        registry, _, name, _, version = parts
        base = look_up(client, name, version=version, registry=registry)
        base.check_inference_size(size)
        if base.inference_retires_on is not None and base.inference_retires_on <= datetime.now(UTC).date():
            message = (
                f"its base model retired for inference on {base.inference_retires_on}; Azure may refuse it"
            )
            client.notify(Warned(resource=model.resource, message=message))
    check_gpu_size(client, size, model.resource)


def _endpoint(
    client: Client,
    model: RegisteredModel,
    name: str | None,
    auth: AuthMode,
    description: str | None,
    tags: Mapping[str, str],
    timeout: timedelta,
) -> tuple[Endpoint, bool]:
    """The endpoint to deploy to, and whether this call created it."""
    from phi_finetune._azure.endpoints import create_endpoint, find_endpoint

    serves = f"{model.name}:{model.version}"
    for generation in range(1, _GENERATIONS):
        wanted = name or _default_name(client, model, generation)
        found = find_endpoint(client, wanted)
        if found is not None:
            return _adopt(client, found, serves, model), False
        answer = create_endpoint(
            client,
            name=wanted,
            auth=auth,
            description=description or f"Answers with model {serves}",
            tags={**tags, **MADE_BY, SERVES: serves},
        )
        if answer.status in (200, 201, 202):
            return _created(client, wanted, answer, timeout), True
        if name is not None or not _still_blocked(answer):
            _refuse_endpoint(answer, wanted, model)
    raise NameTaken(
        "Every name that was tried for the endpoint is still blocked",
        resource=f"model {serves}",
        why=f"the names of its last {_GENERATIONS - 1} endpoints are not yet free again",
        next_call='model.deploy("a-name-of-your-own", instance_type=...)',
    )


def _created(client: Client, name: str, answer: Answer, timeout: timedelta) -> Endpoint:
    resource = f"endpoint {name}"
    next_call = f'ws.endpoint("{name}").delete()'
    try:
        follow(client, answer, resource=resource, timeout=timeout, next_call=next_call)
    except Failed as failure:
        error = DeploymentFailed(
            "The endpoint could not be made", resource=resource, why=failure.message, code=failure.code
        )
        _delete_endpoint_after(error, client, name, timeout)
        raise error from None
    client.notify(Created(resource=resource))
    return from_arm(answer.json(), client, created_here=True)


def _adopt(client: Client, found: dict[str, Any], serves: str, model: RegisteredModel) -> Endpoint:
    endpoint = from_arm(found, client)
    if endpoint.tags.get(SERVES) == serves:
        client.notify(AdoptedExisting(resource=endpoint.resource))
        return endpoint
    raise _taken(
        endpoint.name, model, f"it is there, and serves {endpoint.tags.get(SERVES, 'something else')}"
    )


def _refuse_endpoint(answer: Answer, name: str, model: RegisteredModel) -> NoReturn:
    _, message = error_parts(answer.body)
    if answer.status == 409 or _SPEAKS_OF_NAME.search(message):
        raise _taken(name, model, message)
    refuse(answer, doing="create the endpoint", resource=f"endpoint {name}")


def _taken(name: str, model: RegisteredModel, why: str) -> NameTaken:
    free = f"{slug(model.name, _LONGEST_NAME - 6)}-{secrets.token_hex(2)}"
    return NameTaken(
        f"The endpoint name {name} is taken",
        resource=f"endpoint {name}",
        why=why or "names are unique in a region, over all its customers",
        costs="nothing: it was not created",
        next_call=f'model.deploy("{free}", instance_type=...)',
        suggestion=free,
    )


def _still_blocked(answer: Answer) -> bool:
    """Whether a name is that of an endpoint deleted a while ago: its creation answers 404 (azure-cli issue 7660)."""
    return answer.status == 404


def _default_name(client: Client, model: RegisteredModel, generation: int) -> str:
    tail = digest([client.facts.guid, model.name, model.version, generation])[:_DIGEST]
    return f"{slug(model.name, _LONGEST_NAME - _DIGEST - 1)}-{tail}"


def _refuse_deployment(answer: Answer, resource: str) -> NoReturn:
    code, message = error_parts(answer.body)
    if answer.status == 400 and not speaks_of_quota(code, message):
        raise DeploymentFailed(
            "The deployment was refused",
            resource=resource,
            why=f"{code}: {message}",
            costs="nothing: it was not created",
            next_call="mend what it names, and deploy again",
            status_code=answer.status,
            code=code,
            request_id=answer.headers.get("x-ms-request-id"),
        )
    refuse(answer, doing="create the deployment", resource=resource)


def _failed(
    client: Client, endpoint: str, spec: DeploymentSpec, failure: Failed, resource: str
) -> DeploymentFailed | QuotaExceeded:
    from phi_finetune._azure.endpoints import logs

    why = f"{failure.code}: {failure.message}"
    if speaks_of_quota(failure.code, failure.message):
        return QuotaExceeded(
            "The deployment got no machines",
            resource=resource,
            why=why,
            next_call="ask for more at https://aka.ms/azuremlquota, or take a smaller size or fewer instances",
            code=failure.code,
        )
    try:
        tail = logs(client, endpoint, spec.name, lines=50)
    except PhiFinetuneError as error:
        tail = f"(the log could not be read: {error.what})"
    return DeploymentFailed(
        "The deployment did not become healthy",
        resource=resource,
        why=why,
        next_call="read the log below, mend the model or the settings, and deploy again",
        code=failure.code,
        log_tail=tail,
    )


def _delete_endpoint_after(error: BaseException, client: Client, name: str, timeout: timedelta) -> None:
    from phi_finetune._azure.endpoints import delete_endpoint

    delete = partial(delete_endpoint, client, name, timeout)
    _delete_after(error, client, f"endpoint {name}", delete, f"ws.endpoint({name!r}).delete()")


def _delete_after(
    error: BaseException, client: Client, resource: str, delete: Callable[[], bool], next_call: str
) -> None:
    """Delete what was created before ``error``, and tell of it in the error, never in its place."""
    try:
        delete()
    except PhiFinetuneError as second:
        costs = f"{resource} may still be there, and bill"
        error.add_note(f"{costs}. Next: {next_call}")
        client.notify(Warned(resource=resource, message=f"could not be deleted: {second.what}"))
    else:
        costs = f"nothing: {resource} was deleted again"
        client.notify(Deleted(resource=resource))
    if isinstance(error, PhiFinetuneError):
        error.costs = costs
