from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from watched_client import WatchedClient

PIPELINE = "chat_completion_pipeline"


@pytest.mark.operation("registry.models.get")
def test_get_a_model(registry: WatchedClient) -> None:
    """The latest version is one that can be got by its number, and tells which sizes it can be tuned on."""
    latest = registry.models.get("Phi-4", label="latest")
    assert latest.id == f"azureml://registries/azureml/models/Phi-4/versions/{latest.version}"
    again = registry.models.get("Phi-4", version=latest.version)
    assert (again.id, again.type, again.tags) == (latest.id, latest.type, latest.tags)


@pytest.mark.operation("registry.models.get")
def test_a_missing_model_is_not_found(registry: WatchedClient) -> None:
    """It is a 404, for a version of a name that there is, and for a name that there is not."""
    for name in ("Phi-4", "pf-no-such-model"):
        with pytest.raises(ResourceNotFoundError):
            registry.models.get(name, version="99999")


@pytest.mark.operation("registry.models.list", partial="The registry has the Phi models alone.")
def test_list_models(registry: WatchedClient) -> None:
    """A name's versions are listed, and the name is among all."""
    latest = registry.models.get("Phi-4", label="latest")
    assert latest.version in [one.version for one in registry.models.list("Phi-4")]
    assert "Phi-4" in [one.name for one in registry.models.list()]


@pytest.mark.operation("registry.components.get")
def test_get_a_component(registry: WatchedClient) -> None:
    """A component without a version is the default one, which is the latest (wire.md 3)."""
    latest = registry.components.get(PIPELINE, label="latest")
    assert latest.id == f"azureml://registries/azureml/components/{PIPELINE}/versions/{latest.version}"
    assert {"mlflow_model_path", "train_file_path"} <= set(latest.inputs)
    assert registry.components.get(PIPELINE, version=latest.version).id == latest.id
    assert registry.components.get(PIPELINE).inputs.keys() == latest.inputs.keys()


@pytest.mark.operation("registry.components.get")
def test_a_missing_component_is_not_found(registry: WatchedClient) -> None:
    """It is a 404."""
    with pytest.raises(HttpResponseError) as refused:
        registry.components.get(PIPELINE, version="99.0.0")
    assert refused.value.status_code == 404


@pytest.mark.operation(
    "registry.components.list",
    partial="The registry has the pipeline for chat completion and its steps alone.",
)
def test_list_components(registry: WatchedClient) -> None:
    """A name's versions are listed, and the name is among all."""
    latest = registry.components.get(PIPELINE, label="latest")
    assert latest.version in [one.version for one in registry.components.list(PIPELINE)]
    assert PIPELINE in [one.name for one in registry.components.list()]
