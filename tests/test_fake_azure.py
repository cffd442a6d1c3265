from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute, ManagedOnlineEndpoint
from azure.ai.ml.operations._run_history_constants import RunHistoryConstants
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from requests.adapters import HTTPAdapter

from phi_finetune.testing import FakeAzure, UnknownRoute, UnmetFault
from phi_finetune.testing.faults import Answer, DeploymentFails

pytest_plugins = ["pytester"]

ARM_SCOPE = "https://management.azure.com/.default"
VARIABLES = ("AZUREML_RUN_POLLING_INTERVAL_MIN", "AZUREML_RUN_POLLING_INTERVAL_MAX")


def ask(azure: FakeAzure, path: str) -> requests.Response:
    """Send a request with the fake's token to Azure Resource Manager."""
    headers = {"Authorization": f"Bearer {azure.credential.get_token(ARM_SCOPE).token}"}
    url = f"https://management.azure.com{path}?api-version=2024-10-01"
    return requests.get(url, headers=headers, timeout=5)


def outside(code: str) -> str:
    """Run code in a Python of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def pauses() -> tuple[object, object]:
    """How long azure-ai-ml would wait between two looks at a job, at least and at most."""
    constants = RunHistoryConstants
    return (
        constants._WAIT_COMPLETION_POLLING_INTERVAL_MIN,
        constants._WAIT_COMPLETION_POLLING_INTERVAL_MAX,
    )


# What it holds


def test_a_fresh_fake_is_empty() -> None:
    """Nothing is there that was not made."""
    azure = FakeAzure()
    assert (azure.endpoints, azure.computes, azure.jobs, azure.models) == ({}, {}, {}, {})
    assert len(azure.journal) == 0


def test_settings_are_taken() -> None:
    """Region, group, workspace and start are those that were asked for."""
    start = datetime(2026, 8, 1, tzinfo=UTC)
    azure = FakeAzure(region="westus3", resource_group="group", workspace="place", start=start)
    assert (azure.region, azure.resource_group, azure.workspace_name) == ("westus3", "group", "place")
    assert azure.clock.now() == start


def test_fakes_differ_unless_they_have_one_seed() -> None:
    """Identifiers are drawn anew for each fake, and alike from one seed."""

    def identity(azure: FakeAzure) -> tuple[str, ...]:
        return azure.subscription_id, azure.tenant_id, azure.client_id, azure.client_secret

    assert identity(FakeAzure(seed=1)) == identity(FakeAzure(seed=1))
    assert not set(identity(FakeAzure())) & set(identity(FakeAzure()))


def test_what_a_client_makes_can_be_looked_at(fake: FakeAzure) -> None:
    """State is there by name, for assertions, and cannot be changed."""
    client = fake.ml_client()
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    cluster = AmlCompute(name="gpu", size="Standard_NC24ads_A100_v4", max_instances=2)
    client.compute.begin_create_or_update(cluster).result()
    assert fake.endpoints["phi-test"].provisioning_state == "Succeeded"
    assert fake.computes["gpu"].nodes.current == 0
    with pytest.raises(TypeError):
        fake.endpoints["mine"] = fake.endpoints["phi-test"]  # type: ignore[index]


def test_the_journal_has_every_request(fake: FakeAzure) -> None:
    """Method, URL, status and time of each request, in order."""
    ask(fake, fake.cloud.workspace.id)
    fake.clock.advance(timedelta(hours=1))
    ask(fake, f"{fake.cloud.workspace.id}/onlineEndpoints/nobody")
    first, second = fake.journal
    assert (first.method, first.status, second.status) == ("GET", 200, 404)
    assert "/onlineEndpoints/nobody?" in second.url
    assert second.when - first.when == timedelta(hours=1)


def test_a_reserved_name_is_somebody_elses(fake: FakeAzure) -> None:
    """An endpoint's name can be made to belong to another subscription."""
    fake.reserve_endpoint_name("phi-test")
    with pytest.raises(HttpResponseError, match="There is already an endpoint with this name"):
        fake.ml_client().online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test"))


@pytest.fixture
def fake() -> Any:
    """An open fake."""
    with FakeAzure() as azure:
        yield azure


# Clients


def test_clients_connect_to_the_fake(fake: FakeAzure) -> None:
    """A workspace of ours and an MLClient ask the fake, and send nothing before they are used."""
    workspace, client = fake.workspace(), fake.ml_client()
    assert len(fake.journal) == 0
    assert (workspace.subscription_id, workspace.name) == (fake.subscription_id, "phi-lab")
    assert workspace.endpoints() == ()
    assert list(client.online_endpoints.list()) == []


def test_a_client_of_a_registry_looks_it_up(fake: FakeAzure) -> None:
    """An MLClient for a registry finds the registry's models."""
    assert fake.ml_client(registry_name="azureml").models.get("Phi-4", label="latest").name == "Phi-4"


