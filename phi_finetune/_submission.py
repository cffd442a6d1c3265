"""Submitting: look for the job, adopt it, or send it; never two for one intent."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune._lineage import DATA, DATA_DIGEST, INTENT, MADE_BY, MODEL, RESOLVED
from phi_finetune._names import digest
from phi_finetune._reconcile import Change, settle
from phi_finetune._uploading import upload_files
from phi_finetune.errors import NameTaken, PhiFinetuneError
from phi_finetune.events import AdoptedExisting, Created, Warned
from phi_finetune.jobs import SPENT, FinetuneJob, from_arm
from phi_finetune.plans import COMPONENT, COMPONENT_REGISTRY, FinetunePlan, checked, resolve

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob

    from phi_finetune._azure.client import Client
    from phi_finetune.finetune import Finetune

__all__ = ["submit"]


def submit(finetune: Finetune, client: Client, *, again: bool) -> FinetuneJob:
    """Submit a fine-tune, or adopt the job that is there for the same intent."""
    finetune.data.check()
    intent = finetune.intent()
    attempt = 1
    while True:
        name = finetune.job_name(attempt)
        found = _find(client, name)
        sent = _send(finetune, client, name, intent) if found is None else found
        if isinstance(sent, FinetuneJob):
            return sent
        _check_same(sent, intent, name)
        # What was not there before this call is its own, or that of a process which means the same.
        if not _spent(sent) and (found is None or not again):
            return _adopt(finetune, client, sent)
        attempt += 1


def _send(
    finetune: Finetune, client: Client, name: str, intent: dict[str, Any]
) -> FinetuneJob | dict[str, Any]:
    """Submit a job; give it, or what is there under its name where the answer does not tell."""
    from phi_finetune._azure.jobs import Submitted, submit_pipeline

    finetune = _with_computes(finetune, client)
    plan = checked(finetune, client)
    job = _pipeline(finetune, plan, client, name, intent)
    change = Change(
        resource=f"job {name}",
        costs="the job may be running",
        next_call=f'submit() again finds it if it is there; ws.job("{name}").cancel() ends it',
        clock=client.clock,
        notify=client.notify,
    )
    submitted = settle(partial(submit_pipeline, client, job), partial(_find, client, name), change)
    if not isinstance(submitted, Submitted):
        return submitted
    client.notify(Created(resource=f"job {name}"))
    return FinetuneJob(
        name=name,
        status=submitted.status,
        display_name=plan.display_name,
        experiment=plan.experiment,
        description=finetune.settings.description,
        tags={key: str(value) for key, value in (job.tags or {}).items()},
        base_model=plan.model_id,
        studio_url=submitted.studio_url,
        client=client,
    )


def _pipeline(
    finetune: Finetune, plan: FinetunePlan, client: Client, name: str, intent: dict[str, Any]
) -> PipelineJob:
    """The job to submit, its files in the workspace's store."""
    from phi_finetune._azure.jobs import build_pipeline
    from phi_finetune._azure.registry import find_component

    for warning in plan.warnings:
        client.notify(Warned(resource=f"job {name}", message=warning))
    upload_files(client, plan.files.values())
    inputs = plan.parameters.as_component_inputs()
    addresses = {key: str(inputs.pop(key)) for key in tuple(inputs) if _is_file(plan, key)}
    settings = finetune.settings
    return build_pipeline(
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
        for compute in dict.fromkeys(computes.by_step().values())
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
