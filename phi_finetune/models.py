"""Foundation models: what the registry says of one, and what may be done with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune import _tags
from phi_finetune._handles import WithoutHandle, kept
from phi_finetune.catalog import this_machine
from phi_finetune.errors import InvalidParameter, ModelRetired, SizeNotAllowed

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.chat_dataset import ChatDataset
    from phi_finetune.finetune import Finetune

__all__ = ["FoundationModel"]

CHAT = "chat-completion"
_ASSET_ID = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+)|/labels/latest)?"
)
_SHORT_ID = re.compile(r"(?:azureml:)?(?P<name>[^/:]+):(?P<version>[^/:]+)")


@attrs.frozen(slots=False)
class FoundationModel(WithoutHandle):
    """A model of a registry's catalogue, with what it permits.

    Its facts come from the registry's answer, in whichever of three generations it keeps them: in tags (2024), in
    tags, properties and system metadata (June 2026), or in system metadata alone (July 2026).

    Attributes:
        name: Its name in the registry.
        version: Its version.
        registry: The registry.
        tasks: The fine-tuning tasks it is made for; this library does ``chat-completion``.
        finetune_sizes: Machine sizes that it may be fine-tuned on; empty where the registry names none.
        inference_sizes: Machine sizes that it may be deployed on; empty where the registry names none.
        defaults: Its own default parameters for the pipeline. They may hold keys that the pipeline does not
            declare (``learning_rate_min``): bounds, which are never sent.
        context_length: The most tokens that a conversation may have; None where the registry does not say.
        archived: Whether the registry has taken it out of its lists.
        finetune_retires_on: The day from which it can't be fine-tuned; None if no day is set.
        inference_retires_on: The day from which it can't be deployed; None if no day is set.
        successor: The model to use in its place, where one is known.
        license: The licence it comes under; None where the registry does not say.
        pinned: Whether its version was named by whoever looked it up, rather than being the latest.
    """

    name: str
    version: str
    registry: str
    tasks: tuple[str, ...] = ()
    finetune_sizes: tuple[str, ...] = ()
    inference_sizes: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    context_length: int | None = None
    archived: bool = False
    finetune_retires_on: date | None = None
    inference_retires_on: date | None = None
    successor: str | None = None
    license: str | None = None
    pinned: bool = False
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    @property
    def id(self) -> str:
        """Its asset id."""
        return f"azureml://registries/{self.registry}/models/{self.name}/versions/{self.version}"

    @property
    def resource(self) -> str:
        """How errors and events name it."""
        return f"model {self.name}:{self.version} in registry {self.registry}"

    def finetune(self, data: ChatDataset) -> Finetune:
        """Begin to put a fine-tune together. Nothing is sent before ``submit()``.

        Raises:
            ModelRetired: The model may no longer be fine-tuned; the error names its successor.
            InvalidParameter: The model is not one for chat completion.
        """
        from phi_finetune.finetune import Finetune

        self.check_finetunable()
        return Finetune(model=self, data=data, client=self._client)

    def check_finetunable(self, today: date | None = None) -> None:
        """Refuse a model that may no longer be fine-tuned, or never could.

        Args:
            today: The day to judge by; None is today, in UTC.

        Raises:
            ModelRetired: Its day is past, or the registry has archived it; the error names its successor.
            InvalidParameter: The registry lists it for other tasks.
        """
        retires_on = self.finetune_retires_on
        retired = retires_on is not None and (today or datetime.now(UTC).date()) >= retires_on
        if retired or self.archived:
            raise ModelRetired(
                f"Model {self.name}:{self.version} may no longer be fine-tuned",
                resource=self.resource,
                why=f"it retired on {retires_on}" if retired else "the registry has archived it",
                next_call=f'use its successor: ws.foundation_model("{self.successor}")'
                if self.successor
                else "ws.foundation_models() lists the models that are live",
                successor=self.successor,
            )
        if self.tasks and CHAT not in self.tasks:
            raise InvalidParameter(
                f"Model {self.name} cannot be fine-tuned for chat",
                resource=self.resource,
                why=f"the registry lists it for {', '.join(self.tasks)}",
                name="model",
                value=self.name,
                allowed=f"a model whose tasks hold {CHAT}",
                next_call="ws.foundation_models() lists what there is",
            )

    def check_finetune_size(self, size: str) -> None:
        """Refuse a machine size that the model does not permit for fine-tuning.

        Raises:
            SizeNotAllowed: With the sizes that it permits.
        """
        self._check_size("fine-tuned", size, self.finetune_sizes)

    def check_inference_size(self, size: str) -> None:
        """Refuse a machine size that the model does not permit for inference.

        Raises:
            SizeNotAllowed: With the sizes that it permits.
        """
        self._check_size("deployed", size, self.inference_sizes)

    def _check_size(self, verb: str, size: str, allowed: tuple[str, ...]) -> None:
        # Allow lists spell sizes in the catalogue's case, Azure answers in upper case: case says nothing.
        if not allowed or size == this_machine.NAME or size.lower() in {name.lower() for name in allowed}:
            return
        raise SizeNotAllowed(
            f"Model {self.name}:{self.version} may not be {verb} on {size}",
            resource=self.resource,
            why=f"it permits {', '.join(allowed)}",
            next_call="take one of these sizes; ws.gpu_skus() says which your region offers",
            size=size,
            allowed=allowed,
        )


def look_up(client: Client, name: str, *, version: str | None, registry: str) -> FoundationModel:
    """Look a model up; see :meth:`phi_finetune.Workspace.foundation_model`."""
    from phi_finetune._azure.registry import find_model

    found = _ASSET_ID.fullmatch(name) or _SHORT_ID.fullmatch(name)
    if found is not None:
        parts = found.groupdict()
        registry, name, version = (
            parts.get("registry") or registry,
            parts["name"],
            parts["version"] or version,
        )
    body = find_model(client, registry, name, version)
    return from_registry(body, registry, client, pinned=version is not None)


def from_registry(body: Mapping[str, Any], registry: str, client: Client, *, pinned: bool) -> FoundationModel:
    """A foundation model from a registry's answer about one version."""
    from phi_finetune._azure.paths import required
    from phi_finetune.catalog import successors

    properties: Mapping[str, Any] = body.get("properties") or {}
    name, _, version = (
        str(required(body, "id", f"model in registry {registry}"))
        .rpartition("/models/")[2]
        .partition("/versions/")
    )
    facts = _Facts(
        tags=properties.get("tags") or {},
        notes=properties.get("properties") or {},
        system=properties.get("system_metadata") or properties.get("systemMetadata") or {},
    )
    known = successors.find(name)
    return FoundationModel(
        name=name,
        version=version,
        registry=registry,
        tasks=facts.tasks(),
        finetune_sizes=facts.sizes("finetune"),
        inference_sizes=facts.sizes("inference"),
        defaults=facts.defaults(),
        context_length=facts.context_length(),
        archived=bool(properties.get("isArchived")),
        finetune_retires_on=facts.day("FinetuneRetirementDate"),
        inference_retires_on=facts.day("InferenceRetirementDate"),
        successor=known.fine_tuning if known else None,
        license=facts.license(),
        pinned=pinned,
        client=client,
    )