def test_a_config_leads_to_the_workspace(fake: FakeAzure, tmp_path: Path) -> None:
    """The file is the one that a client looks for."""
    path = fake.config_json(tmp_path)
    client = MLClient.from_config(fake.credential, path=path)
    assert json.loads(path.read_text())["subscription_id"] == fake.subscription_id
    assert (client.workspace_name, list(client.online_endpoints.list())) == ("phi-lab", [])


def test_a_clients_pauses_pass_on_the_fakes_clock(fake: FakeAzure) -> None:
    """The client waits before it sends again, as long as it was told, and nobody sleeps."""
    fake.faults.next(Answer("GET */onlineEndpoints", 503, headers={"Retry-After": "7"}), times=2)
    started, before = time.monotonic(), fake.clock.now()
    assert list(fake.ml_client().online_endpoints.list()) == []
    assert fake.clock.now() - before == timedelta(seconds=14)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("make", [FakeAzure.workspace, FakeAzure.ml_client])
def test_no_client_is_made_outside_the_block(make: Callable[[FakeAzure], object]) -> None:
    """Its requests would go to the real Azure."""
    azure = FakeAzure()
    with pytest.raises(RuntimeError, match="is not open"):
        make(azure)
    with azure:
        pass
    with pytest.raises(RuntimeError, match="is not open"):
        make(azure)


# The credential


def test_the_credential_satisfies_azures_protocols() -> None:
    """Any client of Azure's takes it, whichever of the two methods it calls."""
    credential = FakeAzure().credential
    assert isinstance(credential, TokenCredential)
    assert isinstance(credential, SupportsTokenInfo)


def test_the_credential_counts_what_it_was_asked(fake: FakeAzure) -> None:
    """Each call notes its scope."""
    fake.credential.get_token("https://ml.azure.com/.default")
    fake.credential.get_token_info(ARM_SCOPE, options={"enable_cae": True})
    assert fake.credential.requested == ["https://ml.azure.com/.default", ARM_SCOPE]


def test_the_credential_can_be_closed(fake: FakeAzure) -> None:
    """It is a context, as azure-core's protocol asks, and stays good."""
    with fake.credential as credential:
        credential.close()
    assert credential.get_token(ARM_SCOPE).token


def test_the_credential_gives_a_token_for_one_scope() -> None:
    """A token has one audience."""
    with pytest.raises(ValueError, match="one scope"):
        FakeAzure().credential.get_token(ARM_SCOPE, "https://ml.azure.com/.default")


def test_a_long_virtual_day_does_not_outlive_a_clients_token(fake: FakeAzure) -> None:
    """A client keeps its token on the machine's clock, and has a good one after ten hours of the fake's."""
    client = fake.ml_client()
    for _ in range(3):
        assert list(client.online_endpoints.list()) == []
        fake.clock.advance(timedelta(hours=10))


# Entering and leaving


def test_a_fake_is_entered_once() -> None:
    """Entering it twice is an error, inside and afterwards, and the first block goes on."""
    azure = FakeAzure()
    with azure:
        with pytest.raises(RuntimeError, match="entered before"):
            azure.__enter__()
        assert ask(azure, azure.cloud.workspace.id).status_code == 200
    with pytest.raises(RuntimeError, match="entered before"):
        azure.__enter__()


def test_after_the_block_nothing_is_patched() -> None:
    """Requests, the environment and azure-ai-ml are as they were, also after an error."""
    before = HTTPAdapter.send, dict(os.environ), pauses()
    with pytest.raises(ZeroDivisionError), FakeAzure():
        raise ZeroDivisionError
    assert (HTTPAdapter.send, dict(os.environ), pauses()) == before


def test_an_unknown_route_fails_the_block() -> None:
    """The request is answered with 501, which no client sends again, and the block ends with its name."""
    with (
        pytest.raises(UnknownRoute, match=r"no route for GET https://.*/batchEndpoints"),
        FakeAzure() as azure,
    ):
        assert ask(azure, f"{azure.cloud.workspace.id}/batchEndpoints").status_code == 501
    assert issubclass(UnknownRoute, AssertionError)


def test_a_fault_that_was_never_met_fails_the_block() -> None:
    """A test that queues a fault must meet it."""
    with pytest.raises(UnmetFault, match="DeploymentFails"), FakeAzure() as azure:
        azure.faults.next(DeploymentFails())
    assert issubclass(UnmetFault, AssertionError)


def misuse(error: Exception | None = None) -> None:
    """Open a fake, give it both causes to complain, and raise an error inside."""
    with FakeAzure() as azure:
        azure.faults.next(DeploymentFails())
        ask(azure, f"{azure.cloud.workspace.id}/batchEndpoints")
        if error:
            raise error


