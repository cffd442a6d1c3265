"""Deploying: an endpoint, a deployment on it, and the traffic once that is healthy; or nothing left behind."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

import attrs

from phi_finetune._azure.operations import Failed, apply, follow, state
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import error_parts, refuse, speaks_of_quota
from phi_finetune._leaving import DELETE_TIMEOUT, delete_surely
from phi_finetune._lineage import MADE_BY, SERVES
from phi_finetune._names import digest, slug
from phi_finetune._waiting import Look, Patience, wait_for
from phi_finetune.compute import check_gpu_size
from phi_finetune.deployments import AuthMode, check_name, deployment_from_arm, same_model
from phi_finetune.endpoints import Endpoint, deployments_of, from_arm, lease_longer
from phi_finetune.errors import (
    DeadlineExceeded,
    DeploymentFailed,
    InvalidParameter,
    NameTaken,
    OutcomeUnknown,
    PhiFinetuneError,
    QuotaExceeded,
)
from phi_finetune.events import AdoptedExisting, Created, Deleted, TrafficMoved, Warned
from phi_finetune.models import look_up

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.deployments import Deployment, DeploymentSpec
    from phi_finetune.registered_models import RegisteredModel

__all__ = ["EndpointSpec", "add_or_undo", "check_size", "deploy", "give_traffic"]

_SPEAKS_OF_NAME = re.compile(r"already exists|already an endpoint|unique within a region", re.IGNORECASE)
"""How the service words that a name is taken, in a 400 (azureml-examples issue 1931)."""
_LONGEST_NAME = 32
_DIGEST = 8
_GENERATIONS: Final = 20


class _NameBlocked(Exception):
    """An endpoint's name is not yet free again."""


@attrs.frozen
class EndpointSpec:
    """What an endpoint is to be; see :meth:`RegisteredModel.deploy`. Without a name one is made from the model."""

    name: str | None
    auth: AuthMode
    description: str | None
    tags: Mapping[str, str]


def deploy(
    client: Client, model: RegisteredModel, spec: DeploymentSpec, endpoint: EndpointSpec, timeout: timedelta
) -> Endpoint:
    """Put a model behind an endpoint of its own."""
    from phi_finetune._azure.endpoints import find_endpoint, wait_endpoint_gone

    if endpoint.name is not None:
        check_name("endpoint", endpoint.name)
    if endpoint.auth not in get_args(AuthMode):
        raise InvalidParameter(
            "An endpoint cannot be signed in to so",
            name="auth",
            value=endpoint.auth,
            allowed=", ".join(get_args(AuthMode)),
        )
    check_size(client, model, spec.instance_type)
    for generation in range(1, _GENERATIONS):
        name = endpoint.name or _default_name(client, model, generation)
        found = find_endpoint(client, name)
        if found is not None and state(found) == "Deleting":
            wait_endpoint_gone(client, name, timeout)
            found = None
        if found is not None:
            return _deploy_there(client, found, model, spec, endpoint, timeout)
        try:
            accepted = _claim(client, name, model, spec.instance_type, endpoint)
        except _NameBlocked:
            continue
        return _deploy_anew(client, name, spec, timeout, accepted)
    raise NameTaken(
        "Every name that was tried for the endpoint is still blocked",
        resource=model.resource,
        why=f"the names of its last {_GENERATIONS - 1} endpoints are not yet free again",
        next_call=f'model.deploy("a-name-of-your-own", instance_type="{spec.instance_type}")',
    )


def _claim(
    client: Client, name: str, model: RegisteredModel, size: str, endpoint: EndpointSpec
) -> Answer | None:
    """Ask for an endpoint; None where the answer does not tell, and looking tells that the endpoint is there.

    Raises:
        NameTaken: Another process was first, with another model.
        _NameBlocked: The name is that of one deleted a while ago, and the next one can be tried.
    """
    from phi_finetune._azure.endpoints import create_endpoint, find_endpoint

    serves = f"{model.name}:{model.version}"
    send = partial(
        create_endpoint,
        client,
        name=name,
        auth=endpoint.auth,
        description=endpoint.description or f"Answers with model {serves}",
        tags={**endpoint.tags, **MADE_BY, SERVES: serves},
    )
    try:
        answer = apply(
            client,
            send,
            partial(find_endpoint, client, name),
            resource=f"endpoint {name}",
            costs=f"endpoint {name} may be there; it costs nothing while it has no deployment",
            next_call=f"ws.endpoint({name!r}).delete()",
        )
    except (KeyboardInterrupt, SystemExit, OutcomeUnknown, DeadlineExceeded) as ended:
        _delete_endpoint_after(ended, client, name)
        raise
    if not isinstance(answer, Answer):
        _check_serves(from_arm(answer, client), model, size)
        return None
    # The creation of a name that was deleted a while ago answers 404 (azure-cli issue 7660).
    if answer.status == 404 and endpoint.name is None:
        client.check_workspace(answer)
        raise _NameBlocked
    if answer.status not in (200, 201, 202):
        _refuse_endpoint(answer, name, model, size)
    return answer


