"""What a client asks for when it submits a job, read from the body of its PUT (wire.md 5 and 11)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["JobKind", "JobSpec", "invalid", "missing", "parse"]

JobKind = Literal["Command", "FineTuning", "Pipeline"]
"""The kinds of job that are run here; AutoML, sweep, Spark and labeling jobs are not."""

_NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,254}")  # pain.md, Part 2, "Run / job id"
# pain.md, Part 2, "Run display name / description / tags"
_DISPLAY_NAME, _DESCRIPTION, _EXPERIMENT = 256, 5000, 256
_TAGS, _TAG_KEY, _TAG_VALUE = 50, 100, 1000


@dataclass(frozen=True)
class JobSpec:
    """A job: its name, its kind, and the body's ``properties``, as sent."""

    name: str
    kind: JobKind
    properties: Mapping[str, Any]

    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]:
        """The job's own outputs, by name."""
        return self.properties.get("outputs") or {}


def invalid(message: str, *inner: str) -> ServiceError:
    """The refusal of a body, as service.md shows the service's; the words of most messages are ours."""
    return ServiceError(400, "UserError", message, inner=("BadArgument", *(inner or ("ArgumentInvalid",))))


def missing(what: str) -> ServiceError:
    """The refusal of a body that lacks a field; the code and message are service.md's."""
    message = "Request is invalid and/or missing fields."
    return ServiceError(
        400, "UserError", message, details=[("RequestInvalid", f"The field {what} is required.")]
    )


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
        raise missing("properties")
    _check_notes(properties)
    kind = properties.get("jobType")
    if kind is None:
        raise missing("jobType")
    if kind not in get_args(JobKind):
        known = "command, pipeline and fine-tuning jobs"
        raise ServiceError(501, "NotImplemented", f"The emulator runs {known}, and no {kind} jobs.")
    _check_outputs(properties.get("outputs") or {})
    return JobSpec(name, kind, properties)


def _check_outputs(outputs: Mapping[str, Any]) -> None:
    for name, output in outputs.items():
        if not isinstance(output, dict) or not output.get("jobOutputType"):
            raise invalid(f"Output '{name}' has no jobOutputType.")


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
