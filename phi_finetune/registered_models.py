"""Models in the workspace: tuned, registered, with the line that leads back to their job and data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune._handles import WithoutHandle, kept
from phi_finetune._leases import lease_end, lease_tag
from phi_finetune._lineage import DATA, DATA_DIGEST, JOB, MADE_BY, MODEL
from phi_finetune._reconcile import Change, settle
from phi_finetune.errors import InvalidParameter, NameTaken, NotFound
from phi_finetune.events import AdoptedExisting, Created

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.deployments import AuthMode, Probe
    from phi_finetune.endpoints import Endpoint
    from phi_finetune.jobs import FinetuneJob

__all__ = ["RegisteredModel"]


_NAME = re.compile(r"(?![-_.])[a-zA-Z0-9._-]{1,255}(?<!\.)")
"""azure-ai-ml 1.35.2, the model data plane."""


@attrs.frozen(slots=False)
class RegisteredModel(WithoutHandle):
    """A version of a model in the workspace.

    Attributes:
        name: Its name.
        version: Its version.
        uri: Where its files are.
        type: Azure's word for its type, such as ``"mlflow_model"``.
        description: A text for people.
        tags: Its tags.
        job: The job that made it; None where it does not say.
        base_model: The asset id of the model it was tuned from; None where it does not say.
        data_digest: The digest of the conversations it was tuned on; None where it does not say.
    """

    name: str
    version: str
    uri: str
    type: str = "mlflow_model"
    description: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    @property
    def job(self) -> str | None:
        """The job that made it; None where it does not say."""
        return self.tags.get(JOB)

    @property
    def base_model(self) -> str | None:
        """The asset id of the model it was tuned from; None where it does not say."""
        return self.tags.get(MODEL)

    @property
    def data_digest(self) -> str | None:
        """The digest of the conversations it was tuned on; None where it does not say."""
        return self.tags.get(DATA_DIGEST)

    @property
    def resource(self) -> str:
        """How errors and events name it."""
        return f"model {self.name}:{self.version}"

    @property
    def id(self) -> str:
        """Its ARM id."""
        return f"{self._handle().path}/models/{self.name}/versions/{self.version}"

    def deploy(
        self,
        name: str | None = None,
        *,
        instance_type: str,
        instance_count: int = 1,
        deployment: str = "default",
        auth: AuthMode = "key",
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        lease: timedelta | None = None,
        request_timeout: timedelta = timedelta(seconds=90),
        max_concurrent_requests: int = 1,
        liveness: Probe | None = None,
        readiness: Probe | None = None,
        timeout: timedelta = timedelta(hours=2),
    ) -> Endpoint:
        """Put the model behind an endpoint, and give all traffic to it once it is healthy.

        The machines cost money from now until the endpoint is deleted, also when nobody asks it anything. As a
        context manager the endpoint deletes itself: ``with model.deploy(...) as endpoint:``. If the deployment
        fails, the endpoint that this call created is deleted before the error is raised.

        Args:
            name: The endpoint's name, unique in the region; None is made from the model and the workspace.
            instance_type: The size of its machines.
            instance_count: How many machines.
            deployment: The deployment's name.
            auth: How callers sign in: with a key, or with an Entra token.
            description: A text for people.
            tags: Further tags, for endpoint and deployment.
            lease: How long from now, by the service's clock, the endpoint may stay: after that ``ws.sweep()`` deletes
                it, if nothing else has, even where this program was killed. An endpoint that was there keeps its
                lease if that ends later, and gets none if it had none. None is no lease.
            request_timeout: How long an answer may take; Azure allows up to 180 s (Azure's page on managing
                quotas, 2026-01).
            max_concurrent_requests: Requests that each machine works on at a time. Twice that many in all may be in
                hand before the endpoint answers 429.
            liveness: When the container counts as alive; None waits 600 s before the first look.
            readiness: When it may take requests; None waits 600 s before the first look.
            timeout: How long the call may take in all, with endpoint, deployment, traffic and every request. What it
                has made by then is deleted again, which may take up to an hour more.

        Raises:
            SizeNotAllowed: The base model does not permit the size for inference.
            NameTaken: The endpoint's name belongs to somebody else.
            QuotaExceeded: The subscription has too few cores.
            DeploymentFailed: It did not become healthy; with the container's log.
            DeadlineExceeded: The time was up.
        """
        from phi_finetune._deploying import EndpointSpec, deploy
        from phi_finetune.deployments import DeploymentSpec, Probe

        spec = DeploymentSpec(
            model=self.id,
            name=deployment,
            instance_type=instance_type,
            instance_count=instance_count,
            request_timeout=request_timeout,
            max_concurrent_requests=max_concurrent_requests,
            liveness=liveness or Probe(),
            readiness=readiness or Probe(),
            tags={**(tags or {}), **self._lineage(), **MADE_BY},
        )
        call = self._limited(timeout)
        client = call._handle()
        until = None if lease is None else lease_end(client, lease)
        endpoint = EndpointSpec(name, auth, description, {**(tags or {}), **lease_tag(until)})
        return deploy(client, call, spec, endpoint, timeout)

    def download(
        self, folder: str | os.PathLike[str], *, max_bytes: int | None = None, trust: bool = False
    ) -> Path:
        """Copy the model's files into ``folder/<name>-<version>``; nothing half-written is ever under that name.

        They come in parts, a few at a time, which :class:`~phi_finetune.events.DownloadProgress` tells of. No file is
        held whole in memory, and nothing is unpacked, loaded or run.

        Where something in the files would run code of the model's maker when it is loaded, a warning tells what: see
        :func:`~phi_finetune.model_files.inspect`. Loaders of your own can refuse such a model with its ``check()``.

        Args:
            folder: Where to; made if it is not there.
            max_bytes: The most that the files may come to, in bytes; None is as much as the disk has room for.
            trust: True says that you trust whoever made the model: there is no warning.

        Returns:
            The folder with the files.

        Raises:
            NotFound: The model has no files.
            InvalidParameter: The target is there already or cannot be written, or the files come to more than
                ``max_bytes`` or do not fit on the disk.
            UnexpectedAnswer: A file's name is not safe to write: it leads out of the folder, means something to a
                system, or is another's on a system that does not tell upper from lower case. No file was copied.
            ServiceError: A file changed meanwhile.
        """
        from phi_finetune._downloading import download_model

        return download_model(self._handle(), self, Path(folder), max_bytes=max_bytes, trust=trust)

    def _handle(self) -> Client:
        from phi_finetune._azure.client import attached

        return attached(self._client, "model")

    def _lineage(self) -> dict[str, str]:
        return {key: value for key, value in self.tags.items() if key in (JOB, MODEL, DATA, DATA_DIGEST)}


def register(
    client: Client, job: FinetuneJob, name: str, description: str | None, tags: Mapping[str, str]
) -> RegisteredModel:
    """Register a completed job's model under a version made from the job's name."""
    from phi_finetune._azure.jobs import OUTPUT
    from phi_finetune._azure.models import find_model, put_model

    name = name.replace("/", "-")
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"{name!r} is no name for a model",
            name="name",
            value=name,
            allowed="up to 255 letters, digits, dashes, underscores and dots, none of the last three first",
        )
    version = job.model_version()
    found = find_model(client, name, version)
    if found is not None:
        return _adopt(from_arm(found, name, client), job, client)
    if job.outputs and OUTPUT not in job.outputs:
        raise NotFound(
            f"The job has no output {OUTPUT}",
            resource=job.resource,
            why=f"its outputs are {', '.join(job.outputs)}",
            next_call="register the one that holds the model with azure-ai-ml",
        )

    def put() -> RegisteredModel:
        body = put_model(
            client,
            name=name,
            version=version,
            uri=f"azureml://jobs/{job.name}/outputs/{OUTPUT}",
            description=description or _describe(job),
            tags={**tags, **MADE_BY, **_lineage(job)},
        )
        return from_arm(body, name, client)

    change = Change(
        f"model {name}:{version}",
        f"model {name}:{version} may be registered; that costs nothing",
        "register() again: it finds the version if it is there",
        client.clock,
        client.notify,
    )
    outcome = settle(put, partial(find_model, client, name, version), change)
    if not isinstance(outcome, RegisteredModel):
        return _adopt(from_arm(outcome, name, client), job, client)
    client.notify(Created(resource=outcome.resource))
    return outcome


def from_arm(body: Mapping[str, Any], name: str, client: Client) -> RegisteredModel:
    """A model from ARM's description of one version."""
    properties: Mapping[str, Any] = body.get("properties") or {}
    version = str(body.get("id") or "").rpartition("/versions/")[2] or str(body.get("name"))
    return RegisteredModel(
        name=name,
        version=version,
        uri=str(properties.get("modelUri") or ""),
        type=str(properties.get("modelType") or "custom_model"),
        description=properties.get("description"),
        tags={str(key): str(value) for key, value in (properties.get("tags") or {}).items()},
        client=client,
    )


def _adopt(model: RegisteredModel, job: FinetuneJob, client: Client) -> RegisteredModel:
    if model.job == job.name:
        client.notify(AdoptedExisting(resource=model.resource))
        return model
    raise NameTaken(
        "The model's version is there, and another job made it",
        resource=model.resource,
        why=f"it was made by {model.job or 'something that it does not name'}, not by {job.name}",
        next_call="register under another name: job.register(name=...)",
    )


def _lineage(job: FinetuneJob) -> dict[str, str]:
    told = {
        JOB: job.name,
        MODEL: job.base_model,
        DATA: job.tags.get(DATA),
        DATA_DIGEST: job.tags.get(DATA_DIGEST),
    }
    return {key: value for key, value in told.items() if value}


def _describe(job: FinetuneJob) -> str:
    base = (job.base_model or "a model").rpartition("/models/")[2].replace("/versions/", ":")
    return f"{base}, fine-tuned on {job.tags.get(DATA, 'chat data')} by job {job.name}"