def _deploy_anew(
    client: Client, name: str, spec: DeploymentSpec, timeout: timedelta, accepted: Answer | None
) -> Endpoint:
    """Go on with an endpoint that this call created; whatever goes wrong, it is deleted again."""
    try:
        if accepted is None:
            _wait_until_made(client, name, timeout)
        else:
            _follow_creation(client, name, accepted, timeout)
        client.notify(Created(resource=f"endpoint {name}"))
        add_deployment(client, name, spec, timeout)
        return attrs.evolve(give_traffic(client, name, {spec.name: 100}, timeout), created_here=True)
    except BaseException as error:
        # A machine bills on, whatever ended this call: a listener's own error and an exit of the program too.
        _delete_endpoint_after(error, client, name)
        raise


def _deploy_there(
    client: Client,
    found: dict[str, Any],
    model: RegisteredModel,
    spec: DeploymentSpec,
    endpoint: EndpointSpec,
    timeout: timedelta,
) -> Endpoint:
    """Go on with an endpoint that was there; one that serves something else is somebody else's."""
    there = from_arm(found, client)
    _check_serves(there, model, spec.instance_type)
    there = lease_longer(client, _wait_until_made(client, there.name, timeout), endpoint.tags)
    deployments = deployments_of(client, there.name)
    if not deployments:
        # An earlier call was cut off before it had a machine; all that bills will be this call's.
        return _deploy_anew(client, there.name, spec, timeout, None)
    _check_deployment(there, deployments, spec)
    client.notify(AdoptedExisting(resource=there.resource))
    _tell_differences(client, there, deployments, spec, endpoint)
    if there.traffic.get(spec.name) == 100:
        return there
    add_or_undo(client, there, spec, timeout)
    return give_traffic(client, there.name, {spec.name: 100}, timeout)


def _check_serves(there: Endpoint, model: RegisteredModel, size: str) -> None:
    """Refuse an endpoint that was made for another model."""
    if there.tags.get(SERVES) != f"{model.name}:{model.version}":
        why = f"it is there, and serves {there.tags.get(SERVES, 'something else')}"
        raise _taken(there.name, model, size, why)


def _check_deployment(there: Endpoint, deployments: tuple[Deployment, ...], spec: DeploymentSpec) -> None:
    """Refuse to put a model in the place of another one's."""
    for one in deployments:
        if one.name == spec.name and not same_model(one.model, spec.model):
            raise NameTaken(
                f"The deployment {spec.name} is there, and serves another model",
                resource=f"deployment {spec.name} of {there.resource}",
                why=f"it serves {_shortly(one.model)}, asked for was {_shortly(spec.model)}",
                costs="nothing more: it was left as it is",
                next_call=f'ws.endpoint("{there.name}").deploy(model, "{spec.name}", ...) replaces it, or deploy under '
                "another name: model.deploy(deployment=...)",
            )


def _shortly(model_id: str) -> str:
    return model_id.rpartition("/models/")[2].replace("/versions/", ":")


def _tell_differences(
    client: Client,
    there: Endpoint,
    deployments: tuple[Deployment, ...],
    spec: DeploymentSpec,
    endpoint: EndpointSpec,
) -> None:
    pairs: list[tuple[str, object, object]] = [("auth", endpoint.auth, there.auth)]
    for one in deployments:
        if one.name == spec.name and there.traffic.get(spec.name) == 100:
            pairs.append(("instance_count", spec.instance_count, one.instance_count))
            pairs.append(("instance_type", spec.instance_type.lower(), one.instance_type.lower()))
    for name, wanted, has in pairs:
        if wanted != has:
            message = f"it was left as it is: {name} is {has}, asked for was {wanted}"
            client.notify(Warned(resource=there.resource, message=message))


def _follow_creation(client: Client, name: str, accepted: Answer, timeout: timedelta) -> None:
    resource = f"endpoint {name}"
    next_call = f"ws.endpoint({name!r}) looks again"
    try:
        follow(client, accepted, resource=resource, timeout=timeout, next_call=next_call)
    except Failed as failure:
        raise DeploymentFailed(
            "The endpoint could not be made",
            resource=resource,
            why=failure.message,
            next_call="deploy again",
            code=failure.code,
        ) from None


