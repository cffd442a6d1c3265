"""The serverless endpoints of the workspace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.hosted import Hosted
from phi_finetune.emulator.core.operations import Operation
from phi_finetune.emulator.online_endpoints.refusals import bad_request, busy
from phi_finetune.emulator.serverless_endpoints import refusals
from phi_finetune.emulator.serverless_endpoints.endpoint import ServerlessEndpoint, ServerlessSpec
from phi_finetune.emulator.serverless_endpoints.keys import Keys
from phi_finetune.emulator.serverless_endpoints.models import ServedModel, served_model

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ServerlessEndpoints", "check_name"]

_KIND = "mfeOperationsStatus"
_CREATION = timedelta(minutes=3)
"""Azure's page on deploying models as serverless APIs says "a few minutes"."""
_UPDATE = timedelta(seconds=20)
_DELETION = timedelta(minutes=1)
"""These two are assumed."""

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,51}")
"""REST reference of 2024-04-01 and 2025-09-01."""


def check_name(name: str) -> None:
    """Refuse a name that breaks the rule.

    Raises:
        ServiceError: 400.
    """
    if not _NAME.fullmatch(name):
        raise bad_request(
            f"The serverless endpoint name {name} is invalid. It must have 1 to 52 characters, start with a "
            "letter, and consist of letters, digits and dashes."
        )


class ServerlessEndpoints(Hosted[ServerlessEndpoint]):
    """The serverless endpoints of one cloud.

    Azure's page names a limit of one deployment a model and workspace, which it calls current and which
    support can lift; it is not kept here.
    """

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.made: list[ServerlessEndpoint] = []
        """Every endpoint that there is or was, the oldest first."""
        self.keys = Keys(cloud)

    def missing(self, name: str) -> ServiceError:
        """404 for an endpoint."""
        return refusals.endpoint_missing(name, self._cloud.workspace.name)

    def put(self, name: str, spec: ServerlessSpec) -> tuple[ServerlessEndpoint, bool]:
        """Make an endpoint, or change one; and whether it is new.

        The same PUT again while the first is under way changes nothing. What serves a model keeps it. Both
        are assumed.

        Raises:
            ServiceError: 400, where the service refuses it; 404, where its model is not there; 409, where
                another change is under way.
        """
        existing = self._endpoints.get(name.lower())
        if existing is None:
            return self._create(name, spec), True
        if existing.operation.status == "InProgress":
            if existing.doing != "Deleting" and existing.spec == spec:
                return existing, False
            raise busy(f"update serverless endpoint {existing.name}", existing.provisioning_state)
        if existing.ready and existing.model_id != spec.model_id:
            raise bad_request(f"The model of serverless endpoint {existing.name} cannot be changed.")
        existing.model = self._model(spec)
        existing.spec, existing.modified = spec, self._cloud.clock.now()
        existing.doing = "Updating" if existing.ready else "Creating"
        existing.operation = self._begin(existing, _UPDATE if existing.ready else _CREATION)
        return existing, False

    def retag(self, name: str, tags: Mapping[str, str]) -> ServerlessEndpoint:
        """Change the tags of an endpoint, at once.

        Raises:
            ServiceError: 404 where there is none.
        """
        endpoint = self.find(name)
        endpoint.spec = replace(endpoint.spec, tags=tags)
        endpoint.modified = self._cloud.clock.now()
        return endpoint

    def delete(self, name: str) -> Operation | None:
        """Begin to delete an endpoint; None where there is none."""
        endpoint = self._endpoints.get(name.lower())
        if endpoint is None:
            return None
        if endpoint.provisioning_state != "Deleting":
            endpoint.doing = "Deleting"
            endpoint.operation = self._cloud.operations.start(
                _KIND, _DELETION, lambda: self._forget(endpoint)
            )
        return endpoint.operation

    def _create(self, name: str, spec: ServerlessSpec) -> ServerlessEndpoint:
        check_name(name)
        now = self._cloud.clock.now()
        # That the name of a deleted endpoint is refused like one in use is assumed.
        if name.lower() in self._reserved or self._is_resting(name):
            raise refusals.name_unavailable(name)
        model = self._model(spec)
        operation = self._cloud.operations.start(_KIND, _CREATION, lambda: _settle(endpoint))
        endpoint = ServerlessEndpoint(self._cloud, name, spec, model, now, now, operation, self.keys.pair())
        self._endpoints[name.lower()] = endpoint
        self.made.append(endpoint)
        return endpoint

    def _model(self, spec: ServerlessSpec) -> ServedModel:
        model = served_model(self._cloud, spec.model_id)
        if model.offer is not None and self._cloud.marketplace.subscription_to(spec.model_id) is None:
            raise refusals.not_subscribed(spec.model_id, self._cloud.workspace.name)
        return model

    def _begin(self, endpoint: ServerlessEndpoint, lasts: timedelta) -> Operation:
        return self._cloud.operations.start(_KIND, lasts, lambda: _settle(endpoint))

    def _forget(self, endpoint: ServerlessEndpoint) -> None:
        endpoint.ended = self._let_go(endpoint)


def _settle(endpoint: ServerlessEndpoint) -> ServiceError | None:
    if endpoint.doing == "Deleting":
        # As for deployments: a deletion cancels what is under way.
        return ServiceError(400, "OperationCanceled", "Operation was canceled by another operation.")
    endpoint.ready = True
    return None
