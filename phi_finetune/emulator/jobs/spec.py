"""What a client asks for when it submits a job, read from the body of its PUT (wire.md 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["JobSpec", "invalid", "parse"]

_NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,254}")  # pain.md, Part 2, "Run / job id"
_REFERENCE = re.compile(r"\$\{\{\s*parent\.(?P<kind>inputs|outputs)\.(?P<name>\w+)\s*\}\}")
# pain.md, Part 2, "Run display name / description / tags"
_DISPLAY_NAME, _DESCRIPTION, _EXPERIMENT = 256, 5000, 256
_TAGS, _TAG_KEY, _TAG_VALUE = 50, 100, 1000


@dataclass(frozen=True)
class JobSpec:
    """A pipeline job of one registry component.

    Attributes:
        name: The job's name.
        properties: The body's ``properties``, as sent.
        node: The name of the pipeline's one node.
        component_id: The component's asset id.
        literals: The node's literal inputs, as strings.
        uris: The node's file and model inputs.
        outputs: The job's output that each output of the node is bound to.
    """

    name: str
    properties: Mapping[str, Any]
    node: str
    component_id: str
    literals: Mapping[str, str]
    uris: Mapping[str, str]
    outputs: Mapping[str, str]


def invalid(message: str, *inner: str) -> ServiceError:
    """The refusal of a body, as service.md shows the service's; the words of most messages are ours."""
    return ServiceError(400, "UserError", message, inner=("BadArgument", *(inner or ("ArgumentInvalid",))))


def parse(name: str, body: Mapping[str, Any]) -> JobSpec:
    """Read a body.

    Raises:
        ServiceError: 400 for a malformed one; 501 for a kind of job that the emulator does not run.
    """
    if not _NAME.fullmatch(name):
        raise invalid(
            f"Invalid job name '{name}'. A name begins with a letter or digit and has at most 255 letters, "
            "digits, dashes and underscores."
        )
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise _missing("properties")
    _check_notes(properties)
    kind = properties.get("jobType")
    if kind is None:
        raise _missing("jobType")
    if kind != "Pipeline":
        raise ServiceError(501, "NotImplemented", f"The emulator runs pipeline jobs, and no {kind} jobs.")
    jobs = properties.get("jobs") or {}
    if len(jobs) != 1:
        raise ServiceError(
            501,
            "NotImplemented",
            f"The emulator runs pipelines of one registry component; this one has {len(jobs)} nodes.",
        )
    [(node, job)] = jobs.items()
    if not isinstance(job, dict) or not job.get("componentId"):
        raise _missing(f"jobs.{node}.componentId")
    literals, uris = _inputs(job.get("inputs") or {}, properties.get("inputs") or {})
    outputs = _outputs(job.get("outputs") or {}, properties.get("outputs") or {})
    return JobSpec(name, properties, node, str(job["componentId"]), literals, uris, outputs)


def _missing(what: str) -> ServiceError:
    # The code and message are service.md's.
    message = "Request is invalid and/or missing fields."
    return ServiceError(
        400, "UserError", message, details=[("RequestInvalid", f"The field {what} is required.")]
    )


def _check_notes(properties: Mapping[str, Any]) -> None:
    tags = properties.get("tags") or {}
    if len(tags) > _TAGS:
        raise invalid(f"A run has at most {_TAGS} tags; this one has {len(tags)}.")
    for key, value in tags.items():
        if not isinstance(value, str):
            raise invalid(f"The value of tag '{key}' is not a string.")
        if len(key) > _TAG_KEY or len(value) > _TAG_VALUE:
            raise invalid(
                f"Tag '{key}' is too long: at most {_TAG_KEY} characters, and {_TAG_VALUE} for its value."
            )
    for field, limit in (
        ("displayName", _DISPLAY_NAME),
        ("description", _DESCRIPTION),
        ("experimentName", _EXPERIMENT),
    ):
        if len(properties.get(field) or "") > limit:
            raise invalid(f"The field {field} is longer than {limit} characters.")


def _inputs(
    inputs: Mapping[str, Any], of_pipeline: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    literals: dict[str, str] = {}
    uris: dict[str, str] = {}
    for name, sent in inputs.items():
        given = _resolved(name, sent, of_pipeline)
        if given.get("uri") is not None:
            uris[name] = str(given["uri"])
        elif given.get("value") is not None:
            literals[name] = str(given["value"])
        else:
            raise invalid(f"Input '{name}' has neither a value nor a uri.")
    return literals, uris


def _resolved(name: str, sent: Any, of_pipeline: Mapping[str, Any]) -> Mapping[str, Any]:
    given = sent if isinstance(sent, dict) else {"value": sent}
    found = _REFERENCE.fullmatch(str(given.get("value", "")))
    if found is None:
        return given
    source = of_pipeline.get(found["name"]) if found["kind"] == "inputs" else None
    if not isinstance(source, dict):
        raise invalid(f"Input '{name}' refers to '{found['name']}', which is no input of the pipeline.")
    return source


def _outputs(outputs: Mapping[str, Any], of_pipeline: Mapping[str, Any]) -> dict[str, str]:
    bound: dict[str, str] = {}
    for name, sent in outputs.items():
        found = _REFERENCE.fullmatch(str(sent.get("value", ""))) if isinstance(sent, dict) else None
        if found is None or found["kind"] != "outputs" or found["name"] not in of_pipeline:
            raise invalid(f"Output '{name}' is not bound to an output of the pipeline.")
        bound[name] = found["name"]
    return bound