def test_both_complaints_are_told() -> None:
    """The second one is a note on the first."""
    with pytest.raises(UnknownRoute) as raised:
        misuse()
    assert any("DeploymentFails" in note for note in raised.value.__notes__)


def test_an_error_in_the_block_is_not_hidden() -> None:
    """The complaints become notes on the error that is under way."""
    with pytest.raises(ZeroDivisionError) as raised:
        misuse(ZeroDivisionError())
    notes = "\n".join(raised.value.__notes__)
    assert "batchEndpoints" in notes
    assert "DeploymentFails" in notes


def test_a_faults_answer_is_met_by_a_real_client(fake: FakeAzure) -> None:
    """A queued answer comes once, in place of the route's own."""
    fake.faults.next(Answer("GET */onlineEndpoints", 403, "AuthorizationFailed", "You may not."))
    client = fake.ml_client()
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        list(client.online_endpoints.list())
    assert list(client.online_endpoints.list()) == []


# Several at once


def test_two_fakes_see_their_own_requests_only() -> None:
    """Two real clients side by side each reach the fake of their credential."""
    with FakeAzure() as one, FakeAzure() as two:
        one.ml_client().online_endpoints.begin_create_or_update(
            ManagedOnlineEndpoint(name="phi-test")
        ).result()
        assert list(two.ml_client().online_endpoints.list()) == []
        assert (len(one.endpoints), len(two.endpoints)) == (1, 0)
        assert not {entry.url for entry in one.journal} & {entry.url for entry in two.journal}


def test_a_client_of_a_closed_fake_is_refused(fake: FakeAzure) -> None:
    """While another fake is open, the closed one's client gets an error that names the host."""
    with FakeAzure() as closed:
        client = closed.ml_client()
    with pytest.raises(ServiceRequestError, match=r"management\.azure\.com was not sent"):
        list(client.online_endpoints.list())


def test_eight_fakes_in_eight_threads_stay_apart() -> None:
    """Each thread opens its own fake and finds what it made itself, and nothing else."""

    def lifecycle(number: int) -> list[str]:
        with FakeAzure() as azure:
            endpoints = azure.ml_client().online_endpoints
            endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=f"phi-{number}")).result()
            return [endpoint.name for endpoint in endpoints.list()]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lifecycle, range(8))) == [[f"phi-{number}"] for number in range(8)]
    assert pauses() != (0, 0)


# Streaming


def test_streaming_does_not_pause_while_any_fake_is_open() -> None:
    """The pauses are gone for the first fake, and come back after the last, whichever that is."""
    before = pauses()
    first, second = FakeAzure(), FakeAzure()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert pauses() == (0, 0)
    assert [os.environ[name] for name in VARIABLES] == ["0", "0"]
    second.__exit__(None, None, None)
    assert pauses() == before
    assert not any(name in os.environ for name in VARIABLES)


def test_an_import_within_the_block_leaves_no_trace() -> None:
    """azure-ai-ml imported while a fake is open has no pauses then; later it has those of the environment."""
    code = """
    import os
    os.environ["AZUREML_RUN_POLLING_INTERVAL_MIN"] = "7"
    from phi_finetune.testing import FakeAzure
    def show():
        from azure.ai.ml.operations._run_history_constants import RunHistoryConstants as constants
        print(
            constants._WAIT_COMPLETION_POLLING_INTERVAL_MIN,
            constants._WAIT_COMPLETION_POLLING_INTERVAL_MAX,
        )
    with FakeAzure():
        show()
    show()
    """
    assert outside(code).splitlines() == ["0 0", "7 60"]


# The plugin


def test_the_plugin_loads_nothing_heavy() -> None:
    """pytest loads the plugin in every run, so it must cost little; a fake needs no extra either."""
    code = """
    import sys
    import phi_finetune.testing.plugin
    from phi_finetune.testing import FakeAzure
    with FakeAzure():
        pass
    heavy = {"azure", "datasets", "mlflow", "msal", "pandas", "torch"}
    print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
    """
    assert outside(code).strip() == "[]"


def test_the_fixtures_give_an_open_fake_and_its_workspace(pytester: pytest.Pytester) -> None:
    """``fake_azure`` is open during the test, ``workspace`` is connected to it, and complaints fail the test."""
    pytester.makepyfile(
        """
        from phi_finetune.testing.faults import DeploymentFails

        def test_good(fake_azure, workspace):
            assert workspace.subscription_id == fake_azure.subscription_id
            assert workspace.endpoints() == ()

        def test_unmet(fake_azure):
            fake_azure.faults.next(DeploymentFails())
        """
    )
    # The entry point is there only where the project is installed.
    result = pytester.runpytest("-p", "no:phi_finetune", "-p", "phi_finetune.testing.plugin")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*UnmetFault: queued and never met: DeploymentFails*"])
