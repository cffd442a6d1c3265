"""Several ways of signing in, one after the other: which one wins, and what is said where none does."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from entra import AUTHORITY, CLIENT, IMDS, TENANT, Entra
from signing_in import (
    ARM,
    SIGNED_OUT,
    AzCommand,
    Broken,
    Constant,
    OwnPolicy,
    PersonsBrowser,
    bare_machine,
    failure,
    screen,
)

from phi_finetune.credentials import (
    AzureCli,
    Browser,
    Chain,
    DefaultCredentials,
    DeviceCode,
    Given,
    ManagedIdentity,
)
from phi_finetune.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare_machine(monkeypatch, tmp_path)


@pytest.fixture
def az(tmp_path: Path) -> AzCommand:
    """The Azure CLI."""
    return AzCommand(tmp_path)


@pytest.fixture
def entra() -> Entra:
    """Entra ID."""
    return Entra()


def test_a_chain_says_which_link_won(az: AzCommand, entra: Entra) -> None:
    """The links are tried in order; the credential tells who failed, why, and who won."""
    az.gives("cli-token")
    credential = Chain(ManagedIdentity(), AzureCli(), Given(Constant())).credential(entra.transport)
    assert credential.get_token(ARM).token == "cli-token"
    lost, won = credential.attempts
    assert (lost.name, won.name, won.error) == ("ManagedIdentity", "AzureCli", None)
    assert "unavailable" in (lost.error or "")
    assert lost.took_s >= 0
    assert re.fullmatch(r"AzureCli, \d+\.\d s: gave a token", str(won))


def test_a_chain_takes_any_policy() -> None:
    """A user's own policy is a link like the others."""
    credential = Chain(DeviceCode(), OwnPolicy()).credential()
    assert credential.get_token(ARM).token == "constant"
    assert [attempt.name for attempt in credential.attempts] == ["DeviceCode", "OwnPolicy"]


def test_a_chain_in_a_chain_tells_all_its_links() -> None:
    """The links of an inner chain that won are told one by one."""
    credential = Chain(Browser(), Chain(DeviceCode(), OwnPolicy())).credential()
    assert [attempt.name for attempt in credential.attempts] == ["Browser", "DeviceCode", "OwnPolicy"]


def test_a_chain_that_fails_lists_every_link(az: AzCommand, entra: Entra) -> None:
    """The error has a line for each link, with its time and what to do, and the first of those as its own."""
    az.does(SIGNED_OUT)
    error = failure(Chain(AzureCli(), Given(Broken()), DeviceCode()), entra)
    lines = str(error).splitlines()
    assert lines[0] == "No credential gave a token for Azure: 3 were tried"
    assert re.fullmatch(
        r"  AzureCli, \d+\.\d s: Please run 'az login'.* \(next: az login --use-device-code\)", lines[1]
    )
    assert re.fullmatch(r"  Given, \d+\.\d s: the source refused.*", lines[2])
    assert re.fullmatch(r"  DeviceCode, \d+\.\d s: .* \(next: pass on_prompt=print\)", lines[3])
    assert error.next_call == "az login --use-device-code"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_chain_has_a_link() -> None:
    """An empty chain is refused when it is built."""
    with pytest.raises(ConfigurationError, match="no link"):
        Chain()


def test_the_default_finds_the_cli_login(az: AzCommand, entra: Entra) -> None:
    """Azure's own chain is gone through link by link, each told with its time."""
    az.gives("cli-token")
    credential = DefaultCredentials().credential(entra.transport)
    assert credential.get_token(ARM).token == "cli-token"
    names = [attempt.name for attempt in credential.attempts]
    assert names[:3] == ["EnvironmentCredential", "WorkloadIdentityCredential", "ManagedIdentityCredential"]
    assert names[-1] == "AzureCliCredential"
    assert [bool(attempt.error) for attempt in credential.attempts] == [True] * (len(names) - 1) + [False]
    assert len(az.calls) == 1


def test_the_default_asks_for_the_tenant(az: AzCommand, entra: Entra) -> None:
    """tenant_id is named with each token, also to the links that azure-identity can't be told it for."""
    az.gives("cli-token")
    credential = DefaultCredentials(tenant_id=TENANT).credential(entra.transport)
    credential.get_token("https://ml.azure.com/.default")
    assert [call.rpartition(" ")[2] for call in az.calls] == [TENANT, TENANT]


