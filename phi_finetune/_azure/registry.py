"""Registries: models by plain REST, the pipeline component by azure-ai-ml's own client."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from phi_finetune._azure.client import PROVIDER, Client
from phi_finetune._azure.paths import required, segment
from phi_finetune._azure.translate import expect
from phi_finetune.errors import ModelRetired, NotFound

__all__ = ["find_component", "find_model", "list_models"]

API = "2021-10-01-dataplanepreview"


def find_model(client: Client, registry: str, name: str, version: str | None) -> dict[str, Any]:
    """A model version as the registry describes it; the latest that is not archived where no version is given.

    "Latest" is the one created last, as for azure-ai-ml, not the highest number; it is read again by its version,
    since the items of the list lack fields (pain point E1 of azure-sdk-for-python pull request 47997).

    Raises:
        NotFound: There is no such model, or no such version.
        ModelRetired: Every version of the model is archived.
    """
    base = _base(client, registry)
    wanted = version or _latest(client, base, registry, name)
    found: dict[str, Any] = client.remember(
        f"model {registry} {name} {wanted}", lambda: _look_up_model(client, base, registry, name, wanted)
    )
    return found


def _look_up_model(client: Client, base: str, registry: str, name: str, version: str) -> dict[str, Any]:
    url = f"{base}/models/{segment(name)}/versions/{segment(version)}"
    answer = client.rest.send("GET", url, query={"api-version": API})
    if answer.status == 404:
        raise _no_model(client, base, registry, name, version)
    return expect(answer, 200, doing="look up the model", resource=_model(registry, name, version)).json()


def list_models(client: Client, registry: str) -> Iterator[str]:
    """The names of a registry's models that are not archived."""
    yield from _names(client, _base(client, registry), registry)


def find_component(client: Client, registry: str, name: str, version: str | None) -> dict[str, Any]:
    """A component version as the registry describes it, the latest where no version is given; asked for once.

    Raises:
        NotFound: There is none of this name or version.
    """
    found: dict[str, Any] = client.remember(
        f"component {registry} {name} {version}", lambda: _look_up_component(client, registry, name, version)
    )
    return found


def _look_up_component(client: Client, registry: str, name: str, version: str | None) -> dict[str, Any]:
    resource = f"component {name}:{version or 'latest'} in registry {registry}"
    url = f"{_base(client, registry)}/components/{segment(name)}/versions"
    if version is not None:
        answer = client.rest.send("GET", f"{url}/{segment(version)}", query={"api-version": API})
        return expect(answer, 200, doing="look up the pipeline component", resource=resource).json()
    query = {"$orderBy": "createdtime desc", "$top": "1", "api-version": API}
    answer = client.rest.send("GET", url, query=query)
    items = expect(answer, 200, doing="look up the pipeline component", resource=resource).json().get("value")
    if items:
        return dict(items[0])
    raise NotFound(
        "Could not find the pipeline component",
        resource=resource,
        why="the registry lists no version of it",
        next_call="check the registry's name",
    )


def _base(client: Client, registry: str) -> str:
    return str(client.remember(f"registry {registry}", lambda: _discover(client, registry)))


def _discover(client: Client, registry: str) -> str:
    resource = f"registry {registry}"
    answer = client.rest.send(
        "GET",
        f"{client.cloud.registry_api}/registrymanagement/v1.0/registries/{segment(registry)}/discovery",
        query={"api-version": "v1.0"},
    )
    next_call = "check the registry's name; a registry of your own needs the role AzureML Registry User"
    body = expect(answer, 200, doing="find the registry", resource=resource, next_call=next_call).json()
    host, subscription, group = (
        str(required(body, key, resource))
        for key in ("primaryRegionResourceProviderUri", "subscriptionId", "resourceGroup")
    )
    return (
        f"{host.rstrip('/')}/mferp/managementfrontend/subscriptions/{subscription}/resourceGroups/{group}"
        f"{PROVIDER}/registries/{registry}"
    )


def _latest(client: Client, base: str, registry: str, name: str) -> str:
    answer = client.rest.send(
        "GET",
        f"{base}/models/{segment(name)}/versions",
        query={"$orderBy": "createdtime desc", "$top": "1", "api-version": API},
    )
    # service.md: an unknown name lists as 200 with nothing in it; other registries answer 404.
    if answer.status == 404:
        raise _no_model(client, base, registry, name, None)
    items = expect(answer, 200, doing="look up the model", resource=_model(registry, name, None)).json()[
        "value"
    ]
    if not items:
        raise _no_model(client, base, registry, name, None)
    return str(required(items[0], "id", f"registry {registry}")).rpartition("/versions/")[2]


def _no_model(
    client: Client, base: str, registry: str, name: str, version: str | None
) -> NotFound | ModelRetired:
    from phi_finetune.catalog import successors

    archived = _archived_versions(client, base, name)
    known = successors.find(name)
    if archived and version is None:
        return ModelRetired(
            f"Model {name} is retired",
            resource=_model(registry, name, None),
            why=f"its versions ({', '.join(archived)}) are all archived",
            next_call=_use_instead(known.fine_tuning if known else None),
            successor=known.fine_tuning if known else None,
        )
    near = get_close_matches(name, list(_names(client, base, registry)), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "ws.foundation_models() lists what there is"
    if archived:
        hint = f"versions that exist: {', '.join(archived)}"
    return NotFound(
        "Could not find the model",
        resource=_model(registry, name, version),
        why="the registry does not have it",
        next_call=hint,
        status_code=404,
    )


def _use_instead(successor: str | None) -> str:
    if successor is None:
        return "ws.foundation_models() lists the models that are live"
    return f'use its successor: ws.foundation_model("{successor}")'


def _archived_versions(client: Client, base: str, name: str) -> list[str]:
    answer = client.rest.send(
        "GET", f"{base}/models/{segment(name)}/versions", query={"listViewType": "All", "api-version": API}
    )
    if answer.status != 200:
        return []
    return [str(item["id"]).rpartition("/versions/")[2] for item in answer.json().get("value", ())]


def _names(client: Client, base: str, registry: str) -> Iterator[str]:
    for page in client.rest.pages(f"{base}/models", query={"listViewType": "ActiveOnly", "api-version": API}):
        answer = expect(page, 200, doing="list the models", resource=f"registry {registry}")
        for item in answer.json().get("value", ()):
            yield str(item.get("name") or str(item["id"]).rpartition("/")[2])


def _model(registry: str, name: str, version: str | None) -> str:
    return f"model {name}:{version or 'latest'} in registry {registry}"