def _wait_until_made(client: Client, name: str, timeout: timedelta) -> Endpoint:
    from phi_finetune._azure.endpoints import get_endpoint

    resource = f"endpoint {name}"
    next_call = f"ws.endpoint({name!r}).delete(), then deploy again"

    def look() -> Look[Endpoint]:
        endpoint = from_arm(get_endpoint(client, name), client)
        if endpoint.provisioning_state in ("Failed", "Canceled"):
            raise DeploymentFailed(
                "The endpoint could not be made",
                resource=resource,
                why=f"its provisioning state is {endpoint.provisioning_state}",
                next_call=next_call,
            )
        done = endpoint.provisioning_state == "Succeeded"
        return Look(endpoint.provisioning_state, endpoint if done else None)

    return wait_for(look, Patience(resource, timeout, client.clock, client.notify, next_call))


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
    except BaseException as error:  # as in _deploy_anew
        if not endpoint.traffic.get(spec.name):
            resource = f"deployment {spec.name} of endpoint {endpoint.name}"
            next_call = f"ws.endpoint({endpoint.name!r}).delete_deployment({spec.name!r})"

            def delete(patient: Client) -> bool:
                return delete_deployment(patient, endpoint.name, spec.name, DELETE_TIMEOUT)

            _delete_after(error, client, resource, delete, next_call)
        raise


def add_deployment(client: Client, endpoint: str, spec: DeploymentSpec, timeout: timedelta) -> None:
    """Make a deployment and wait until it is healthy.

    Raises:
        QuotaExceeded: The subscription has too few cores.
        DeploymentFailed: It did not become healthy.
    """
    from phi_finetune._azure.endpoints import put_deployment, wait_until_healthy

    resource = f"deployment {spec.name} of endpoint {endpoint}"
    next_call = f'ws.endpoint("{endpoint}") looks again'
    answer = apply(
        client,
        partial(put_deployment, client, endpoint, spec),
        partial(_find_same, client, endpoint, spec),
        resource=resource,
        costs=f"{resource} may be there, and bill",
        next_call=next_call,
    )
    if isinstance(answer, Answer) and answer.status not in (200, 201, 202):
        _refuse_deployment(answer, resource)
    try:
        if isinstance(answer, Answer):
            follow(client, answer, resource=resource, timeout=timeout, next_call=next_call)
        else:
            wait_until_healthy(client, endpoint, spec.name, timeout)
    except Failed as failure:
        raise _failed(client, endpoint, spec, failure, resource) from None
    client.notify(Created(resource=resource))


def _find_same(client: Client, endpoint: str, spec: DeploymentSpec) -> dict[str, Any] | None:
    """A deployment that serves the same model on the same machines; None where that does not show."""
    from phi_finetune._azure.endpoints import find_deployment

    body = find_deployment(client, endpoint, spec.name)
    if body is None:
        return None
    there = deployment_from_arm(body, endpoint, {})
    same = (
        same_model(there.model, spec.model)
        and there.instance_type.lower() == spec.instance_type.lower()
        and there.instance_count == spec.instance_count
    )
    return body if same else None


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
            "The traffic could not be set",
            resource=resource,
            why=failure.message,
            costs=f"{resource} goes on, with the traffic that it had",
            next_call=f"ws.endpoint({endpoint!r}).shift_traffic(...) again, or delete()",
            code=failure.code,
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


def _refuse_endpoint(answer: Answer, name: str, model: RegisteredModel, size: str) -> NoReturn:
    _, message = error_parts(answer.body)
    if answer.status == 409 or _SPEAKS_OF_NAME.search(message):
        raise _taken(name, model, size, message)
    refuse(answer, doing="create the endpoint", resource=f"endpoint {name}")


def _taken(name: str, model: RegisteredModel, size: str, why: str) -> NameTaken:
    free = f"{slug(model.name, _LONGEST_NAME - 6)}-{secrets.token_hex(2)}"
    return NameTaken(
        f"The endpoint name {name} is taken",
        resource=f"endpoint {name}",
        why=why or "names are unique in a region, over all its customers",
        costs="nothing: it was not created",
        next_call=f'model.deploy("{free}", instance_type="{size}")',
        suggestion=free,
    )


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


def _delete_endpoint_after(error: BaseException, client: Client, name: str) -> None:
    from phi_finetune._azure.endpoints import delete_endpoint

    def delete(patient: Client) -> bool:
        return delete_endpoint(patient, name, DELETE_TIMEOUT)

    _delete_after(error, client, f"endpoint {name}", delete, f"ws.endpoint({name!r}).delete()")


def _delete_after(
    error: BaseException,
    client: Client,
    resource: str,
    delete: Callable[[Client], bool],
    next_call: str,
) -> None:
    """Delete what was created before ``error``, and tell of it in the error, never in its place."""
    try:
        delete_surely(client, delete, resource=resource, next_call=next_call)
    except PhiFinetuneError as second:
        costs = f"{resource} may still be there, and bill"
        error.add_note(f"{costs}. Next: {next_call}")
        client.notify(Warned(resource=resource, message=f"could not be deleted: {second.what}"))
    else:
        costs = f"nothing: {resource} was deleted again"
        client.notify(Deleted(resource=resource))
    if isinstance(error, PhiFinetuneError):
        error.costs = costs
    if isinstance(error, DeadlineExceeded):
        error.next_call = "deploy again, with a longer timeout"
