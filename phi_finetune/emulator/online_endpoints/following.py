"""How a client follows a change of an endpoint or a deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.hosts import ARM, LOCATION
from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.operations import Operation, poll_again

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["RESULTS", "follow", "result"]

RESULTS = f"{LOCATION}/mfeOperationResults"


def follow(cloud: Cloud, operation: Operation) -> dict[str, str]:
    """Both headers of an answer that begins an operation (service.md)."""
    where = RESULTS.format(subscription=cloud.subscription_id, location=cloud.settings.region)
    location = f"https://{ARM}{where}/{operation.id}?api-version=2023-04-01-preview"
    return {**cloud.operations.headers(operation), "Location": location}


def result(cloud: Cloud, request: Request) -> Response:
    """The other way to follow: 202 while it lasts, then 200 or its error (as for jobs: service.md)."""
    operation = cloud.operations.find(request.params["operation"])
    if operation.watch() == "InProgress":
        return json_answer(202, {}, poll_again(cloud.clock))
    if operation.error:
        raise operation.error
    return empty(200)
