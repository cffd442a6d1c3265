"""Where the outputs of a job go, and which of them become assets of the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.versions import LOCATIONS, TYPES, Details, Kind, next_version
from phi_finetune.emulator.jobs.spec import JobSpec, invalid

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud
    from phi_finetune.emulator.jobs.graph import Node
    from phi_finetune.emulator.jobs.job import Job
    from phi_finetune.emulator.jobs.outcome import NodeRun

__all__ = ["check", "link", "path", "register", "write"]

_MODELS = ("custom_model", "mlflow_model", "triton_model")
_FILE = "uri_file"


def path(cloud: Cloud, job: str, output: str, row: Mapping[str, Any]) -> str:
    """Where an output lies in the default datastore: a folder's path ends with a slash, a file's does not.

    A file that the job names no place for lies where its folder would (assumed).
    """
    uri = row.get("uri")
    where = cloud.storage.locate(uri)[1] if uri else f"azureml/{job}/{output}"
    return where if row["jobOutputType"] == _FILE else where.rstrip("/") + "/"


def write(cloud: Cloud, job: Job, run: NodeRun) -> None:
    """Write what a node has made, as far as the job has it for an output."""
    for output, bound in run.node.outputs.items():
        made, where = run.run.outputs.get(output, {}), job.output_path(bound)
        for name, data in made.items():
            cloud.storage.put(where + name if where.endswith("/") else where, data)


def link(cloud: Cloud, job: Job, node: Node, made: Mapping[str, Sequence[str]]) -> None:
    """Let blobs stand for the files that an engine has made, as far as the job has outputs for them."""
    assert cloud.engine is not None
    for output, bound in node.outputs.items():
        where = job.output_path(bound)
        for name in made.get(output, ()):
            read = cloud.engine.output(job.name, output, name)
            cloud.storage.put_live(where + name if where.endswith("/") else where, read)


def check(cloud: Cloud, spec: JobSpec) -> None:
    """Refuse an output that would become a version of an asset that is there already (assumed).

    Raises:
        ServiceError: 400.
    """
    for name, row in spec.outputs.items():
        asset, version = row.get("assetName"), row.get("assetVersion")
        if asset and version and cloud.assets.kinds[_kind(row)].find(asset, str(version)) is not None:
            raise invalid(f"Output '{name}': version {version} of {asset} exists already.")


def register(cloud: Cloud, job: Job) -> None:
    """Make assets of the outputs that have a name (Azure's page on the inputs and outputs of jobs)."""
    for output, row in job.outputs.items():
        asset = row.get("assetName")
        if not asset:
            continue
        kind = _kind(row)
        version = row.get("assetVersion") or next_version(cloud.assets.kinds[kind].of(asset))
        content = {
            LOCATIONS[kind]: cloud.storage.long_uri(job.output_path(output)),
            TYPES[kind]: str(row["jobOutputType"]),
            **({"jobName": job.name, "flavors": {}} if kind == "models" else {}),
        }
        details = Details(content=content, description=row.get("description"))
        cloud.assets.put(kind, asset, str(version), details)


def _kind(row: Mapping[str, Any]) -> Kind:
    return "models" if row["jobOutputType"] in _MODELS else "data"
