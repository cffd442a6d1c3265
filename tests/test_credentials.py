"""The credential policies, on the real azure-identity: who signs in, and what is said where nobody can."""

from __future__ import annotations

import pickle
import re
import sys
import webbrowser
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from entra import AUTHORITY, CLIENT, IMDS, TENANT, Entra
from signing_in import (
    ARM,
    SIGNED_OUT,
    AbsentPerson,
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
    ServicePrincipal,
    WorkloadIdentity,
    expected_tenant,
    policy_for,
)
from phi_finetune.errors import ConfigurationError, InvalidParameter
from phi_finetune.protocols import CredentialPolicy

SECRET = "kQ8~canary-of-a-secret"


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


def principal(secret: str = SECRET) -> ServicePrincipal:
    """A service principal with a secret."""
    return ServicePrincipal(tenant_id=TENANT, client_id=CLIENT, client_secret=secret)


def test_the_cli_is_asked_once(az: AzCommand) -> None:
    """AzureCli proves a token for the management API, and that token serves the next caller too."""
    az.gives("cli-token")
    credential = AzureCli().credential()
    assert credential.get_token(ARM).token == "cli-token"
    assert az.calls == ["account get-access-token --output json --resource https://management.azure.com"]
    (attempt,) = credential.attempts
    assert (attempt.name, attempt.error, attempt.took_s > 0) == ("AzureCli", None, True)


def test_the_cli_is_asked_for_a_tenant(az: AzCommand) -> None:
    """tenant_id reaches the command line."""
    az.gives("cli-token")
    AzureCli(tenant_id=TENANT).credential()
    assert az.calls[0].endswith(f"--tenant {TENANT}")


def test_a_signed_out_cli_names_the_login_command(az: AzCommand) -> None:
    """The error says what the CLI said and which command comes next, as it works without a screen."""
    az.does(SIGNED_OUT)
    error = failure(AzureCli(tenant_id=TENANT))
    assert error.why == "Please run 'az login' to set up an account"
    assert error.next_call == f"az login --tenant {TENANT} --use-device-code"


def test_a_missing_cli_is_named() -> None:
    """Without an az on the path the error says so."""
    assert failure(AzureCli()).why == "Azure CLI not found on path"


def test_a_cli_that_hangs_is_given_up(az: AzCommand) -> None:
    """After timeout_s the command is ended, and its answer is not waited for."""
    az.does("exec /bin/sleep 3")
    assert failure(AzureCli(timeout_s=1)).why == "Failed to invoke the Azure CLI"


def test_no_token_of_the_cli_gets_into_an_error(az: AzCommand) -> None:
    """What the CLI prints is quoted without the tokens in it."""
    az.does("""echo '{"accessToken": "canary-1", "refreshToken" : "canary-2", "idToken": "eyJj.eyJh.c"}'""")
    error = failure(AzureCli())
    assert "Unexpected output" in str(error)
    assert not re.search("canary|eyJj", str(error))


def test_a_service_principal_signs_in_with_its_secret(entra: Entra) -> None:
    """The secret goes to Entra ID, in one request, and a token comes back."""
    credential = principal().credential(entra.transport)
    assert credential.get_token(ARM).token == "token-1"
    ((host, fields),) = entra.seen
    assert (host, fields["client_id"], fields["client_secret"]) == (AUTHORITY, CLIENT, SECRET)
    assert ARM in fields["scope"]


def test_a_forgotten_token_comes_from_entra(entra: Entra) -> None:
    """After a refusal the next token is a new one, although azure-identity keeps the old one too."""
    credential = principal().credential(entra.transport)
    credential.forget(ARM)
    assert credential.get_token(ARM).token == "token-2"


def test_the_transport_stays_open(entra: Entra) -> None:
    """A policy does not close the transport that it was lent, whether it works or fails."""
    principal().credential(entra.transport).forget(ARM)
    entra.refusal = (401, {"error": "invalid_client"})
    failure(principal(), entra)
    assert not entra.closed


@pytest.mark.parametrize("status", [401, 408, 429, 500, 503])
def test_azure_identity_does_not_repeat_a_request(entra: Entra, status: int) -> None:
    """Whatever Entra ID answers, it is asked once: repeating is the transport's part."""
    entra.refusal = (status, {"error": "temporarily_unavailable", "error_description": "AADSTS90033: later"})
    assert "Authentication failed" in (failure(principal(), entra).why or "")
    assert len(entra.seen) == 1


