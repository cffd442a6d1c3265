"""Code that knows nothing of phi-finetune, plain azure-ai-ml, tested on the same fake Azure."""

from __future__ import annotations

from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute, ManagedOnlineEndpoint
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from phi_finetune.testing import FakeAzure


def prepare(client: MLClient) -> None:
    """The code under test: a cluster and an endpoint, each only where there is none yet."""
    try:
        client.compute.get("gpu")
    except ResourceNotFoundError:
        cluster = AmlCompute(name="gpu", size="Standard_NC24ads_A100_v4", max_instances=2)
        client.compute.begin_create_or_update(cluster).result()
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-support")).result()


def main(azure: FakeAzure) -> None:
    """What a test of prepare() would do and look at."""
    prepare(azure.ml_client())
    print("clusters: ", *azure.computes, "endpoints:", *azure.endpoints)
    print("writes:   ", sum(entry.method == "PUT" for entry in azure.journal))
    azure.reserve_endpoint_name("phi-taken")
    try:
        wanted = ManagedOnlineEndpoint(name="phi-taken")
        azure.ml_client().online_endpoints.begin_create_or_update(wanted).result()
    except HttpResponseError as error:
        print("refused:  ", "already an endpoint with this name" in str(error))
    azure.ml_client().online_endpoints.begin_delete("phi-support").result()


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
