"""The connection to a workspace: everything begins here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

from phi_finetune._handles import WithoutHandle, kept
from phi_finetune._settings import settings
from phi_finetune.checkups import Checkup
from phi_finetune.compute import GpuCompute, GpuSku
from phi_finetune.data_assets import DataAsset
from phi_finetune.endpoints import Endpoint
from phi_finetune.errors import ConfigurationError, NotFound
from phi_finetune.jobs import FinetuneJob
from phi_finetune.models import FoundationModel, look_up
from phi_finetune.registered_models import RegisteredModel
from phi_finetune.sweeps import Swept

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential
    from mlflow import MlflowClient
    from requests import Session

    from phi_finetune._azure.client import Client
    from phi_finetune._preflight import Preflight
    from phi_finetune.chat_dataset import ChatDataset
    from phi_finetune.emulator.runners.runner import Runner
    from phi_finetune.events import Event
    from phi_finetune.local.programs import Programs
    from phi_finetune.protocols import Clock, CloudName, CredentialPolicy, Listener, RetryPolicy
    from phi_finetune.retries import RetryBudget

__all__ = ["Workspace"]

T = TypeVar("T", bound=WithoutHandle)


@attrs.frozen(slots=False)
class Workspace(WithoutHandle):
    """An Azure Machine Learning workspace. Made by :meth:`connect` or :meth:`from_clients`, neither of which asks
    Azure anything; the first verb that needs Azure signs in.

    Safe to share between threads. Pickling it, or anything it gave, leaves credential and connection behind;
    :meth:`attach` gives such an object a connection again.

    Attributes:
        subscription_id: Its subscription.
        resource_group: Its resource group.
        name: Its name.
        registry: The registry that models are looked up in where no other is named.
    """

    subscription_id: str
    resource_group: str
    name: str
    registry: str = "azureml"
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    @classmethod
    def connect(
        cls,
        *,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        workspace_name: str | None = None,
        config: str | os.PathLike[str] | None = None,
        credential: CredentialPolicy | TokenCredential | None = None,
        cloud: CloudName = "public",
        retries: RetryPolicy | None = None,
        on_event: Listener | None = None,
        clock: Clock | None = None,
        allowed_hosts: Sequence[str] = (),
        retry_budget: RetryBudget | None = None,
    ) -> Workspace:
        """Connect to a workspace.

        Each of the three names is taken from the argument, else from the file that ``config`` names, else from the
        environment (``AZURE_SUBSCRIPTION_ID``, ``AZURE_RESOURCE_GROUP``, ``AZUREML_WORKSPACE_NAME``, or those that
        Azure ML sets inside a job), else from a ``config.json`` that is found.

        Args:
            subscription_id: The subscription.
            resource_group: The resource group.
            workspace_name: The workspace.
            config: A ``config.json`` as the studio gives it; None looks for ``.azureml/config.json``, then
                ``config.json``, in the current folder and then in each folder above it.
            credential: How to sign in: a policy of :mod:`phi_finetune.credentials`, or any credential of
                azure-identity; None tries what Azure's own chain tries, then a browser where one can open.
            cloud: Which of Microsoft's clouds the subscription is in. azure-identity is told with the variable
                ``AZURE_AUTHORITY_HOST``, or a credential's own ``authority``.
            retries: When to send a request again; None is
                :class:`~phi_finetune.retries.StandardRetries`.
            on_event: Hears everything that happens. Once the workspace was found, which is before anything is made in
                it, the listener also hears of what has outlived its lease.
            clock: Where waits take their time from; None is the machine's.
            allowed_hosts: Hosts that requests may go to besides Azure's own, https alone: ``"ml.example.com"``, or
                ``".example.com"`` for all that end so. They get tokens, keys, prompts and data.
            retry_budget: What all requests together may spend on sending again; one may be given to several
                workspaces. None is a :class:`~phi_finetune.retries.RetryBudget` of this connection's own.

        Raises:
            ConfigurationError: A name is missing or a placeholder, or there is no such cloud, or a host is no
                host's name. No request was sent.
        """
        given = {
            "subscription_id": subscription_id,
            "resource_group": resource_group,
            "workspace_name": workspace_name,
        }
        found = settings(given, None if config is None else Path(config))
        return _connected(
            found["subscription_id"],
            found["resource_group"],
            found["workspace_name"],
            credential=credential,
            cloud=cloud,
            retries=retries,
            on_event=on_event,
            clock=clock,
            allowed_hosts=allowed_hosts,
            retry_budget=retry_budget,
        )

    @classmethod
    def from_clients(
        cls,
        workspace_client: MLClient,
        registry_client: MLClient | None = None,
        *,
        retries: RetryPolicy | None = None,
        on_event: Listener | None = None,
        clock: Clock | None = None,
        allowed_hosts: Sequence[str] = (),
        retry_budget: RetryBudget | None = None,
    ) -> Workspace:
        """Connect to the workspace of an azure-ai-ml client, with its credential.

        Names, credential and cloud are taken from the clients; requests go through this library's own transport.

        Args:
            workspace_client: The client of a workspace.
            registry_client: The client of the registry that models are looked up in; None is ``azureml``.
            retries: When to send a request again; None is
                :class:`~phi_finetune.retries.StandardRetries`.
            on_event: Hears everything that happens.
            clock: Where waits take their time from; None is the machine's.
            allowed_hosts: Hosts that requests may go to besides Azure's own, https alone: ``"ml.example.com"``, or
                ``".example.com"`` for all that end so. They get tokens, keys, prompts and data.
            retry_budget: What all requests together may spend on sending again; one may be given to several
                workspaces. None is a :class:`~phi_finetune.retries.RetryBudget` of this connection's own.

        Raises:
            ConfigurationError: One is no client of azure-ai-ml, but a mock, or belongs to the other kind.
        """
        from phi_finetune._azure.given_clients import registry_of, workspace_of

        subscription_id, resource_group, name, credential, cloud = workspace_of(workspace_client)
        workspace = _connected(
            subscription_id,
            resource_group,
            name,
            credential=credential,
            cloud=cloud,
            retries=retries,
            on_event=on_event,
            clock=clock,
            allowed_hosts=allowed_hosts,
            retry_budget=retry_budget,
        )
        if registry_client is None:
            return workspace
        return attrs.evolve(workspace, registry=registry_of(registry_client))

    @classmethod
    def local(
        cls,
        folder: str | os.PathLike[str],
        *,
        runner: Runner | Programs | None = None,
        on_event: Listener | None = None,
        retries: RetryPolicy | None = None,
        retry_budget: RetryBudget | None = None,
    ) -> Workspace:
        """Open a workspace that is kept in a folder of this machine.

        Everything is as with Azure, and nothing leaves the machine: what this workspace sends is answered from the
        folder. Workspaces of Azure in the same process are not touched. Several processes may open the folder at once,
        and each sees what the others do.

        Args:
            folder: The folder; made where it is not there, and then for its owner's eyes alone.
            runner: What running a job means. None trains and serves really, which needs the extra ``[local]``; other
                programs may be named for that. A runner of the emulator makes it up, in no time. A folder keeps to
                what it was made with.
            on_event: Hears everything that happens.
            retries: When to send a request again; None is :class:`~phi_finetune.retries.StandardRetries`.
            retry_budget: What all requests together may spend on sending again; None is a
                :class:`~phi_finetune.retries.RetryBudget` of this connection's own.

        Raises:
            ConfigurationError: The folder is damaged, holds something else, was made by a newer version, or cannot be
                written. Nothing in it was changed.
            MissingDependency: The extra ``[local]`` is not installed, and no runner is named.
        """
        from phi_finetune.local.door import open_local

        door = open_local(Path(folder), runner)
        return _connected(
            door.subscription_id,
            door.resource_group,
            door.workspace_name,
            credential=door.credential,
            cloud="public",
            retries=retries,
            on_event=on_event,
            clock=door.clock,
            allowed_hosts=(),
            retry_budget=retry_budget,
            session=door.session,
            tracking_uri=door.tracking_uri,
            preflight=door.preflight,
        )

    @property
    def id(self) -> str:
        """Its ARM id."""
        return self._handle().path

    def foundation_model(
        self, name: str, *, version: str | None = None, registry: str | None = None
    ) -> FoundationModel:
        """Look a model up in a registry.

        Args:
            name: Its name, its name and version (``Phi-4:8``), or its whole asset id
                (``azureml://registries/azureml/models/Phi-4/versions/8``).
            version: Its version; None is the latest that is not archived.
            registry: The registry; None is the workspace object's own.

        Raises:
            NotFound: There is no such model or version; the error says what comes near.
            ModelRetired: All its versions are archived; the error names its successor.
        """
        return look_up(self._handle(), name, version=version, registry=registry or self.registry)

    def foundation_models(self, *, registry: str | None = None) -> Iterator[FoundationModel]:
        """The registry's models that can be fine-tuned for chat, one request or two each.

        Args:
            registry: The registry; None is the workspace object's own.
        """
        from phi_finetune._azure.registry import list_models
        from phi_finetune.errors import InvalidParameter, ModelRetired

        client, where = self._handle(), registry or self.registry
        for name in list_models(client, where):
            model = look_up(client, name, version=None, registry=where)
            try:
                model.check_finetunable()
            except (ModelRetired, InvalidParameter):
                continue
            yield model

    def gpu_compute(
        self,
        name: str,
        *,
        size: str | None = None,
        min_nodes: int = 0,
        max_nodes: int = 1,
        low_priority: bool = False,
        idle_time: timedelta = timedelta(minutes=2),
    ) -> GpuCompute:
        """Describe a cluster; ``ensure()`` then gets or creates it.

        Args:
            name: Its name.
            size: The size of its machines; None for a cluster that is there.
            min_nodes: The machines that it keeps even when idle; each costs money all the time.
            max_nodes: The most machines that it grows to.
            low_priority: Machines that cost less and may be taken away while in use.
            idle_time: How long a machine stays after its last job.

        Raises:
            InvalidParameter: The numbers do not fit.
        """
        return GpuCompute(name, size, min_nodes, max_nodes, low_priority, idle_time, client=self._handle())

    def gpu_skus(self) -> tuple[GpuSku, ...]:
        """The machine sizes with a GPU that the workspace's region offers."""
        from phi_finetune.compute import list_skus

        return list_skus(self._handle())

    def job(self, name: str) -> FinetuneJob:
        """Look a job up.

        Raises:
            NotFound: There is none of this name.
        """
        from phi_finetune._azure.jobs import get_job
        from phi_finetune.jobs import from_arm

        client = self._handle()
        return from_arm(get_job(client, name), client)

    def jobs(self) -> tuple[FinetuneJob, ...]:
        """The workspace's pipeline jobs that are not archived."""
        from phi_finetune._azure.jobs import list_jobs
        from phi_finetune.jobs import from_arm

        client = self._handle()
        bodies = [
            body for body in list_jobs(client) if (body.get("properties") or {}).get("jobType") == "Pipeline"
        ]
        return tuple(from_arm(body, client) for body in bodies)

    def model(self, name: str, *, version: str | None = None) -> RegisteredModel:
        """Look up a model of the workspace.

        Args:
            name: Its name.
            version: Its version; None is the one registered last.

        Raises:
            NotFound: There is none.
        """
        from phi_finetune._azure.models import find_model, latest_version
        from phi_finetune.registered_models import from_arm

        client = self._handle()
        body = latest_version(client, name) if version is None else find_model(client, name, version)
        if body is not None:
            return from_arm(body, name, client)
        raise NotFound(
            "The model is not registered",
            resource=f"model {name}:{version or 'latest'}",
            next_call="ws.models() lists what there is; job.register() registers one",
            status_code=404,
        )

    def models(self) -> tuple[RegisteredModel, ...]:
        """The version registered last of each of the workspace's models."""
        from phi_finetune._azure.models import latest_version, list_models
        from phi_finetune.registered_models import from_arm

        client = self._handle()
        bodies = ((name, latest_version(client, name)) for name in list_models(client))
        return tuple(from_arm(body, name, client) for name, body in bodies if body is not None)

    def register_data(
        self,
        data: ChatDataset,
        name: str | None = None,
        *,
        version: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(hours=2),
    ) -> DataAsset:
        """Register a data set in the workspace, as a folder that its content names; the same again when called again.

        What the store holds is not sent again: neither by this, nor by a fine-tune on the very same splits.

        Args:
            data: The data set; it must be fit for training.
            name: The asset's name; None is made from the data set's own.
            version: Its version; None is the first 12 digits of the data's digest, so that other content is another
                version.
            description: A text for people; None says how many conversations there are.
            tags: Further tags; the data set's name and digest are always set.
            timeout: How long the call may take in all, with every request.

        Raises:
            InvalidData: The data is not fit for training, or somebody writes to it.
            InvalidParameter: It is no name, or no version.
            NameTaken: The version is there, and holds something else; the error says in what it differs.
            DeadlineExceeded: The time was up. What was sent is not sent again by the next call.
        """
        from phi_finetune.data_assets import register

        client = self._limited(timeout)._handle()
        return register(client, data, name, version, description, tags or {})

    def data_asset(self, name: str, *, version: str | None = None) -> DataAsset:
        """Look up a data asset of the workspace, whoever registered it.

        Args:
            name: Its name.
            version: Its version; None is the one registered last.

        Raises:
            NotFound: There is none.
        """
        from phi_finetune._azure.data_assets import find_data, latest_data
        from phi_finetune.data_assets import from_arm

        client = self._handle()
        body = latest_data(client, name) if version is None else find_data(client, name, version)
        if body is not None:
            return from_arm(body, name, client)
        raise NotFound(
            "The data asset is not registered",
            resource=f"data asset {name}:{version or 'latest'}",
            next_call="ws.register_data() registers one",
            status_code=404,
        )

    def endpoint(self, name: str) -> Endpoint:
        """Look an endpoint up.

        Raises:
            NotFound: There is none of this name.
        """
        from phi_finetune._azure.endpoints import get_endpoint
        from phi_finetune.endpoints import from_arm

        client = self._handle()
        return from_arm(get_endpoint(client, name), client)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The workspace's endpoints; each of them costs money while it has a deployment."""
        from phi_finetune._azure.endpoints import list_endpoints
        from phi_finetune.endpoints import from_arm

        client = self._handle()
        return tuple(from_arm(body, client) for body in list_endpoints(client))

    def doctor(self) -> Checkup:
        """Try all that this library needs: sign-in, both audiences, workspace, sizes, registry, blob store, rights.

        Nothing is changed, and nothing is raised for what is wrong: the answer says it, with what helps. Rights are
        those that Azure lists for the caller in the workspace, compared with the actions that each call asks for
        (docs/permissions.md). The blob store is only read; a deny assignment is not seen.

        Raises:
            ConfigurationError: The workspace object has no connection.
        """
        from phi_finetune.checkups import doctor

        return doctor(self._handle(), self.registry)

    def sweep(self, *, dry_run: bool = False) -> tuple[Swept, ...]:
        """Delete the endpoints and clusters that this library made and whose lease has ended, and see them gone.

        What has no lease is never touched, nor is anything that this library did not make. The service's clock
        decides, and the lease is read again right before each deletion. What cannot be deleted is told as such, and
        the rest is swept all the same.

        Args:
            dry_run: Only say what has outlived its lease.

        Returns:
            What had outlived its lease, and what became of it; endpoints first.
        """
        from phi_finetune.sweeps import sweep

        return sweep(self._handle(), dry_run=dry_run)

    def attach(self, thing: T) -> T:
        """Give an object that was pickled, or came from another process, this workspace's connection.

        Raises:
            ConfigurationError: It is another workspace.
        """
        if isinstance(thing, Workspace) and thing != self:
            raise ConfigurationError(
                "Another workspace cannot be attached to this one",
                resource=f"workspace {thing.name} in resource group {thing.resource_group}",
                next_call="Workspace.connect(subscription_id=..., resource_group=..., workspace_name=...)",
            )
        return thing.attached_to(self._handle().outside_calls())

    def mlflow_client(self) -> MlflowClient:
        """A real MLflow client of the workspace's tracking service, with this workspace's credential.

        No global tracking URI is set. It needs azureml-mlflow, which knows Azure's addresses. MLflow's telemetry is
        off, unless MLflow was imported before, or ``MLFLOW_DISABLE_TELEMETRY`` is set. Of a local workspace it reads
        the store in its folder, and needs MLflow alone.

        Raises:
            MissingDependency: azureml-mlflow is not installed.
        """
        from phi_finetune._azure.mlflow import mlflow_client

        return mlflow_client(self._handle())

    def _handle(self) -> Client:
        from phi_finetune._azure.client import attached

        return attached(self._client, "workspace")


def _hear_nothing(event: Event) -> None:
    return None


class _MachineClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _connected(
    subscription_id: str,
    resource_group: str,
    name: str,
    *,
    credential: CredentialPolicy | TokenCredential | None,
    cloud: str,
    retries: RetryPolicy | None,
    on_event: Listener | None,
    clock: Clock | None,
    allowed_hosts: Sequence[str],
    retry_budget: RetryBudget | None,
    session: Session | None = None,
    tracking_uri: str | None = None,
    preflight: Preflight | None = None,
) -> Workspace:
    from phi_finetune._azure.client import Client
    from phi_finetune._azure.hosts import cloud_named
    from phi_finetune.credentials import policy_for
    from phi_finetune.retries import RetryBudget, StandardRetries
    from phi_finetune.sweeps import report_expired

    client = Client(
        subscription_id=subscription_id,
        resource_group=resource_group,
        workspace_name=name,
        credentials=policy_for(credential),
        retries=StandardRetries() if retries is None else retries,
        clock=_MachineClock() if clock is None else clock,
        # A listener may be a list of events, which is false while it is empty.
        notify=_hear_nothing if on_event is None else on_event,
        cloud=cloud_named(cloud),
        allowed_hosts=allowed_hosts,
        budget=RetryBudget() if retry_budget is None else retry_budget,
        # Looking costs two requests, so it is done where somebody hears of it.
        on_found=None if on_event is None else report_expired,
        session=session,
        tracking_uri=tracking_uri,
        preflight=preflight,
    )
    return Workspace(subscription_id, resource_group, name, client=client)
