"""Submitting: look for the job, adopt it, or send it; never two for one intent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune._lineage import DATA, DATA_DIGEST, INTENT, MADE_BY, MODEL, RESOLVED
from phi_finetune._names import digest
from phi_finetune.errors import (
    NameTaken,
    OutcomeUnknown,
    PhiFinetuneError,
    ServiceError,
    ServiceUnreachable,
    UnexpectedAnswer,
)
from phi_finetune.events import AdoptedExisting, Created, Warned
from phi_finetune.jobs import SPENT, FinetuneJob, from_arm
from phi_finetune.plans import COMPONENT, COMPONENT_REGISTRY, FinetunePlan, resolve

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.finetune import Finetune

__all__ = ["submit"]


def submit(finetune: Finetune, client: Client, *, again: bool) -> FinetuneJob:
    """Submit a fine-tune, or adopt the job that is there for the same intent."""
    intent = finetune.intent()
    attempt = 1
    while True:
        name = finetune.job_name(attempt)
        found = _find(client, name)
        if found is None:
            return _send(finetune, client, name, intent)
        _check_same(found, intent, name)
        if not _spent(found) and not again:
            return _adopt(finetune, client, found)
        attempt += 1


def _send(finetune: Finetune, client: Client, name: str, intent: dict[str, Any]) -> FinetuneJob:
    from phi_finetune._azure.jobs import build_pipeline, submit_pipeline
    from phi_finetune._azure.registry import find_component
    from phi_finetune._azure.uploads import upload

    finetune = _with_computes(finetune, client)
    plan = resolve(finetune, client)
    for warning in plan.warnings:
        client.notify(Warned(resource=f"job {name}", message=warning))
    for file in plan.files.values():
        upload(
            client,
            file_name=file.name,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            content=file.content,
        )
    inputs = plan.parameters.as_component_inputs()
    addresses = {key: str(inputs.pop(key)) for key in tuple(inputs) if _is_file(plan, key)}
    settings = finetune.settings
    job = build_pipeline(
        find_component(client, COMPONENT_REGISTRY, COMPONENT, None),
        inputs=inputs,
        files=addresses,
        name=name,
        experiment=plan.experiment,
        display_name=plan.display_name,
        description=settings.description,
        tags={**settings.tags, **_tags(finetune, plan, intent)},
        properties={INTENT: json.dumps(intent)},
        force_rerun=settings.force_rerun,
        continue_on_step_failure=settings.continue_on_step_failure,
    )
    try:
        submitted = submit_pipeline(client, job)
    except (ServiceError, ServiceUnreachable, UnexpectedAnswer) as error:
        return _after(error, finetune, client, name, intent)
    client.notify(Created(resource=f"job {name}"))
    return FinetuneJob(
        name=name,
        status=submitted.status,
        display_name=plan.display_name,
        experiment=plan.experiment,
        description=settings.description,
        tags={key: str(value) for key, value in (job.tags or {}).items()},
        base_model=plan.model_id,
        studio_url=submitted.studio_url,
        client=client,
    )


def _after(
    error: PhiFinetuneError, finetune: Finetune, client: Client, name: str, intent: dict[str, Any]
) -> FinetuneJob:
    """Look what became of a submission: its answer was lost, or another process was first, or it was refused."""
    if isinstance(error, ServiceError) and error.status_code != 409:
        raise error
    try:
        found = _find(client, name)
    except (ServiceError, ServiceUnreachable, UnexpectedAnswer) as second:
        raise OutcomeUnknown(
            "It is not known whether the job was submitted",
            resource=f"job {name}",
            why=f"the answer was lost ({error.why}), and so was the look after it ({second.why})",
            costs="the job may be running",
            next_call="submit() again: it finds the job if it is there",
        ) from None
    if found is None:
        raise error
    _check_same(found, intent, name)
    return _adopt(finetune, client, found)


def _adopt(finetune: Finetune, client: Client, found: dict[str, Any]) -> FinetuneJob:
    job = from_arm(found, client)
    client.notify(AdoptedExisting(resource=job.resource))
    before = _recorded(job.tags.get(RESOLVED))
    if not before:
        return job
    changed = _changes(finetune, client, before)
    if changed:
        message = (
            f"it was submitted when other things were current: {'; '.join(changed)}. "
            "submit(again=True) runs it anew"
        )
        client.notify(Warned(resource=job.resource, message=message))
    return job


def _changes(finetune: Finetune, client: Client, before: dict[str, str]) -> list[str]:
    """What would be resolved otherwise now. Nothing is created to find out: the cluster may be gone by now."""
    try:
        now = resolve(finetune, client).resolved
    except PhiFinetuneError as error:
        return [f"it could not be submitted now: {error.what}"]
    return [
        f"{key} was {before.get(key)}, would now be {value}"
        for key, value in now.items()
        if before.get(key) != value
    ]


def _check_same(found: dict[str, Any], intent: dict[str, Any], name: str) -> None:
    properties = found.get("properties") or {}
    if (properties.get("tags") or {}).get(INTENT) == digest(intent):
        return
    told = (properties.get("properties") or {}).get(INTENT)
    difference = "; ".join(_differences(_recorded(told), intent)) or "it was not submitted by phi-finetune"
    raise NameTaken(
        f"A job named {name} is there, and it is another one",
        resource=f"job {name}",
        why=difference,
        costs="nothing: it was not submitted",
        next_call="take another name with named(), or none: a name is then made from what the job is",
    )


def _recorded(told: str | None) -> dict[str, Any]:
    """What a job was submitted with; nothing where it does not say, or where somebody has edited what it said."""
    try:
        before = json.loads(told or "{}")
    except ValueError:
        return {}
    return before if isinstance(before, dict) else {}


def _differences(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    lines: list[str] = []
    if not before:
        return lines
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines.extend(_differences(old, new, f"{path}{key}."))
        elif old != new:
            lines.append(f"{path}{key} was {old!r}, is now {new!r}")
    return lines


def _with_computes(finetune: Finetune, client: Client) -> Finetune:
    """The same, with each compute that was only described got or created, after the model's list was checked."""
    computes = finetune.required_computes()
    ready = {
        compute: compute
        if compute.provisioning_state is not None
        else compute.attached_to(client).ensure(_model_for(finetune, compute))
        for compute in computes.by_step().values()
    }
    changes = {
        field.name: ready[value]
        for field in attrs.fields(type(computes))
        if (value := getattr(computes, field.name)) is not None
    }
    return attrs.evolve(finetune, computes=attrs.evolve(computes, **changes))


def _model_for(finetune: Finetune, compute: Any) -> Any:
    return finetune.model if compute == finetune.required_computes().finetune else None


def _tags(finetune: Finetune, plan: FinetunePlan, intent: dict[str, Any]) -> dict[str, str]:
    return {
        **MADE_BY,
        INTENT: digest(intent),
        RESOLVED: json.dumps(plan.resolved),
        MODEL: plan.model_id,
        DATA: finetune.data.name,
        DATA_DIGEST: finetune.data.digest,
    }


def _is_file(plan: FinetunePlan, name: str) -> bool:
    from phi_finetune.finetune import FILES

    return name in FILES and name in plan.parameters


def _find(client: Client, name: str) -> dict[str, Any] | None:
    from phi_finetune._azure.jobs import find_job

    return find_job(client, name)


def _spent(found: dict[str, Any]) -> bool:
    properties = found.get("properties") or {}
    return bool(properties.get("isArchived")) or properties.get("status") in SPENT