def test_azure_identity_does_not_repeat_a_request_that_got_no_answer(entra: Entra) -> None:
    """Where nothing answers, the first request is the last."""
    entra.silent = True
    assert "nothing answers at login.microsoftonline.com" in (failure(principal(), entra).why or "")
    assert entra.sends == 1


def test_a_refused_secret_is_explained(entra: Entra) -> None:
    """The error has Entra ID's words, the policy's name and the next step, and not the secret."""
    entra.refusal = (
        401,
        {"error": "invalid_client", "error_description": "AADSTS7000222: The client secret has expired."},
    )
    error = failure(principal(), entra)
    assert error.what.startswith("ServicePrincipal gave no token for Azure")
    assert "AADSTS7000222: The client secret has expired." in (error.why or "")
    assert "has not expired" in (error.next_call or "")
    assert SECRET not in str(error)
    assert (error.__cause__, error.__context__) == (None, None)


def test_a_secret_stays_inside_its_policy() -> None:
    """Neither repr nor equality nor a pickle gives a secret away."""
    policy = principal()
    assert SECRET not in f"{policy!r} {policy!s}"
    assert policy == principal("another secret")
    with pytest.raises(ConfigurationError, match="build it in the process that signs in"):
        pickle.dumps(policy)


def test_a_service_principal_signs_in_with_its_certificate(entra: Entra, tmp_path: Path) -> None:
    """The certificate's key signs what is sent; no secret is."""
    path = certificate(tmp_path / "application.pem")
    policy = ServicePrincipal(tenant_id=TENANT, client_id=CLIENT, certificate_path=path)
    assert policy.credential(entra.transport).get_token(ARM).token == "token-1"
    ((_, fields),) = entra.seen
    assert fields["client_assertion"].count(".") == 2
    assert "client_secret" not in fields


def test_a_missing_certificate_is_an_error_of_signing_in(tmp_path: Path) -> None:
    """A path with no file gives the policy's own error."""
    policy = ServicePrincipal(tenant_id=TENANT, client_id=CLIENT, certificate_path=tmp_path / "none.pem")
    assert "none.pem" in (failure(policy).why or "")


def certificate(path: Path) -> Path:
    """A file with a key and a certificate that it signed itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name, now = x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(pem))
    return path


@pytest.mark.parametrize(
    ("secret", "path"), [(None, None), ("", None), (SECRET, "application.pem")], ids=["none", "empty", "both"]
)
def test_a_service_principal_has_one_proof(secret: str | None, path: str | None) -> None:
    """A secret and a certificate, or neither, is refused when the policy is built."""
    with pytest.raises(ConfigurationError, match="either a secret or a certificate"):
        ServicePrincipal(tenant_id=TENANT, client_id=CLIENT, client_secret=secret, certificate_path=path)


@pytest.mark.parametrize("name", ["tenant_id", "client_id"])
def test_a_service_principal_has_its_ids(name: str) -> None:
    """An empty id, as from a variable that is not set, is refused by name."""
    ids = {"tenant_id": TENANT, "client_id": CLIENT, name: ""}
    with pytest.raises(InvalidParameter) as caught:
        ServicePrincipal(**ids, client_secret=SECRET)
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("given", "variables", "expected"),
    [
        (None, {}, None),
        (None, {"DEFAULT_IDENTITY_CLIENT_ID": "clientid"}, None),
        (None, {"DEFAULT_IDENTITY_CLIENT_ID": CLIENT}, CLIENT),
        (None, {"DEFAULT_IDENTITY_CLIENT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}, CLIENT),
        (None, {"DEFAULT_IDENTITY_CLIENT_ID": CLIENT, "AZURE_CLIENT_ID": ""}, CLIENT),
        (CLIENT, {"AZURE_CLIENT_ID": TENANT}, CLIENT),
    ],
)
def test_a_managed_identity_is_the_one_named(
    entra: Entra,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    variables: dict[str, str],
    expected: str | None,
) -> None:
    """The argument comes before AZURE_CLIENT_ID, and that before Azure ML's variable, if it holds an id."""
    entra.identities.add(IMDS)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    credential = ManagedIdentity(client_id=given).credential(entra.transport)
    assert credential.get_token(ARM).token == "token-1"
    ((host, fields),) = entra.seen
    assert (host, fields.get("client_id")) == (IMDS, expected)


