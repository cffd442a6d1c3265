"""A whole subscription of Azure for the length of a ``with`` block."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal

from phi_finetune.emulator.billing.bill import Bill
from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.clock import Clock, Progression
from phi_finetune.emulator.core.fault_queue import Faults
from phi_finetune.emulator.core.journal import Journal
from phi_finetune.emulator.doors.inprocess import InProcessDoor
from phi_finetune.emulator.runners.commands import Commands
from phi_finetune.emulator.runners.runner import Runner
from phi_finetune.testing.credential import FakeCredential
from phi_finetune.testing.streaming import STREAMING_AT_ONCE
from phi_finetune.testing.transport import registry_client, workspace_client

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

    from phi_finetune.emulator.assets.state import (
        ComponentVersion,
        DataVersion,
        EnvironmentVersion,
        ModelVersion,
    )
    from phi_finetune.emulator.computes.state import Compute
    from phi_finetune.emulator.jobs.state import Job
    from phi_finetune.emulator.marketplace.subscription import MarketplaceSubscription
    from phi_finetune.emulator.online_endpoints.endpoint import Endpoint
    from phi_finetune.emulator.serverless_endpoints.endpoint import ServerlessEndpoint
    from phi_finetune.protocols import CredentialPolicy, Listener, RetryPolicy
    from phi_finetune.retries import RetryBudget
    from phi_finetune.workspace import Workspace

__all__ = ["FakeAzure", "StillBilling", "UnknownRoute", "UnmetFault"]


class UnknownRoute(AssertionError):
    """The code under test asked for something that the fake does not know, or that stays out; the answer was 501."""


class StillBilling(AssertionError):
    """A test left something that goes on billing; the message is a table of it."""


class UnmetFault(AssertionError):
    """A fault was queued, and the code under test never met it."""


class FakeAzure:
    """An Azure subscription with an Azure Machine Learning workspace, in memory.

    Within the ``with`` block every request of this process to Azure's hosts comes here, or, if it carries
    nothing of this fake's (or of another open one's), is refused; none leaves the machine. Other hosts are
    left alone. Nothing in it sleeps: hours pass on :attr:`clock`. A client that outlives the block asks the
    real Azure, where the fake's tokens and names are good for nothing.

    The block ends with an error if a request had no route (:class:`UnknownRoute`) or a queued fault was
    never met (:class:`UnmetFault`). If the block itself raised, that error goes on, and these become notes
    on it.

    Args:
        region: Where the workspace is.
        resource_group: Its resource group.
        workspace: Its name.
        quota: Cores by machine family, over the defaults of the catalogue of sizes.
        low_priority_quota: Cores of low priority, one pool for all families.
        seed: Seed of every identifier. None draws one, so that two fakes never share a name, a key or a
            token.
        start: When the fake's clock starts. None is now.
        runner: What running a job means. None simulates it with a small statistical model of the training
            rows.
        progression: What lets time pass besides ``clock.advance``. ``"instant"``: pauses of a client, and
            each look at something that is under way. ``"realistic"``: pauses only, so that a client which
            polls every 15 s asks four times a minute. ``"manual"``: nothing. A client that would wait for ever,
            since nobody advances the clock, meets :class:`ClockStands`.
        datastores_auth: ``"accessKey"``: datastores hand out signatures for their storage. ``"identity"``: they have no
            secrets, and whoever reads or writes signs in to the storage with a token.
        visible_after_reads: How many reads of a job, version of an asset, endpoint (online or serverless),
            deployment or cluster answer 404 after it was made.
        gone_after_reads: How many reads of an endpoint (online or serverless), deployment or cluster still show it,
            with the state Deleting, after it is gone. Nothing of it is billed meanwhile.
        traffic_after_reads: How many reads of an endpoint show the split of its traffic as it was before a
            change, once the change is done. Requests follow the new split.
        endpoint_name_rest: How long the name of a deleted endpoint cannot be used again: its creation answers
            404, that of a serverless endpoint 400. 0 is never.
        registries: Names of registries besides Azure's own. They start empty, and can be written to.

    Raises:
        ValueError: A registry is named twice, or as one of Azure's own is.

    Attributes:
        cloud: The emulated services themselves, for what has no attribute here.
        credential: A credential that every client of Azure's takes.
    """

    def __init__(
        self,
        *,
        region: str = "eastus",
        resource_group: str = "phi-lab",
        workspace: str = "phi-lab",
        quota: Mapping[str, int] | None = None,
        low_priority_quota: int = 300,
        seed: int | None = None,
        start: datetime | None = None,
        runner: Runner | None = None,
        progression: Progression = "instant",
        datastores_auth: Literal["accessKey", "identity"] = "accessKey",
        visible_after_reads: int = 0,
        gone_after_reads: int = 0,
        traffic_after_reads: int = 0,
        endpoint_name_rest: timedelta = timedelta(0),
        registries: Sequence[str] = (),
    ) -> None:
        settings = Settings(
            region=region,
            resource_group=resource_group,
            workspace=workspace,
            quota=dict(quota or {}),
            low_priority_quota=low_priority_quota,
            seed=seed,
            start=start,
            progression=progression,
            datastores_auth=datastores_auth,
            visible_after_reads=visible_after_reads,
            gone_after_reads=gone_after_reads,
            traffic_after_reads=traffic_after_reads,
            endpoint_name_rest=endpoint_name_rest,
            registries=tuple(registries),
        )
        self.cloud = Cloud(settings, runner)
        self.credential = FakeCredential(self.cloud.identity)
        self._doors = ExitStack()
        self._entered = False
        self._open = False

    def __enter__(self) -> FakeAzure:
        if self._entered:
            raise RuntimeError("This FakeAzure was entered before; make a new one for each with block.")
        self._entered = self._open = True
        self._doors.enter_context(STREAMING_AT_ONCE)
        self._doors.enter_context(InProcessDoor(self.cloud))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._doors.close()
        complaints = self._complaints()
        if error is not None:
            for complaint in complaints:
                error.add_note(f"FakeAzure: {complaint}")
        elif complaints:
            first, *more = complaints
            for complaint in more:
                first.add_note(f"FakeAzure: {complaint}")
            raise first

    @property
    def subscription_id(self) -> str:
        """The subscription's id."""
        return self.cloud.subscription_id

    @property
    def resource_group(self) -> str:
        """The name of the workspace's resource group."""
        return self.cloud.settings.resource_group

    @property
    def workspace_name(self) -> str:
        """The workspace's name."""
        return self.cloud.workspace.name

    @property
    def region(self) -> str:
        """Where the workspace is."""
        return self.cloud.settings.region

    @property
    def tenant_id(self) -> str:
        """The tenant that tokens are of."""
        return self.cloud.tenant_id

    @property
    def client_id(self) -> str:
        """The id of a service principal, for ``azure.identity.ClientSecretCredential``."""
        return self.cloud.identity.client_id

    @property
    def client_secret(self) -> str:
        """The service principal's secret."""
        return self.cloud.identity.client_secret

    @property
    def clock(self) -> Clock:
        """The fake's time: ``clock.now()``, ``clock.advance(timedelta(hours=2))``."""
        return self.cloud.clock

    @property
    def journal(self) -> Journal:
        """Every request so far, in order: method, URL, status, when."""
        return self.cloud.journal

    @property
    def faults(self) -> Faults:
        """What is to go wrong: ``faults.next(DeploymentFails())``, ``faults.at_rate(0.2, seed=7)``."""
        return self.cloud.faults

    @property
    def commands(self) -> Commands:
        """What comes of the commands of jobs: ``commands.on("python train.py *", CommandResult(...))``.

        No command is ever run. One whose outcome was not set completes after five minutes, and leaves a note in each
        output.
        """
        return self.cloud.commands

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """The online endpoints that exist, by name."""
        return MappingProxyType({endpoint.name: endpoint for endpoint in self.cloud.endpoints.all()})

    @property
    def serverless_endpoints(self) -> Mapping[str, ServerlessEndpoint]:
        """The serverless endpoints that exist, by name."""
        return MappingProxyType({one.name: one for one in self.cloud.serverless_endpoints.all()})

    @property
    def marketplace_subscriptions(self) -> Mapping[str, MarketplaceSubscription]:
        """The workspace's subscriptions to models of third parties, by name."""
        return MappingProxyType({one.name: one for one in self.cloud.marketplace.all()})

    @property
    def computes(self) -> Mapping[str, Compute]:
        """The clusters that exist, by name."""
        return MappingProxyType({compute.name: compute for compute in self.cloud.computes.all()})

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The jobs, by name; steps of a pipeline are in ``children`` of theirs."""
        return MappingProxyType({job.name: job for job in self.cloud.jobs.all()})

    @property
    def models(self) -> Mapping[str, tuple[ModelVersion, ...]]:
        """The models registered in the workspace: the versions of each name, oldest first."""
        return MappingProxyType(self.cloud.assets.models())

    @property
    def data(self) -> Mapping[str, tuple[DataVersion, ...]]:
        """The data assets of the workspace: the versions of each name, oldest first."""
        return MappingProxyType(self.cloud.assets.datasets())

    @property
    def environments(self) -> Mapping[str, tuple[EnvironmentVersion, ...]]:
        """The environments made in the workspace: the versions of each name, oldest first.

        Those that a component or job defines on the spot are under the name that the client gives all of them.
        """
        return MappingProxyType(self.cloud.assets.environments())

    @property
    def components(self) -> Mapping[str, tuple[ComponentVersion, ...]]:
        """The components made in the workspace: the versions of each name, oldest first.

        Those that have no name of their own are under the name that the client gives all of them.
        """
        return MappingProxyType(self.cloud.assets.components())

    def billing(self) -> Bill:
        """What has run on :attr:`clock` until now, what it cost, and what bills on. As text it is a table."""
        return self.cloud.bill()

    def deny(self, action: str) -> None:
        """Take a right away: requests for the action are answered with 403, as Azure Resource Manager words it.

        At first every right is there. A denied one is also left out of what the caller's permissions say.

        Args:
            action: The action, such as ``"Microsoft.MachineLearningServices/workspaces/computes/write"``.

        Raises:
            ValueError: No request that the fake knows asks for the right to it.
        """
        self.cloud.access.deny(action)

    def reserve_endpoint_name(self, name: str) -> None:
        """Let an endpoint's name belong to somebody else: names are unique in a region (pain.md O1).

        It holds for online endpoints and for serverless ones.
        """
        self.cloud.endpoints.reserve(name)
        self.cloud.serverless_endpoints.reserve(name)

    def publish_model(self, name: str, *, version: str, like: str) -> None:
        """Let a model of the registries have a newer version, in this fake only.

        Args:
            name: The model, such as ``"Phi-4"``.
            version: The new version.
            like: The version that it is a copy of.

        Raises:
            ValueError: There is no version ``like``, or there is a version ``version`` already.
        """
        self.cloud.registries.publish("models", name, version, like)

    def publish_environment(
        self, name: str, *, version: str, image: str = "mcr.microsoft.com/azureml/curated"
    ) -> None:
        """Let the ``azureml`` registry have a curated environment, or another version of one, in this fake only.

        The fake knows a few curated environments, each in one version; a job or deployment that names another is
        refused.

        Args:
            name: The environment, such as ``"acpt-pytorch-2.8-cuda12.6"``.
            version: The version.
            image: Its image. Nothing is ever pulled.

        Raises:
            ValueError: There is that version already.
        """
        self.cloud.registries.publish_environment(name, version, image)

    def publish_component(self, name: str, *, version: str, like: str) -> None:
        """Let a pipeline of the ``azureml`` registry have a newer version, in this fake only.

        Args:
            name: The component, such as ``"chat_completion_pipeline"``.
            version: The new version.
            like: The version that it is a copy of.

        Raises:
            ValueError: There is no version ``like``, or there is a version ``version`` already.
        """
        self.cloud.registries.publish("components", name, version, like)

    def publish_offer(self, model_id: str) -> None:
        """Let the Azure Marketplace offer another model of a third party, in this fake only.

        Serverless endpoints can serve it once the workspace has subscribed to it. A few well-known models
        are there from the start.

        Args:
            model_id: ``"azureml://registries/azureml-PUBLISHER/models/NAME"``, without a version.

        Raises:
            ValueError: The id has another form.
        """
        self.cloud.marketplace.publish(model_id)

    def workspace(
        self,
        *,
        credential: CredentialPolicy | TokenCredential | None = None,
        on_event: Listener | None = None,
        retries: RetryPolicy | None = None,
        retry_budget: RetryBudget | None = None,
    ) -> Workspace:
        """A connected :class:`phi_finetune.Workspace`, whose waits take their time from :attr:`clock`.

        Args:
            credential: How it signs in; None is :attr:`credential`.
            on_event: Hears of events.
            retries: Decides about sending again; None is the library's standard.
            retry_budget: What all requests may spend on that; None is the library's standard.
        """
        self._require_open()
        from phi_finetune.workspace import Workspace

        return Workspace.connect(
            subscription_id=self.subscription_id,
            resource_group=self.resource_group,
            workspace_name=self.workspace_name,
            credential=credential or self.credential,
            clock=self.clock,
            on_event=on_event,
            retries=retries,
            retry_budget=retry_budget,
        )

    def ml_client(self, registry_name: str | None = None) -> MLClient:
        """A real ``azure.ai.ml.MLClient`` for the workspace, or for a registry such as ``"azureml"``.

        Its pauses between retries and polls pass on :attr:`clock`. It sends no telemetry.
        """
        self._require_open()
        if registry_name is not None:
            return registry_client(self.credential, self.clock, registry_name)
        names = (self.subscription_id, self.resource_group, self.workspace_name)
        return workspace_client(self.credential, self.clock, *names)

    def config_json(self, folder: Path | str) -> Path:
        """Write the ``config.json`` that leads a client to the workspace; its path is returned."""
        path = Path(folder) / "config.json"
        content = {
            "subscription_id": self.subscription_id,
            "resource_group": self.resource_group,
            "workspace_name": self.workspace_name,
        }
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")
        return path

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError(
                "This FakeAzure is not open: its clients would ask the real Azure. Use it in its with block."
            )

    def _complaints(self) -> list[AssertionError]:
        complaints: list[AssertionError] = []
        if self.cloud.unrouted:
            complaints.append(UnknownRoute(f"no route for {'; '.join(self.cloud.unrouted)}"))
        if self.faults.unmet:
            unmet = "; ".join(repr(fault) for fault in self.faults.unmet)
            complaints.append(UnmetFault(f"queued and never met: {unmet}"))
        return complaints
