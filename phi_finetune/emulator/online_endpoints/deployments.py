"""The deployments of the endpoints: making, changing, deleting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.catalogue import VmSize
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.faults import DeploymentFails
from phi_finetune.emulator.core.operations import Operation, Outcome
from phi_finetune.emulator.online_endpoints import refusals, rules
from phi_finetune.emulator.online_endpoints.containers import Rollout
from phi_finetune.emulator.online_endpoints.deployment import Deployment, DeploymentSpec
from phi_finetune.emulator.online_endpoints.endpoint import Endpoint
from phi_finetune.emulator.online_endpoints.parts import check_parts

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Deployments"]

_KIND = "mfeOperationsStatus"
_SCALING = timedelta(minutes=12)
"""12 to 18 minutes (Azure/azureml-examples#3515)."""
_DELETION = timedelta(minutes=2)


class Deployments:
    """The deployments of one endpoint.

    Args:
        cloud: Where they are.
        endpoint: Whose they are.
    """

    def __init__(self, cloud: Cloud, endpoint: Endpoint) -> None:
        self._cloud = cloud
        self._endpoint = endpoint

    def find(self, name: str) -> Deployment:
        """A deployment by its name, in any case.

        Raises:
            ServiceError: 404 where there is none.
        """
        deployment = self._endpoint.deployment(name)
        if deployment is None:
            raise refusals.deployment_missing(name, self._endpoint.name, self._cloud.workspace.name)
        return deployment

    def put(self, name: str, spec: DeploymentSpec) -> tuple[Deployment, bool]:
        """Make a deployment, or change one; and whether it is new.

        The same PUT again while the first is under way changes nothing (assumed: the service names no
        answer).

        Raises:
            ServiceError: 400, where the service refuses it; 404, where its model is not there; 409, where
                another change of the endpoint or the deployment is under way.
        """
        if self._endpoint.operation.status == "InProgress":
            what = f"create a deployment in endpoint {self._endpoint.name}"
            raise refusals.busy(what, self._endpoint.provisioning_state)
        existing = self._endpoint.deployment(name)
        if existing is not None and existing.operation.status == "InProgress":
            if not existing.gone and existing.spec == spec:
                return existing, False
            raise refusals.busy(f"update deployment {existing.name}", existing.provisioning_state)
        size = self._check(name, spec, existing)
        files = self._cloud.assets.model_files(spec.model) if spec.model else {}
        if existing is None:
            return self._create(name, spec, size, files), True
        self._change(existing, spec, files)
        return existing, False

    def patch(self, name: str, *, tags: Mapping[str, str] | None, instances: int | None) -> Deployment:
        """Change the tags or the number of instances of a deployment.

        Raises:
            ServiceError: As for :meth:`put`.
        """
        deployment = self.find(name)
        spec = deployment.spec
        wanted = replace(
            spec,
            tags=spec.tags if tags is None else tags,
            instances=spec.instances if instances is None else instances,
        )
        return self.put(name, wanted)[0]

    def delete(self, name: str) -> Operation | None:
        """Begin to delete a deployment; None where there is none.

        Raises:
            ServiceError: 400, where it takes traffic.
        """
        deployment = self._endpoint.deployment(name)
        if deployment is None:
            return None
        percent = self._percent(deployment)
        if percent:
            raise refusals.in_use(deployment.name, self._endpoint.name, percent)
        if not deployment.gone:
            deployment.gone = True
            deployment.doing = "Deleting"
            deployment.operation = self._cloud.operations.start(
                _KIND, _DELETION, lambda: self._forget(deployment)
            )
        return deployment.operation

    def _create(
        self, name: str, spec: DeploymentSpec, size: VmSize, files: Mapping[str, bytes]
    ) -> Deployment:
        now = self._cloud.clock.now()
        rollout, fault = self._rollout(spec)
        operation = self._begin(rollout.lasts, lambda: _settle(deployment, fault))
        deployment = Deployment(
            self._cloud, name, self._endpoint.name, spec, size, files, now, now, rollout, operation
        )
        deployment.server_id = self._server_id()
        deployment.scales.append((now, spec.instances))
        self._endpoint.deployments[name] = deployment
        self._cloud.endpoints.made.append(deployment)
        return deployment

    def _change(self, deployment: Deployment, spec: DeploymentSpec, files: Mapping[str, bytes]) -> None:
        before, deployment.spec = deployment.spec, spec
        deployment.modified = now = self._cloud.clock.now()
        deployment.scales.append((now, spec.instances))
        if deployment.ready and spec == replace(before, instances=spec.instances, tags=spec.tags):
            lasts = _SCALING if spec.instances != before.instances else timedelta(0)
            deployment.doing = "Scaling"
            deployment.operation = self._cloud.operations.start(
                _KIND, lasts, lambda: _settle(deployment, None)
            )
            return
        deployment.files = files
        deployment.rollout, fault = self._rollout(spec)
        deployment.doing = "Updating"
        deployment.server_id, deployment.failure = self._server_id(), None
        deployment.operation = self._begin(deployment.rollout.lasts, lambda: _settle(deployment, fault))

    def _begin(self, lasts: timedelta, finish: Outcome) -> Operation:
        if self._cloud.engine is not None:
            return self._cloud.operations.wait(_KIND, finish)
        return self._cloud.operations.start(_KIND, lasts, finish)

    def _server_id(self) -> str | None:
        return self._cloud.ids.hex(16) if self._cloud.engine is not None else None

    def _rollout(self, spec: DeploymentSpec) -> tuple[Rollout, DeploymentFails | None]:
        fault = self._cloud.faults.take(DeploymentFails)
        rollout = Rollout(
            self._cloud.clock.now(),
            ready_after=spec.ready_after,
            gives_up_after=spec.gives_up_after,
            fault=fault,
            model=spec.model or "of the environment",
        )
        return rollout, fault

    def _check(self, name: str, spec: DeploymentSpec, existing: Deployment | None) -> VmSize:
        rules.check_name("deployment", name)
        rules.check_count(spec.instances)
        rules.check_requests(spec.requests)
        rules.check_probes(spec.liveness, spec.readiness)
        check_parts(self._cloud, spec)
        size = self._size(spec.instance_type)
        if existing is None and len(self._endpoint.deployments) >= rules.DEPLOYMENTS_PER_ENDPOINT:
            most = rules.DEPLOYMENTS_PER_ENDPOINT
            raise refusals.bad_request(
                f"Endpoint {self._endpoint.name} has {most} deployments, the most allowed."
            )
        if existing is not None and existing.size != size:
            raise refusals.bad_request(f"The instance type of deployment {existing.name} cannot be changed.")
        self._check_quota(spec, size, existing)
        return size

    def _check_quota(self, spec: DeploymentSpec, size: VmSize, existing: Deployment | None) -> None:
        computes = self._cloud.computes
        others = (one for one in self._cloud.endpoints.deployments() if one.size.family == size.family)
        used = computes.cores_in_use(size.family) + sum(one.cores for one in others)
        held = existing.cores if existing else 0
        needed = rules.cores_needed(size, spec.instances) - held
        limit = computes.quota(size.family)
        if needed > 0 and used + needed > limit:
            subscription = self._cloud.subscription_id
            raise refusals.not_enough_quota(size.name, subscription, used=used, limit=limit, needed=needed)

    def _size(self, name: str) -> VmSize:
        # The refusal for clusters names a property that a deployment does not have; this wording is ours.
        try:
            return self._cloud.computes.size(name)
        except ServiceError as error:
            raise refusals.bad_request(
                f"The instance type {name} is not supported for online deployments."
            ) from error

    def _percent(self, deployment: Deployment) -> int:
        split = self._endpoint.traffic.items()
        return sum(percent for name, percent in split if name.lower() == deployment.name.lower())

    def _forget(self, deployment: Deployment) -> None:
        self._endpoint.deployments.pop(deployment.name, None)
        deployment.ended = deployment.ended or deployment.operation.ended


def _settle(deployment: Deployment, fault: DeploymentFails | None) -> ServiceError | None:
    if deployment.gone:
        # Azure's page on troubleshooting: a request of higher priority, such as a deletion, cancels this one.
        return ServiceError(400, "OperationCanceled", "Operation was canceled by another operation.")
    if deployment.failure is not None:
        return ServiceError(400, deployment.failure.code, deployment.failure.message)
    deployment.ready = fault is None
    return ServiceError(400, fault.code, fault.message) if fault else None