@attrs.frozen
class _Facts:
    """The three places where the registry keeps a model's facts."""

    tags: Mapping[str, Any]
    notes: Mapping[str, Any]
    system: Mapping[str, Any]

    def sizes(self, use: str) -> tuple[str, ...]:
        computes = (self.system.get("supportedComputes") or {}).get(f"{use}Computes")
        recommended = (self.system.get("SKU") or {}).get(f"{use}RecommendedSkus")
        tag = self.tags.get(f"{use}_compute_allow_list")
        note = self.notes.get(f"{use}-recommended-sku")
        return _first_names(computes, tag, recommended, note)

    def tasks(self) -> tuple[str, ...]:
        listed = (self.system.get("tasks") or {}).get("fineTuningTasks")
        return _first_names(listed, self.notes.get("finetuning-tasks"))

    def defaults(self) -> Mapping[str, Any]:
        value = self.tags.get("model_specific_defaults") or self.system.get("modelSpecificDefaults")
        parsed = _parsed(value)
        return parsed if isinstance(parsed, Mapping) else {}

    def context_length(self) -> int | None:
        text = str(self.system.get("textContextWindow") or self.tags.get("textContextWindow") or "")
        return int(text) if text.isdecimal() else None

    def license(self) -> str | None:
        value = self.system.get("license") or self.tags.get("license")
        return str(value) if value else None

    def day(self, key: str) -> date | None:
        camel = key[0].lower() + key[1:]
        text = (self.system.get("deprecation") or {}).get(camel) or self.tags.get(key) or self.notes.get(key)
        return date.fromisoformat(str(text)[:10]) if text else None


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return _tags.parse_literal(value)
    except ValueError:
        return None


def _first_names(*places: object) -> tuple[str, ...]:
    for place in places:
        names = _names(place)
        if names:
            return names
    return ()


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            return tuple(_tags.parse_names(value))
        except ValueError:
            return ()
    return tuple(str(item) for item in value) if isinstance(value, Iterable) else ()