def test_the_default_finds_a_managed_identity(
    az: AzCommand, entra: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Azure ML's clusters the identity is the one that they name, and the CLI is not asked."""
    monkeypatch.setenv("DEFAULT_IDENTITY_CLIENT_ID", CLIENT)
    entra.identities.add(IMDS)
    az.gives("cli-token")
    credential = DefaultCredentials().credential(entra.transport)
    assert credential.attempts[-1].name == "ManagedIdentityCredential"
    assert entra.seen[-1][1]["client_id"] == CLIENT
    assert az.calls == []


@pytest.fixture
def _application(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names an application and its secret."""
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "canary")


@pytest.mark.usefixtures("_application")
def test_the_default_takes_the_application_of_the_environment(entra: Entra) -> None:
    """A service principal in the environment signs in, and forgetting its token fetches another."""
    credential = DefaultCredentials().credential(entra.transport)
    credential.forget(ARM)
    assert credential.get_token(ARM).token == "token-2"
    assert [attempt.name for attempt in credential.attempts] == ["EnvironmentCredential"]


@pytest.mark.usefixtures("_application")
def test_the_default_takes_the_application_to_another_tenant(entra: Entra) -> None:
    """tenant_id overrules the environment's tenant, for an application that is known in both."""
    other = "33333333-3333-4333-8333-333333333333"
    DefaultCredentials(tenant_id=other).credential(entra.transport)
    assert entra.seen[0][1]["tenant"] == other


@pytest.mark.usefixtures("_application")
def test_a_refused_application_is_not_replaced_by_a_person(az: AzCommand, entra: Entra) -> None:
    """Where the environment's application is refused, nobody else's account is used in its place."""
    az.gives("cli-token")
    entra.refusal = (401, {"error": "invalid_client", "error_description": "AADSTS7000222: expired"})
    error = failure(DefaultCredentials(), entra)
    assert "AADSTS7000222: expired" in str(error)
    assert "AZURE_CLIENT_ID" in (error.next_call or "")
    assert az.calls == []


def test_the_default_takes_the_federation_of_the_environment(
    az: AzCommand, entra: Entra, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pod whose federation is refused does not work on under the node's or a person's name."""
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"https://{AUTHORITY}/")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "missing"))
    az.gives("cli-token")
    assert failure(DefaultCredentials(), entra).resource == "WorkloadIdentityCredential"
    assert az.calls == []


def test_the_default_opens_a_browser_where_one_can_open(
    entra: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Azure's chain comes a person, in a browser."""
    screen(monkeypatch, PersonsBrowser())
    credential = DefaultCredentials().credential(entra.transport)
    assert credential.attempts[-1].name == "Browser"


def test_the_default_shows_a_code_where_no_browser_can_open(entra: Entra) -> None:
    """Without a screen, and with somebody to show it to, the code comes last."""
    prompts: list[str] = []
    credential = DefaultCredentials(on_prompt=prompts.append).credential(entra.transport)
    assert [attempt.name for attempt in credential.attempts[-2:]] == ["Browser", "DeviceCode"]
    assert len(prompts) == 1


def test_the_default_fails_with_the_way_out(entra: Entra) -> None:
    """On a bare machine the error lists every link, and the command to run comes next."""
    error = failure(DefaultCredentials(), entra)
    assert error.next_call == "az login --use-device-code"
    for link in ("EnvironmentCredential", "AzureCliCredential", "Browser", "DeviceCode"):
        assert re.search(rf"^  {link}, \d+\.\d s: ", str(error), re.MULTILINE)


def test_settings_that_azure_identity_refuses_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt AZURE_TOKEN_CREDENTIALS is an error of signing in, with azure-identity's words."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredentials")
    error = failure(DefaultCredentials())
    assert "AZURE_TOKEN_CREDENTIALS" in (error.why or "")
    assert "unset" in (error.next_call or "")


def test_signing_in_writes_nothing() -> None:
    """A failed sign-in prints nothing, though azure-identity logs each failure; importing loads no azure."""
    code = """
import sys
from phi_finetune.credentials import DefaultCredentials
from phi_finetune.errors import AuthenticationFailed
assert "azure" not in sys.modules
try:
    DefaultCredentials().credential()
except AuthenticationFailed:
    sys.exit(3)
"""
    environment = {**os.environ, "AZURE_TOKEN_CREDENTIALS": "AzureCliCredential"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
