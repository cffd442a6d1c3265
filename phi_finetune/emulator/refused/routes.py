"""The parts of Azure Machine Learning that stay out, by the addresses that azure-ai-ml 1.35.2 asks.

A request to one is answered with 501, as one to an unknown address is, but the answer says what is missing. A
route of another family goes first, so that a part can be taken in one route at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from phi_finetune.emulator.core.hosts import API, ARM, HISTORY, PROVIDER, WORKSPACE
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.core.router import template

__all__ = ["REFUSED", "Refused", "refused"]

_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
_BELOW = "{below:path}"
_COMPUTE = f"{WORKSPACE}/computes/{{compute}}"
_DATASTORE = f"{WORKSPACE}/datastores/{{datastore}}"
_ANY = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


@dataclass(frozen=True)
class Refused:
    """A part that stays out.

    Attributes:
        what: What is not emulated, in the plural.
        host: The host, as in a route.
        path: The path, as in a route.
        methods: The HTTP methods.
    """

    what: str
    host: str
    path: str
    methods: tuple[str, ...] = _ANY

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return template(self.host, self.path)

    def covers(self, request: Request) -> bool:
        """Whether a request is for this part."""
        found = self._pattern.fullmatch(request.host + request.path)
        return found is not None and request.method in self.methods


REFUSED = (
    Refused("batch endpoints", ARM, f"{WORKSPACE}/batchEndpoints{_BELOW}"),
    Refused("batch endpoints", API, f"/mferp/managementfrontend{WORKSPACE}/batchEndpoints{_BELOW}"),
    Refused("schedules", ARM, f"{WORKSPACE}/schedules{_BELOW}"),
    Refused("feature sets", ARM, f"{WORKSPACE}/featuresets{_BELOW}"),
    Refused("feature store entities", ARM, f"{WORKSPACE}/featurestoreEntities{_BELOW}"),
    # Deployments of Azure OpenAI are found through a connection too.
    Refused("connections of a workspace", ARM, f"{WORKSPACE}/connections{_BELOW}"),
    Refused("capability hosts", ARM, f"{WORKSPACE}/capabilityHosts{_BELOW}"),
    Refused("outbound rules", ARM, f"{WORKSPACE}/outboundRules{_BELOW}"),
    Refused("managed networks", ARM, f"{WORKSPACE}/provisionManagedNetwork", ("POST",)),
    Refused("keys of a workspace", ARM, f"{WORKSPACE}/listKeys", ("POST",)),
    Refused("keys of a workspace", ARM, f"{WORKSPACE}/resyncKeys", ("POST",)),
    Refused("diagnoses of a workspace", ARM, f"{WORKSPACE}/diagnose", ("POST",)),
    Refused("changes of a workspace", ARM, WORKSPACE, ("DELETE", "PATCH", "PUT")),
    # workspaces.begin_create, for hubs, projects and feature stores too, deploys a template.
    Refused(
        "further workspaces, hubs, projects and feature stores",
        ARM,
        f"{_GROUP}/providers/Microsoft.Resources/deployments{_BELOW}",
    ),
    Refused("changes and lists of registries", ARM, f"{_GROUP}{PROVIDER}/registries{_BELOW}"),
    Refused("own datastores", ARM, _DATASTORE, ("DELETE", "PATCH", "PUT")),
    Refused("compute instances", ARM, f"{_COMPUTE}/start", ("POST",)),
    Refused("compute instances", ARM, f"{_COMPUTE}/stop", ("POST",)),
    Refused("compute instances", ARM, f"{_COMPUTE}/restart", ("POST",)),
    Refused("compute instances", ARM, f"{_COMPUTE}/enableSso", ("POST",)),
    Refused("model packages", ARM, f"{WORKSPACE}/models/{{name}}/versions/{{version}}/package", ("POST",)),
    Refused("deletions of jobs", ARM, f"{WORKSPACE}/jobs/{{job}}", ("DELETE",)),
    Refused("services of a running job", API, f"{HISTORY}/runs/{{run}}/serviceinstances{_BELOW}"),
    Refused("indexes", API, f"/genericasset{WORKSPACE}/indexes{_BELOW}"),
    Refused(
        "deployment templates",
        API,
        f"/genericasset/v2.0{_GROUP}{PROVIDER}/registries/{{registry}}/deploymenttemplates{_BELOW}",
    ),
)


def refused(request: Request) -> str | None:
    """What a request without a route asks for, where that stays out on purpose; else None."""
    return next((part.what for part in REFUSED if part.covers(request)), None)