def test_a_managed_identity_on_a_compute_instance(entra: Entra, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Azure ML names its own address for identities, that one is asked."""
    monkeypatch.setenv("MSI_ENDPOINT", "http://127.0.0.1:46808/MSI/token")
    monkeypatch.setenv("MSI_SECRET", "instance")
    entra.identities.add("127.0.0.1")
    ManagedIdentity(client_id=CLIENT).credential(entra.transport)
    ((host, fields),) = entra.seen
    assert (host, fields["clientid"]) == ("127.0.0.1", CLIENT)


def test_a_machine_without_identities_says_so(entra: Entra) -> None:
    """On a machine that is not Azure's the error comes within seconds, and says what to do."""
    error = failure(ManagedIdentity(), entra)
    assert entra.connect_timeouts == [pytest.approx(2, abs=0.1)]
    assert "ManagedIdentityCredential authentication unavailable" in (error.why or "")
    assert "assign an identity" in (error.next_call or "")


def test_a_pod_signs_in_with_its_own_token(entra: Entra, tmp_path: Path) -> None:
    """WorkloadIdentity exchanges the token in the pod's file."""
    file = tmp_path / "token"
    file.write_text("pod-token")
    policy = WorkloadIdentity(tenant_id=TENANT, client_id=CLIENT, token_file=file)
    assert policy.credential(entra.transport).get_token(ARM).token == "token-1"
    assert entra.seen[0][1]["client_assertion"] == "pod-token"


def test_a_pod_without_its_settings_says_what_is_missing() -> None:
    """The error names the settings that neither the policy nor the environment has."""
    why = failure(WorkloadIdentity(tenant_id=TENANT)).why or ""
    assert why.endswith("Missing required arguments: 'client_id', 'token_file_path'.")


@pytest.fixture
def _screen(monkeypatch: pytest.MonkeyPatch) -> None:
    screen(monkeypatch, PersonsBrowser())


@pytest.mark.usefixtures("_screen")
def test_a_person_signs_in_with_a_browser(entra: Entra) -> None:
    """The browser opens, and the code it sends back is exchanged for a token."""
    credential = Browser(tenant_id=TENANT).credential(entra.transport)
    assert credential.get_token(ARM).token == "token-1"
    assert entra.seen[0][1]["grant_type"] == "authorization_code"


@pytest.mark.usefixtures("_screen")
def test_a_person_is_not_asked_again(entra: Entra) -> None:
    """Forgetting a token asks azure-identity, which has an account now, and opens no second window."""
    credential = Browser().credential(entra.transport)
    credential.forget(ARM)
    assert credential.get_token(ARM).token == "token-1"
    assert len(entra.seen) == 1


@pytest.mark.usefixtures("_screen")
@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("SSH_CONNECTION", "an SSH session"),
        ("CI", "a build pipeline"),
        ("TF_BUILD", "a build pipeline"),
        ("AZUREML_RUN_ID", "a machine of Azure's"),
        ("MSI_ENDPOINT", "a machine of Azure's"),
    ],
)
def test_no_browser_opens_where_nobody_sits(
    monkeypatch: pytest.MonkeyPatch, variable: str, place: str
) -> None:
    """Even with a screen, a session over SSH, a pipeline and Azure's machines fail at once, and say why."""
    monkeypatch.setenv(variable, "1")
    error = failure(Browser())
    assert error.why == f"no browser can open: this is {place} ({variable} is set)"
    assert error.next_call == "az login --use-device-code"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_no_browser_opens_without_a_screen() -> None:
    """On Linux a browser needs a display."""
    assert "DISPLAY and WAYLAND_DISPLAY are not set" in (failure(Browser()).why or "")


def test_no_browser_opens_where_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen without a browser fails at once too."""
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(webbrowser, "_tryorder", [])
    assert "Python's webbrowser finds none" in (failure(Browser()).why or "")


def test_an_absent_person_is_not_waited_for_longer(monkeypatch: pytest.MonkeyPatch, entra: Entra) -> None:
    """A person who does not sign in within timeout_s is given up, and the CLI's command offered."""
    screen(monkeypatch, AbsentPerson())
    error = failure(Browser(timeout_s=1), entra)
    assert error.why == "Timed out after waiting 1 seconds for the user to authenticate"
    assert error.next_call == "az login"


