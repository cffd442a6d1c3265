"""The online endpoints of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.hosted import Hosted
from phi_finetune.emulator.core.operations import Operation
from phi_finetune.emulator.online_endpoints import refusals, rules
from phi_finetune.emulator.online_endpoints.deployment import Deployment
from phi_finetune.emulator.online_endpoints.deployments import Deployments
from phi_finetune.emulator.online_endpoints.endpoint import Endpoint, EndpointSpec
from phi_finetune.emulator.online_endpoints.keys import Keys
from phi_finetune.emulator.runners.engine import Server, ServerReport

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["OnlineEndpoints"]

_KIND = "mfeOperationsStatus"
_CREATION = timedelta(seconds=90)
"""93 seconds in Azure/azureml-examples#1891."""
_UPDATE = timedelta(seconds=20)
_DELETION = timedelta(minutes=2)


class OnlineEndpoints(Hosted[Endpoint]):
    """The online endpoints of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.made: list[Deployment] = []
        """Every deployment that there is or was, the oldest first."""
        self.keys = Keys(cloud)

    def knows_key(self, key: str) -> bool:
        """Whether a key or token of an endpoint was handed out here, also if it is no longer good."""
        return self.keys.knows(key)

    def missing(self, name: str) -> ServiceError:
        """404 for an endpoint."""
        return refusals.endpoint_missing(name, self._cloud.workspace.name)

    def deployments(self) -> tuple[Deployment, ...]:
        """Every deployment of every endpoint."""
        return tuple(one for endpoint in self.all() for one in endpoint.deployments.values())

    def put(self, name: str, spec: EndpointSpec) -> tuple[Endpoint, bool]:
        """Make an endpoint, or change one; and whether it is new.

        The same PUT again while the first is under way changes nothing (assumed: the service names no
        answer).

        Raises:
            ServiceError: 400, where the service refuses it; 409, where another change is under way.
        """
        existing = self._endpoints.get(name.lower())
        if existing is None:
            return self._create(name, spec), True
        if existing.operation.status == "InProgress":
            if existing.doing == "Updating" and existing.spec == spec:
                return existing, False
            raise refusals.busy(f"update endpoint {existing.name}", existing.provisioning_state)
        _check_traffic(existing, spec)
        if spec.traffic != existing.traffic:
            existing.served.clear()
            existing.earlier_traffic = existing.traffic
            existing.stale_reads = self._cloud.settings.traffic_after_reads
        existing.spec = spec
        existing.modified = self._cloud.clock.now()
        existing.doing, existing.operation = "Updating", self._begin(_UPDATE)
        return existing, False

    def retag(self, name: str, tags: Mapping[str, str]) -> Endpoint:
        """Change the tags of an endpoint, at once.

        Raises:
            ServiceError: 404 where there is none.
        """
        endpoint = self.find(name)
        endpoint.spec = replace(endpoint.spec, tags=tags)
        endpoint.modified = self._cloud.clock.now()
        return endpoint

    def delete(self, name: str) -> Operation | None:
        """Begin to delete an endpoint and its deployments; None where there is none."""
        endpoint = self._endpoints.get(name.lower())
        if endpoint is None:
            return None
        if endpoint.provisioning_state != "Deleting":
            for deployment in endpoint.deployments.values():
                deployment.gone = True
            endpoint.doing = "Deleting"
            endpoint.operation = self._cloud.operations.start(
                _KIND, _DELETION, lambda: self._forget(endpoint)
            )
        return endpoint.operation

    def servers(self) -> tuple[Server, ...]:
        """The servers that an engine should be running."""
        found = (
            deployment.server(endpoint)
            for endpoint in self.all()
            for deployment in endpoint.deployments.values()
        )
        return tuple(server for server in found if server is not None)

    def hear(self, report: ServerReport) -> None:
        """Note whether a deployment's server came up, if one waits for it."""
        for deployment in self.deployments():
            if deployment.server_id == report.server:
                deployment.come_up(report.failure)

    def deployments_of(self, name: str) -> Deployments:
        """The deployments of an endpoint.

        Raises:
            ServiceError: 404 where there is no such endpoint.
        """
        return Deployments(self._cloud, self.find(name))

    def _create(self, name: str, spec: EndpointSpec) -> Endpoint:
        rules.check_name("endpoint", name)
        if name.lower() in self._reserved:
            raise refusals.name_taken()
        if self._is_resting(name):
            raise refusals.name_resting()
        if len(self._endpoints) >= rules.ENDPOINTS_PER_REGION:
            raise refusals.endpoint_quota(self._cloud.subscription_id, rules.ENDPOINTS_PER_REGION)
        if any(spec.traffic.values()):
            # Azure's reference of the endpoint's YAML: traffic can be set only once deployments exist.
            raise refusals.bad_request(f"Traffic cannot be set while endpoint {name} is being created.")
        now = self._cloud.clock.now()
        keys = self.keys.pair()
        operation = self._begin(_CREATION)
        endpoint = Endpoint(self._cloud, name, spec, now, now, operation, self._cloud.ids.guid(), keys)
        self._endpoints[name.lower()] = endpoint
        return endpoint

    def _begin(self, lasts: timedelta) -> Operation:
        return self._cloud.operations.start(_KIND, lasts, lambda: None)

    def _forget(self, endpoint: Endpoint) -> None:
        self._let_go(endpoint)
        for deployment in endpoint.deployments.values():
            deployment.ended = deployment.ended or endpoint.operation.ended


def _check_traffic(endpoint: Endpoint, spec: EndpointSpec) -> None:
    rules.check_split("traffic", spec.traffic, (0, 100))
    # Azure's page on safe rollout: at most half of the traffic can be mirrored.
    rules.check_split("mirror traffic", spec.mirror_traffic, range(51))
    for name, percent in (*spec.traffic.items(), *spec.mirror_traffic.items()):
        if not percent:
            continue
        deployment = endpoint.deployment(name)
        if deployment is None:
            raise refusals.bad_request(
                f"Deployment {name} of the traffic does not exist in endpoint {endpoint.name}."
            )
        if not deployment.ready:
            state = deployment.provisioning_state
            raise refusals.bad_request(
                f"Deployment {name} cannot take traffic: its provisioning state is {state}."
            )
