"""What the service makes of a component's spec, and what it checks of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.refusals import immutable, invalid, not_emulated, unknown_reference
from phi_finetune.emulator.assets.versions import AssetVersion, Details
from phi_finetune.emulator.core.errors import ServiceError

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["check_change", "same", "settle"]

_MUTABLE = {"description", "display_name", "tags"}
"""Azure's page "az ml component update": description and display name; tags, which it leaves out, are assumed."""

_NAMES = {"name", "version"}


def settle(cloud: Cloud, name: str, version: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A component's spec as it is kept: in texts, and with what the service fills in (service.md).

    Raises:
        ServiceError: 400, where something is missing in it, or where it names an environment, code or
            component that is not there; 501 for a type that the emulator has not.
    """
    kept: dict[str, Any] = {key: _texts(value) for key, value in spec.items() if key != "_source"}
    kept |= {"name": name, "version": version}
    kept["inputs"] = {
        key: {**row, "optional": row.get("optional", "False")} for key, row in _rows(kept, "inputs").items()
    }
    kept["outputs"] = _rows(kept, "outputs")
    if kept.get("type") == "command":
        return _settle_command(cloud, kept)
    if kept.get("type") == "pipeline":
        return _settle_pipeline(cloud, kept)
    raise not_emulated(f"components of type {kept.get('type')}")


def check_change(existing: AssetVersion, details: Details) -> None:
    """Refuse to change a component under its version, but for its description, display name and tags.

    Raises:
        ServiceError: 400, with the first field that would change (service.md).
    """
    before, after = existing.content["componentSpec"], details.content["componentSpec"]
    for field in (*before, *(field for field in after if field not in before)):
        if field not in _MUTABLE | _NAMES and before.get(field) != after.get(field):
            raise immutable(existing.name, field)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two components differ in name and version at most."""
    first, second = (
        {key: value for key, value in content["componentSpec"].items() if key not in _NAMES}
        for content in (one, other)
    )
    return first == second


def _settle_command(cloud: Cloud, spec: dict[str, Any]) -> dict[str, Any]:
    for field in ("command", "environment"):
        if not isinstance(spec.get(field), str) or not spec[field].strip():
            raise invalid(f"{field} is required.")
    return {
        **spec,
        "environment": _environment(cloud, spec["environment"]),
        **({"code": _code(cloud, spec["code"])} if spec.get("code") else {}),
        "resources": {"instance_count": "1", **(spec.get("resources") or {})},
    }


def _settle_pipeline(cloud: Cloud, spec: dict[str, Any]) -> dict[str, Any]:
    jobs = _rows(spec, "jobs")
    for name, job in jobs.items():
        if not isinstance(job.get("componentId"), str):
            continue
        try:
            cloud.assets.component(job["componentId"])
        except ServiceError as error:
            raise unknown_reference(f"The component of job {name} is not valid", error) from error
    return {**spec, "jobs": jobs}


def _environment(cloud: Cloud, reference: str) -> str:
    try:
        found = cloud.assets.environment(reference)
    except ServiceError as error:
        raise unknown_reference("The environment is not valid", error) from error
    return found.id if found.id.startswith("azureml:") else f"azureml:{found.id}"


def _code(cloud: Cloud, reference: str) -> str:
    try:
        cloud.assets.code(reference)
    except ServiceError as error:
        raise unknown_reference("The code is not valid", error) from error
    return reference


def _rows(spec: Mapping[str, Any], field: str) -> dict[str, dict[str, Any]]:
    rows = spec.get(field) or {}
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise invalid(f"{field} must be an object of objects.")
    return rows


def _texts(value: Any) -> Any:
    """The same, with every number and boolean as a text: ``"1"``, ``"True"``."""
    if isinstance(value, dict):
        return {key: _texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_texts(each) for each in value]
    return value if value is None or isinstance(value, str) else str(value)
