"""Where an asset's files are: every form of a location that a client sends, as the service gives it back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud
    from phi_finetune.emulator.jobs.state import Job

__all__ = ["resolve"]

_OUTPUT = re.compile(r"azureml://jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths/(?P<path>.+))?/?")


def resolve(cloud: Cloud, uri: str, *, folder: bool) -> str:
    """The whole form of a location (wire.md 8, service.md).

    Args:
        cloud: Whose storage and jobs it speaks of.
        uri: An output of a job, a short or a whole datastore path, or an https address, which is kept.
        folder: Whether it is a folder, which gets a trailing slash.

    Raises:
        ServiceError: 400, where the job has no such output, or it has no files yet, or for another form; 404
            for an unknown datastore.
    """
    if found := _OUTPUT.fullmatch(uri):
        return _of_job(cloud, found["job"], found["output"], found["path"])
    if uri.startswith("https://"):
        return uri if not folder or uri.endswith("/") else f"{uri}/"
    datastore, path = cloud.storage.locate(uri)
    return cloud.storage.long_uri(path, datastore=datastore, folder=folder or uri.endswith("/"))


def _of_job(cloud: Cloud, job_name: str, output: str, path: str | None) -> str:
    job = _job(cloud, job_name)
    if output not in job.outputs:
        raise ServiceError(400, "NoMatchingOutputFoundFromJob", f"Job output {output} not found")
    where = job.output_path(output).rstrip("/") + (f"/{path}" if path else "")
    if job.status == "Completed" and cloud.storage.get(where) is not None:
        return cloud.storage.long_uri(where)
    if job.status == "Completed" and cloud.storage.list(f"{where}/"):
        return cloud.storage.long_uri(where, folder=True)
    message = f"No artifacts matching {where} found from Job"
    raise ServiceError(400, "NoMatchingArtifactsFoundFromJob", message)


def _job(cloud: Cloud, name: str) -> Job:
    try:
        return cloud.jobs.find(name)
    except ServiceError as error:
        raise ServiceError(
            400, "UserError", f"The job {name} was not found.", inner=("BadArgument", "JobNotFound")
        ) from error
