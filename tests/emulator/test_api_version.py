from __future__ import annotations

import pytest
from asking import ask
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.http import Request

DATES = st.dates().map(str)


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    """A cloud in which nothing is made."""
    return Cloud()


def versioned(cloud: Cloud, version: str) -> str:
    """The workspace's URL with an api-version."""
    return f"https://management.azure.com{cloud.workspace.id}?api-version={version}"


@pytest.mark.parametrize("query", ["", "?", "?api-version=", "?version=2024-10-01"])
@pytest.mark.parametrize("path", ["", "/jobs", "/onlineEndpoints/none", "/computes/none"])
def test_a_request_names_a_version(cloud: Cloud, path: str, query: str) -> None:
    """Azure Resource Manager refuses a request without one, whatever it asks for."""
    refused = ask(cloud, "GET", f"https://management.azure.com{cloud.workspace.id}{path}{query}")
    assert (refused.status, refused.code) == (400, "MissingApiVersionParameter")
    assert refused.message == "The api-version query parameter (?api-version=) is required for all requests."


@pytest.mark.parametrize(
    "version",
    [
        "1",
        "v1.0",
        "latest",
        "2024-10",
        "2024-1-1",
        "20241001",
        "2024-10-01-",
        "2024-10-01-beta",
        "x2024-10-01",
    ],
)
def test_a_version_has_a_form(cloud: Cloud, version: str) -> None:
    """What is no date is refused with the words of Azure Resource Manager."""
    refused = ask(cloud, "GET", versioned(cloud, version))
    assert (refused.status, refused.code) == (400, "InvalidApiVersionParameter")
    assert refused.message.startswith(f"The api-version '{version}' is invalid. The supported versions are ")


@given(
    date=DATES, suffix=st.sampled_from(["", "-preview", "-dataplanepreview", "-privatepreview", "-Preview"])
)
def test_every_date_is_a_version(cloud: Cloud, date: str, suffix: str) -> None:
    """Versions are not told apart: dates and previews get the same answer."""
    assert ask(cloud, "GET", versioned(cloud, date + suffix)).status == 200


def test_who_asks_is_looked_at_first(cloud: Cloud) -> None:
    """Without a token the answer is 401, with a version or without."""
    url = f"https://management.azure.com{cloud.workspace.id}"
    assert cloud.handle(Request("GET", url, {})).status == 401


def test_other_hosts_have_versions_of_their_own(cloud: Cloud) -> None:
    """Run history has ``v1.0``, and a workspace's discovery none (wire.md 3 and 5)."""
    assert ask(cloud, "GET", cloud.workspace.discovery_url).status == 200
    history = f"{cloud.workspace.api}/history/v1.0{cloud.workspace.id}/runs/none"
    assert ask(cloud, "GET", f"{history}?api-version=v1.0").status == 404
