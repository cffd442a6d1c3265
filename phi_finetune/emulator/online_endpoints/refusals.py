"""What the service refuses about endpoints and deployments, in its words.

The client checks little of it (wire.md 9 and 13.10). Where a wording is not recorded anywhere, it is ours,
and the function says so.
"""

from __future__ import annotations

import json

from phi_finetune.emulator.core.errors import ServiceError

__all__ = [
    "bad_request",
    "busy",
    "deployment_missing",
    "endpoint_missing",
    "endpoint_quota",
    "in_use",
    "name_resting",
    "name_taken",
    "not_enough_quota",
]

_VALIDATION = {
    "type": "https://tools.ietf.org/html/rfc7231#section-6.5.1",
    "title": "One or more validation errors occurred.",
    "status": 400,
}


def bad_request(message: str) -> ServiceError:
    """A value that is not allowed; the wording of the message is the caller's, that is, ours."""
    return ServiceError(400, "BadRequest", message, inner=("BadArgument",))


def endpoint_missing(name: str, workspace: str) -> ServiceError:
    """404 for an endpoint, worded after that for a deployment."""
    return ServiceError(404, "UserError", f"Endpoint {name} not found in workspace {workspace}")


def deployment_missing(name: str, endpoint: str, workspace: str) -> ServiceError:
    """404 for a deployment (Azure-Samples/contoso-chat#139)."""
    message = f"Deployment {name} not found in endpoint {endpoint}, workspace {workspace}"
    return ServiceError(404, "UserError", message)


def name_taken() -> ServiceError:
    """The name belongs to somebody else in the region (Azure/azureml-examples#1931; pain.md O1)."""
    message = (
        "There is already an endpoint with this name, Endpoint name needs to be unique within a region. "
    )
    return _validation("InferencingClientCallFailed", "", message + "Try some other name.")


def name_resting() -> ServiceError:
    """The name of an endpoint deleted a while ago (Azure/azure-cli-extensions#7660, #7107; pain.md O1)."""
    return ServiceError(404, "InferencingClientCallFailed", "Not Found")


def not_enough_quota(size: str, subscription: str, *, used: int, limit: int, needed: int) -> ServiceError:
    """Too few cores of a family for a deployment (MicrosoftLearning/mslearn-azure-ml#30; pain.md O2)."""
    message = (
        f"Not enough quota available for {size} in SubscriptionId {subscription}. Current usage/limit: "
        f"{used}/{limit}. Additional needed: {needed} Please see troubleshooting guide, available here: "
        "https://aka.ms/oe-tsg#error-outofquota"
    )
    return _validation("InferencingClientCreateDeploymentFailed", "VmSize", message)


def endpoint_quota(subscription: str, limit: int) -> ServiceError:
    """Too many endpoints in the region (Azure/azureml-examples#1635; pain.md O2)."""
    message = (
        f"Endpoint Quota reached for subscription {subscription}.Current usage/limit: {limit}/{limit}."
        "Please clean up existing endpoints and try again"
    )
    return ServiceError(400, "InferencingClientCallFailed", f'"{message}"')


def busy(what: str, state: str) -> ServiceError:
    """Another change is under way (pain.md O6 for the wording, O7; status and code are assumed)."""
    return ServiceError(409, "Conflict", f"Cannot {what} because it is in {state} provisioning state.")


def in_use(deployment: str, endpoint: str, percent: int) -> ServiceError:
    """A deployment that takes traffic cannot be deleted; the wording is ours."""
    return bad_request(
        f"Deployment {deployment} of endpoint {endpoint} takes {percent} % of the traffic and cannot be "
        "deleted. Set its traffic to 0 first."
    )


def _validation(code: str, field: str, message: str) -> ServiceError:
    detail = json.dumps({"errors": {field: [message]}, **_VALIDATION})
    return ServiceError(
        400,
        "BadRequest",
        "The request is invalid.",
        details=[(code, f"InferencingClient HttpRequest error, error detail: {detail}")],
    )
