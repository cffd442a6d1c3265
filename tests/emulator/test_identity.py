from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential, CredentialUnavailableError, ManagedIdentityCredential

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.testing import FakeAzure

ARM_SCOPE = "https://management.azure.com/.default"
METADATA = "http://169.254.169.254/metadata/identity/oauth2/token?resource=https://ml.azure.com"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud of its own."""
    return Cloud()


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


def sign_in(cloud: Cloud, **changes: str) -> Response:
    """Ask Entra for a token with the service principal's secret, unless ``changes`` say otherwise."""
    form = {
        "grant_type": "client_credentials",
        "client_id": cloud.identity.client_id,
        "client_secret": cloud.identity.client_secret,
        "scope": ARM_SCOPE,
        **changes,
    }
    url = f"https://login.microsoftonline.com/{cloud.tenant_id}/oauth2/v2.0/token"
    return cloud.handle(Request("POST", url, {}, urlencode(form).encode()))


def claims(token: str) -> dict[str, Any]:
    """The claims of a token, as a client reads them."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def credentials(azure: FakeAzure) -> list[TokenCredential]:
    """The credentials of azure-identity that sign in to a fake."""
    return [
        ClientSecretCredential(azure.tenant_id, azure.client_id, azure.client_secret),
        ManagedIdentityCredential(),
        ManagedIdentityCredential(client_id=azure.client_id),
    ]


def test_a_secret_gives_a_token_for_its_scope(cloud: Cloud) -> None:
    """The token is of the tenant, and for the audience that the scope names (wire.md 2)."""
    answer = json.loads(sign_in(cloud, scope="https://ml.azure.com/.default").body)
    found = claims(answer["access_token"])
    assert (found["aud"], found["tid"]) == ("https://ml.azure.com", cloud.tenant_id)
    assert answer["token_type"] == "Bearer"


@pytest.mark.parametrize(
    ("changes", "status", "number"),
    [
        ({"client_secret": "wrong"}, 401, 7000215),
        ({"client_id": "nobody"}, 400, 700016),
        ({"grant_type": "password"}, 400, 70003),
    ],
)
def test_a_wrong_sign_in_is_refused_with_entras_code(
    cloud: Cloud, changes: dict[str, str], status: int, number: int
) -> None:
    """The refusal has the AADSTS code, and does not repeat the secret."""
    answer = sign_in(cloud, **changes)
    body = json.loads(answer.body)
    assert answer.status == status
    assert body["error_codes"] == [number]
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert cloud.identity.client_secret not in answer.body.decode()


def test_a_tenant_says_where_it_signs_in(cloud: Cloud) -> None:
    """The discovery document leads to this tenant's token endpoint."""
    url = f"https://login.microsoftonline.com/{cloud.tenant_id}/v2.0/.well-known/openid-configuration"
    body = json.loads(cloud.handle(Request("GET", url, {})).body)
    assert body["token_endpoint"] == f"https://login.microsoftonline.com/{cloud.tenant_id}/oauth2/v2.0/token"
    assert cloud.tenant_id in body["issuer"]


def test_entra_names_its_hosts(cloud: Cloud) -> None:
    """The public metadata is there, as a client may ask for it before it signs in."""
    url = "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1"
    body = json.loads(cloud.handle(Request("GET", url, {})).body)
    assert body["metadata"][0]["aliases"] == ["login.microsoftonline.com"]


def test_the_machine_gives_a_token(cloud: Cloud) -> None:
    """The identity endpoint of the machine answers a request that has its header."""
    answer = json.loads(cloud.handle(Request("GET", METADATA, {"metadata": "true"})).body)
    assert claims(answer["access_token"])["aud"] == answer["resource"] == "https://ml.azure.com"


@pytest.mark.parametrize(
    ("url", "headers"), [(METADATA, {}), (f"{METADATA}&client_id=nobody", {"metadata": "true"})]
)
def test_the_machine_refuses_others(cloud: Cloud, url: str, headers: dict[str, str]) -> None:
    """400 without the header that keeps browsers out, and for an identity that the machine lacks."""
    assert cloud.handle(Request("GET", url, headers)).status == 400


def test_a_token_of_another_tenant_is_refused(cloud: Cloud) -> None:
    """A token that somebody else signed is not good here."""
    token, _ = Cloud().identity.issue("https://management.azure.com")
    url = f"https://management.azure.com{cloud.workspace.id}?api-version=2024-10-01"
    assert cloud.handle(Request("GET", url, {"authorization": f"Bearer {token}"})).status == 401


def test_the_credentials_of_azure_identity_sign_in(azure: FakeAzure) -> None:
    """A secret and the machine's identity both give tokens that the services take."""
    for credential in credentials(azure):
        assert claims(credential.get_token(ARM_SCOPE).token)["tid"] == azure.tenant_id


def test_no_virtual_hour_makes_a_kept_token_expire(azure: FakeAzure) -> None:
    """Real credentials ask anew, although on the machine's clock no time has passed."""
    for credential in credentials(azure):
        first = credential.get_token(ARM_SCOPE).token
        azure.clock.advance(timedelta(hours=2))
        assert claims(credential.get_token(ARM_SCOPE).token)["exp"] > claims(first)["exp"]


def test_azure_identity_reports_a_wrong_secret(azure: FakeAzure) -> None:
    """The credential's error has Entra's code in it."""
    credential = ClientSecretCredential(azure.tenant_id, azure.client_id, "wrong")
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        credential.get_token(ARM_SCOPE)


def test_an_identity_that_the_machine_lacks_is_unavailable(azure: FakeAzure) -> None:
    """azure-identity reads the machine's refusal as an identity that is not there."""
    with pytest.raises(CredentialUnavailableError):
        ManagedIdentityCredential(client_id="00000000-0000-0000-0000-000000000001").get_token(ARM_SCOPE)


def test_a_request_without_a_token_is_refused(cloud: Cloud) -> None:
    """Azure Resource Manager answers nobody who does not sign in."""
    answer = cloud.handle(
        Request("GET", f"https://management.azure.com{cloud.workspace.id}?api-version=2024-10-01", {})
    )
    assert answer.status == 401
    assert b"'Authorization' header is missing" in answer.body


def test_a_token_expires_on_the_clouds_clock(cloud: Cloud) -> None:
    """After 75 minutes a token is no longer good, and the answer says so."""
    token, _ = cloud.identity.issue("https://management.azure.com")
    request = Request(
        "GET",
        f"https://management.azure.com{cloud.workspace.id}?api-version=2024-10-01",
        {"authorization": f"Bearer {token}"},
    )
    cloud.clock.advance(timedelta(minutes=74))
    assert cloud.handle(request).status == 200
    cloud.clock.advance(timedelta(minutes=1))
    answer = cloud.handle(request)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (401, "ExpiredAuthenticationToken")