def test_a_person_signs_in_with_a_code(entra: Entra, capsys: pytest.CaptureFixture[str]) -> None:
    """The line with the code goes to on_prompt, and to nobody else."""
    prompts: list[str] = []
    credential = DeviceCode(on_prompt=prompts.append).credential(entra.transport)
    assert credential.get_token(ARM).token == "token-1"
    (prompt,) = prompts
    assert re.fullmatch(
        r"To sign in, open https://microsoft.com/devicelogin and enter the code ABC123 by \d\d:\d\d UTC.",
        prompt,
    )
    assert capsys.readouterr() == ("", "")


def test_a_code_that_nobody_would_see_is_not_asked_for(entra: Entra) -> None:
    """Without on_prompt the device code fails at once, with the argument to pass."""
    error = failure(DeviceCode(), entra)
    assert error.why == "nobody would see the code: pass on_prompt=print"
    assert entra.seen == []


@pytest.mark.parametrize("policy", [AzureCli, Browser, DeviceCode, DefaultCredentials])
@pytest.mark.parametrize("timeout_s", [0, 3601, 1.5, "30"])
def test_a_timeout_outside_its_range_is_refused(policy: type[AzureCli], timeout_s: object) -> None:
    """The error quotes the value and the range, when the policy is built."""
    with pytest.raises(InvalidParameter, match="whole number of seconds from 1 to 3600") as caught:
        policy(timeout_s=timeout_s)  # type: ignore[arg-type]
    assert repr(timeout_s) in caught.value.what


def test_a_given_credential_is_proved_and_kept() -> None:
    """Given takes what has get_token, and shows nothing of it."""
    policy = Given(Constant())
    assert policy.credential().get_token(ARM).token == "constant"
    assert repr(policy) == "Given(token_credential=Constant)"


def test_a_given_credential_is_not_wrapped_twice() -> None:
    """A credential that this library gave is taken as it is, so that forgetting reaches its source."""
    first = Given(Constant()).credential()
    second = Given(first).credential()
    second.forget(ARM)
    assert first.scope_of("other") is None
    assert repr(second) == "CachedCredential(Constant)"


def test_an_error_of_a_given_credential_holds_no_token() -> None:
    """Tokens in the words of a credential are left out of the error."""
    error = failure(Given(Broken()))
    assert error.why == "the source refused; access_token *** ***"


def test_what_gives_no_token_is_no_credential() -> None:
    """Given refuses an object without get_token when it is built."""
    with pytest.raises(InvalidParameter, match="A str is no credential"):
        Given("token")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "message",
    [
        "The access token is from the wrong issuer 'https://sts.windows.net/{other}/'. It must match the"
        " tenant 'https://sts.windows.net/{tenant}/' associated with this subscription.",
        "The access token is from the wrong issuer 'https://sts.windows.net/{other}/'. It must match one of"
        " the tenants 'https://sts.windows.net/{tenant}/,https://sts.windows.net/{other}/' associated with it.",
    ],
    ids=["one", "several"],
)
def test_the_tenant_that_azure_expects_is_found(message: str) -> None:
    """The tenant is the one that the token must match, not the one it came from."""
    other = "33333333-3333-4333-8333-333333333333"
    assert expected_tenant(message.format(tenant=TENANT.upper(), other=other)) == TENANT


def test_another_message_names_no_tenant() -> None:
    """A message about anything else gives None."""
    assert expected_tenant(f"The client does not have authorization in tenant '{TENANT}'.") is None


def test_a_policy_is_found_for_whatever_is_given() -> None:
    """Nothing is the default, a policy is itself, and a credential is a given one."""
    own, constant = OwnPolicy(), Constant()
    assert policy_for(None) == DefaultCredentials()
    assert policy_for(own) is own
    assert policy_for(constant) == Given(constant)
    with pytest.raises(InvalidParameter, match="no credential"):
        policy_for("token")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy",
    [AzureCli(tenant_id=TENANT), ManagedIdentity(), WorkloadIdentity(), Chain(Browser(), DeviceCode())],
)
def test_a_policy_without_a_secret_can_be_pickled(policy: CredentialPolicy) -> None:
    """A policy reaches another process as it was."""
    assert pickle.loads(pickle.dumps(policy)) == policy
