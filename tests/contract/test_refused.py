"""What stays out: the real client is answered with 501, which says what is not emulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import Input, automl, command, spark
from azure.ai.ml.data_transfer import Database
from azure.ai.ml.entities import (
    AzureBlobDatastore,
    AzureMLOnlineInferencingServer,
    BatchEndpoint,
    ComputeInstance,
    DataColumn,
    DataImport,
    DeploymentTemplate,
    FeatureSet,
    FeatureSetSpecification,
    FeatureStore,
    FeatureStoreEntity,
    FqdnDestination,
    Hub,
    Index,
    KubernetesOnlineEndpoint,
    ModelBatchDeployment,
    ModelPackage,
    Project,
    Registry,
    VirtualMachineCompute,
    VirtualMachineSshSettings,
    Workspace,
    WorkspaceConnection,
)
from azure.ai.ml.sweep import Choice
from azure.core.exceptions import AzureError
from service_doors import Door
from watched_client import WatchedClient

# azure-ai-ml 1.35.2 uses marshmallow in ways that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Call = Callable[[WatchedClient], Any]

ENVIRONMENT = "azureml://registries/azureml/environments/sklearn-1.5/versions/1"
FOLDER = "azureml://datastores/workspaceblobstore/paths/folder"
ARM_ID = "/subscriptions/s/resourceGroups/g/providers"
HUB = f"{ARM_ID}/Microsoft.MachineLearningServices/workspaces/hub"
MACHINE = f"{ARM_ID}/Microsoft.Compute/virtualMachines/vm"


def sweep_job() -> Any:
    """A job that tries out values of a parameter."""
    trial = command(
        command="echo ${{inputs.a}}", inputs={"a": 1}, environment=ENVIRONMENT, compute="serverless"
    )
    job = trial(a=Choice([1, 2])).sweep(primary_metric="m", goal="maximize", sampling_algorithm="random")
    job.set_limits(max_total_trials=2)
    job.experiment_name = "contract"
    return job


def automl_job() -> Any:
    """A job in which Azure ML chooses the model."""
    rows = Input(type="mltable", path=FOLDER)
    return automl.classification(
        target_column_name="a", training_data=rows, compute="serverless", experiment_name="contract"
    )


def spark_job() -> Any:
    """A job on Spark."""
    return spark(
        entry={"file": "a.py"},
        code=f"{ARM_ID}/Microsoft.MachineLearningServices/workspaces/w/codes/c/versions/1",
        driver_cores=1,
        driver_memory="2g",
        executor_cores=1,
        executor_memory="2g",
        executor_instances=1,
        resources={"instance_type": "Standard_E8S_V3", "runtime_version": "3.4"},
        experiment_name="contract",
    )


BATCH: Mapping[str, Call] = {
    "batch_endpoints.list": lambda ml: list(ml.batch_endpoints.list()),
    "batch_endpoints.get": lambda ml: ml.batch_endpoints.get("b"),
    "batch_endpoints.begin_create_or_update": lambda ml: ml.batch_endpoints.begin_create_or_update(
        BatchEndpoint(name="batch")
    ),
    "batch_endpoints.begin_delete": lambda ml: ml.batch_endpoints.begin_delete("b"),
    "batch_endpoints.invoke": lambda ml: ml.batch_endpoints.invoke("b"),
    "batch_endpoints.list_jobs": lambda ml: list(ml.batch_endpoints.list_jobs("b")),
    "batch_deployments.list": lambda ml: list(ml.batch_deployments.list("b")),
    "batch_deployments.get": lambda ml: ml.batch_deployments.get("d", "b"),
    "batch_deployments.begin_create_or_update": lambda ml: ml.batch_deployments.begin_create_or_update(
        ModelBatchDeployment(name="d", endpoint_name="b", model="azureml:m:1", compute="c")
    ),
    "batch_deployments.begin_delete": lambda ml: ml.batch_deployments.begin_delete("d", "b"),
    "batch_deployments.list_jobs": lambda ml: list(ml.batch_deployments.list_jobs("b", name="d")),
}

JOBS: Mapping[str, tuple[str, Call]] = {
    "jobs.create_or_update:Sweep": ("Sweep jobs", lambda ml: ml.jobs.create_or_update(sweep_job())),
    "jobs.create_or_update:ClassificationJob": (
        "AutoML jobs",
        lambda ml: ml.jobs.create_or_update(automl_job()),
    ),
    "jobs.create_or_update:Spark": ("Spark jobs", lambda ml: ml.jobs.create_or_update(spark_job())),
    "jobs.begin_delete": ("deletions of jobs", lambda ml: ml.jobs.begin_delete("j")),
    "jobs.show_services": ("services of a running job", lambda ml: ml.jobs.show_services("j")),
}

COMPUTES: Mapping[str, tuple[str, Call]] = {
    "compute.begin_create_or_update:ComputeInstance": (
        "ComputeInstance",
        lambda ml: ml.compute.begin_create_or_update(ComputeInstance(name="ci", size="Standard_DS3_v2")),
    ),
    "compute.begin_attach": (
        "VirtualMachine",
        lambda ml: ml.compute.begin_attach(
            VirtualMachineCompute(
                name="vm",
                resource_id=MACHINE,
                ssh_settings=VirtualMachineSshSettings(admin_username="me", admin_password="secret"),
            )
        ),
    ),
    "compute.begin_start": ("compute instances", lambda ml: ml.compute.begin_start("ci")),
    "compute.begin_stop": ("compute instances", lambda ml: ml.compute.begin_stop("ci")),
    "compute.begin_restart": ("compute instances", lambda ml: ml.compute.begin_restart("ci")),
    "compute.enable_sso": ("compute instances", lambda ml: ml.compute.enable_sso(name="ci")),
}

WORKSPACES: Mapping[str, tuple[str, Call]] = {
    "workspaces.begin_create": (
        "workspaces, hubs, projects",
        lambda ml: ml.workspaces.begin_create(Workspace(name="other", location="eastus")),
    ),
    "workspaces.begin_create:Hub": (
        "workspaces, hubs, projects",
        lambda ml: ml.workspaces.begin_create(Hub(name="other", location="eastus")),
    ),
    "workspaces.begin_create:Project": (
        "workspaces, hubs, projects",
        lambda ml: ml.workspaces.begin_create(Project(name="other", location="eastus", hub_id=HUB)),
    ),
    "workspaces.begin_update": (
        "changes of a workspace",
        lambda ml: ml.workspaces.begin_update(Workspace(name=ml.workspace_name, tags={"a": "b"})),
    ),
    "workspaces.begin_delete": (
        "changes of a workspace",
        lambda ml: ml.workspaces.begin_delete(ml.workspace_name, delete_dependent_resources=False),
    ),
    "workspaces.get_keys": ("keys of a workspace", lambda ml: ml.workspaces.get_keys()),
    "workspaces.begin_sync_keys": ("keys of a workspace", lambda ml: ml.workspaces.begin_sync_keys()),
    "workspaces.begin_diagnose": (
        "diagnoses of a workspace",
        lambda ml: ml.workspaces.begin_diagnose(ml.workspace_name),
    ),
    "workspaces.begin_provision_network": (
        "managed networks",
        lambda ml: ml.workspaces.begin_provision_network(workspace_name=ml.workspace_name),
    ),
    "workspace_outbound_rules.list": (
        "outbound rules",
        lambda ml: list(ml.workspace_outbound_rules.list(ml.workspace_name)),
    ),
    "workspace_outbound_rules.get": (
        "outbound rules",
        lambda ml: ml.workspace_outbound_rules.get(ml.workspace_name, "r"),
    ),
    "workspace_outbound_rules.begin_create": (
        "outbound rules",
        lambda ml: ml.workspace_outbound_rules.begin_create(ml.workspace_name, outbound_rule()),
    ),
    "workspace_outbound_rules.begin_update": (
        "outbound rules",
        lambda ml: ml.workspace_outbound_rules.begin_update(ml.workspace_name, outbound_rule()),
    ),
    "workspace_outbound_rules.begin_remove": (
        "outbound rules",
        lambda ml: ml.workspace_outbound_rules.begin_remove(ml.workspace_name, "r"),
    ),
    "capability_hosts.get": ("capability hosts", lambda ml: ml.capability_hosts.get("h")),
    "capability_hosts.begin_delete": (
        "capability hosts",
        lambda ml: ml.capability_hosts.begin_delete("h"),
    ),
    "connections.list": ("connections", lambda ml: list(ml.connections.list())),
    "connections.get": ("connections", lambda ml: ml.connections.get("c")),
    "connections.delete": ("connections", lambda ml: ml.connections.delete("c")),
    "connections.create_or_update": (
        "connections",
        lambda ml: ml.connections.create_or_update(
            WorkspaceConnection(name="c", type="git", target="https://example.com", credentials=None)
        ),
    ),
    "azure_openai_deployments.list": (
        "connections",
        lambda ml: list(ml.azure_openai_deployments.list("c")),
    ),
    "datastores.create_or_update": (
        "own datastores",
        lambda ml: ml.datastores.create_or_update(
            AzureBlobDatastore(name="mine", account_name="account", container_name="container")
        ),
    ),
    "datastores.delete": ("own datastores", lambda ml: ml.datastores.delete("mine")),
}

REGISTRIES: Mapping[str, tuple[str, Call]] = {
    "registries.list": ("registries", lambda ml: list(ml.registries.list())),
    "registries.get": ("registries", lambda ml: ml.registries.get("azureml")),
    "registries.begin_create": (
        "registries",
        lambda ml: ml.registries.begin_create(
            Registry(name="mine", location="eastus", replication_locations=[])
        ),
    ),
    "registries.begin_delete": ("registries", lambda ml: ml.registries.begin_delete(name="mine")),
}

FEATURES: Mapping[str, tuple[str, Call]] = {
    "feature_stores.begin_create": (
        "feature stores",
        lambda ml: ml.feature_stores.begin_create(FeatureStore(name="fs", location="eastus")),
    ),
    "feature_stores.begin_provision_network": (
        "managed networks",
        lambda ml: ml.feature_stores.begin_provision_network(feature_store_name=ml.workspace_name),
    ),
    "feature_sets.list": ("feature sets", lambda ml: list(ml.feature_sets.list())),
    "feature_sets.get": ("feature sets", lambda ml: ml.feature_sets.get("f", "1")),
    "feature_sets.archive": ("feature sets", lambda ml: ml.feature_sets.archive("f", "1")),
    "feature_sets.restore": ("feature sets", lambda ml: ml.feature_sets.restore("f", "1")),
    "feature_sets.begin_create_or_update": (
        "feature sets",
        lambda ml: ml.feature_sets.begin_create_or_update(feature_set()),
    ),
    "feature_sets.begin_backfill": (
        "feature sets",
        lambda ml: ml.feature_sets.begin_backfill(name="f", version="1", data_status=["None"]),
    ),
    "feature_sets.list_materialization_operations": (
        "feature sets",
        lambda ml: list(ml.feature_sets.list_materialization_operations("f", "1")),
    ),
    "feature_sets.get_feature": (
        "feature sets",
        lambda ml: ml.feature_sets.get_feature("f", "1", feature_name="a"),
    ),
    "feature_sets.list_features": (
        "feature sets",
        lambda ml: list(ml.feature_sets.list_features("f", "1")),
    ),
    "feature_store_entities.list": (
        "feature store entities",
        lambda ml: list(ml.feature_store_entities.list()),
    ),
    "feature_store_entities.get": (
        "feature store entities",
        lambda ml: ml.feature_store_entities.get("e", "1"),
    ),
    "feature_store_entities.archive": (
        "feature store entities",
        lambda ml: ml.feature_store_entities.archive("e", "1"),
    ),
    "feature_store_entities.restore": (
        "feature store entities",
        lambda ml: ml.feature_store_entities.restore("e", "1"),
    ),
    "feature_store_entities.begin_create_or_update": (
        "feature store entities",
        lambda ml: ml.feature_store_entities.begin_create_or_update(
            FeatureStoreEntity(name="e", version="1", index_columns=[DataColumn(name="a", type="string")])
        ),
    ),
}

ENDPOINTS: Mapping[str, tuple[str, Call]] = {
    "online_endpoints.begin_create_or_update:KubernetesOnlineEndpoint": (
        "online endpoints on Kubernetes",
        lambda ml: ml.online_endpoints.begin_create_or_update(
            KubernetesOnlineEndpoint(name="kube", compute="kube")
        ),
    ),
}

ASSETS: Mapping[str, tuple[str, Call]] = {
    "data.import_data": (
        "data_transfer nodes",
        lambda ml: ml.data.import_data(
            DataImport(name="d", path=FOLDER, source=Database(query="select 1", connection="azureml:c"))
        ),
    ),
    "models.package": ("model packages", lambda ml: ml.models.package("m", "1", model_package())),
    "indexes.list": ("indexes", lambda ml: list(ml.indexes.list("i"))),
    "indexes.get": ("indexes", lambda ml: ml.indexes.get("i", version="1")),
    "indexes.create_or_update": (
        "indexes",
        lambda ml: ml.indexes.create_or_update(Index(name="i", version="1", path=FOLDER)),
    ),
    "registry.deployment_templates.list": (
        "deployment templates",
        lambda registry: list(registry.deployment_templates.list()),
    ),
    "registry.deployment_templates.get": (
        "deployment templates",
        lambda registry: registry.deployment_templates.get("t", version="1"),
    ),
    "registry.deployment_templates.archive": (
        "deployment templates",
        lambda registry: registry.deployment_templates.archive("t", version="1"),
    ),
    "registry.deployment_templates.restore": (
        "deployment templates",
        lambda registry: registry.deployment_templates.restore("t", version="1"),
    ),
    "registry.deployment_templates.delete": (
        "deployment templates",
        lambda registry: registry.deployment_templates.delete("t", version="1"),
    ),
    "registry.deployment_templates.create_or_update": (
        "deployment templates",
        lambda registry: registry.deployment_templates.create_or_update(
            DeploymentTemplate(name="t", version="1", environment=ENVIRONMENT)
        ),
    ),
}

SCHEDULES: Mapping[str, Call] = {
    "schedules.list": lambda ml: list(ml.schedules.list()),
    "schedules.get": lambda ml: ml.schedules.get("s"),
    "schedules.begin_delete": lambda ml: ml.schedules.begin_delete("s"),
    "schedules.begin_disable": lambda ml: ml.schedules.begin_disable("s"),
    "schedules.begin_enable": lambda ml: ml.schedules.begin_enable("s"),
    "schedules.trigger": lambda ml: ml.schedules.trigger("s"),
}

REFUSED: Mapping[str, tuple[str, Call]] = {
    **{name: ("batch endpoints", call) for name, call in BATCH.items()},
    **{name: ("schedules", call) for name, call in SCHEDULES.items()},
    **JOBS,
    **COMPUTES,
    **WORKSPACES,
    **REGISTRIES,
    **FEATURES,
    **ENDPOINTS,
    **ASSETS,
}


def outbound_rule() -> FqdnDestination:
    """A rule of a managed network."""
    return FqdnDestination(name="r", destination="example.com")


def feature_set() -> FeatureSet:
    """Features that a specification beside this file describes."""
    specification = FeatureSetSpecification(path=str(Path(__file__).parent / "feature_set"))
    return FeatureSet(name="f", version="1", entities=["azureml:e:1"], specification=specification)


def model_package() -> ModelPackage:
    """A model with its server, to be built as an image."""
    return ModelPackage(target_environment="e", inferencing_server=AzureMLOnlineInferencingServer())


@pytest.mark.parametrize(
    ("name", "what"),
    [
        pytest.param(name, what, marks=pytest.mark.refused(name, what=what), id=name)
        for name, (what, _) in REFUSED.items()
    ],
)
def test_what_stays_out_says_so(
    ml: WatchedClient, registry: WatchedClient, door: Door, name: str, what: str
) -> None:
    """The client raises, the last answer was 501, and what it names as not emulated is remembered."""
    assert door.cloud is not None
    door.cloud.journal.clear()
    with pytest.raises(AzureError):
        REFUSED[name][1](registry if name.startswith("registry.") else ml)
    assert [entry.status for entry in door.cloud.journal][-1] == 501
    assert what in door.cloud.unrouted[-1].partition(" (")[2]
    door.cloud.unrouted.clear()
