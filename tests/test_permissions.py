from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verbs import VERBS

import phi_finetune as pf
from phi_finetune._actions import ACTIONS, permits
from phi_finetune.credentials import ServicePrincipal
from phi_finetune.emulator.cloud import ROUTER
from phi_finetune.emulator.core.actions import action_of
from phi_finetune.errors import PermissionMissing
from phi_finetune.testing import FakeAzure, fake_workspace
from phi_finetune.testing.faults import Answer

ML = "Microsoft.MachineLearningServices"
QUOTA = {"standardNCADSA100v4Family": 96}
ACTION_OF_ROUTE = {route.name: action_of(route) for route in ROUTER.routes}

REFUSING = {
    "locations/usages/read": "GpuCompute.ensure",
    "locations/vmSizes/read": "Workspace.gpu_skus",
    "workspaces/computes/delete": "GpuCompute.delete",
    "workspaces/computes/read": "GpuCompute.refresh",
    "workspaces/computes/write": "GpuCompute.ensure",
    "workspaces/data/versions/read": "Workspace.data_asset",
    "workspaces/data/versions/write": "Workspace.register_data",
    "workspaces/datastores/read": "Finetune.submit",
    "workspaces/experiments/runs/read": "FinetuneJob.children",
    "workspaces/jobs/cancel/action": "FinetuneJob.cancel",
    "workspaces/jobs/read": "Workspace.jobs",
    "workspaces/jobs/write": "Finetune.submit",
    "workspaces/models/read": "Workspace.models",
    "workspaces/models/versions/write": "FinetuneJob.register",
    "workspaces/onlineEndpoints/delete": "Endpoint.delete",
    "workspaces/onlineEndpoints/deployments/getLogs/action": "Endpoint.logs",
    "workspaces/onlineEndpoints/deployments/read": "Endpoint.deployments",
    "workspaces/onlineEndpoints/deployments/write": "RegisteredModel.deploy",
    "workspaces/onlineEndpoints/listKeys/action": "Endpoint.keys",
    "workspaces/onlineEndpoints/read": "Workspace.endpoints",
    "workspaces/onlineEndpoints/write": "Endpoint.extend",
    "workspaces/read": "Workspace.gpu_skus",
}
"""A call that cannot do without the right to each action."""


# The table


@pytest.mark.parametrize("call", ACTIONS)
def test_the_table_is_what_the_calls_ask_for(call: str) -> None:
    """Neither more nor less: who grants these can make the call, and no other right was needed."""
    with FakeAzure(quota=QUOTA) as azure:
        make = VERBS[call](azure)
        ws = azure.workspace()
        azure.journal.clear()
        make(ws)
        asked = {ACTION_OF_ROUTE[entry.route] for entry in azure.journal if entry.route is not None}
    assert tuple(sorted(action for action in asked if action)) == ACTIONS[call]


def test_the_table_has_every_call_that_was_tried() -> None:
    """None is left out."""
    assert set(ACTIONS) == set(VERBS)


# Denied


@pytest.mark.parametrize("action", REFUSING)
def test_a_denied_action_is_named(action: str) -> None:
    """By the call that needed it, with the action to ask for, and by the doctor before anything was tried."""
    whole, call = f"{ML}/{action}", REFUSING[action]
    with FakeAzure(quota=QUOTA) as azure:
        make = VERBS[call](azure)
        azure.deny(whole)
        found = azure.workspace().doctor()
        assert (found.ok, found.checks[-1].ok) == (False, False)
        assert set(found.missing) == {one for one, needed in ACTIONS.items() if whole in needed}
        assert set(found.missing.values()) == {(whole,)}
        assert f"{call}" in str(found)
        assert f"lacks {whole}" in str(found)
        with pytest.raises(PermissionMissing, match="perform action") as caught:
            make(azure.workspace())
    assert caught.value.next_call == f"ask for the action {whole} on the workspace"


# The doctor


def test_a_good_workspace_is_well(workspace: pf.Workspace) -> None:
    """Everything was tried, and nothing lacks."""
    found = workspace.doctor()
    assert [check.name for check in found.checks] == [
        "credential",
        "token for Resource Manager",
        "token for Azure ML",
        "workspace",
        "machine sizes",
        "registry azureml",
        "blob store",
        "permissions",
    ]
    assert (found.ok, found.missing) == (True, {})
    assert "--" not in str(found)


def test_the_doctor_changes_nothing(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It reads."""
    workspace.doctor()
    posts = {entry.path.rpartition("/")[2] for entry in fake_azure.journal if entry.method != "GET"}
    assert posts == {"listSecrets"}


def test_who_cannot_sign_in_hears_only_that(fake_azure: FakeAzure) -> None:
    """All else would fail for the same reason."""
    wrong = ServicePrincipal(
        tenant_id=fake_azure.tenant_id, client_id=fake_azure.client_id, client_secret="wrong"
    )
    found = fake_azure.workspace(credential=wrong).doctor()
    assert [(check.name, check.ok) for check in found.checks] == [("credential", False)]
    assert not found.ok
    assert found.checks[0].next_call


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ("GET */workspaces/phi-lab", "workspace"),
        ("GET */vmSizes", "machine sizes"),
        ("GET */registries/azureml/discovery", "registry azureml"),
        ("GET */datastores/workspaceblobstore", "blob store"),
        ("GET */permissions", "permissions"),
    ],
)
def test_each_check_can_fail(fake_azure: FakeAzure, broken: str, name: str) -> None:
    """It says why, and those after it are still tried."""
    fake_azure.faults.next(Answer(broken, 403, "AuthorizationFailed", "No, by policy."))
    found = fake_azure.workspace().doctor()
    failed = [check for check in found.checks if not check.ok]
    assert [check.name for check in failed] == [name]
    assert "No, by policy." in failed[0].found
    assert len(found.checks) == 8
    assert (found.ok, found.missing) == (False, {})


def test_a_light_fake_has_no_credential() -> None:
    """It says so, as of a workspace that nobody can sign in to."""
    assert not fake_workspace().doctor().ok


# What permissions mean

DATA_SCIENTIST: dict[str, Any] = {
    "actions": [
        f"{ML}/workspaces/*/read",
        f"{ML}/workspaces/*/action",
        f"{ML}/workspaces/*/delete",
        f"{ML}/workspaces/*/write",
    ],
    "notActions": [
        f"{ML}/workspaces/delete",
        f"{ML}/workspaces/write",
        f"{ML}/workspaces/computes/*/write",
        f"{ML}/workspaces/computes/*/delete",
        f"{ML}/workspaces/computes/*/action",
        f"{ML}/workspaces/listKeys/action",
    ],
}
"""The role AzureML Data Scientist (Azure's page on built-in roles)."""


@pytest.mark.parametrize(
    ("roles", "action", "expected"),
    [
        ([], "workspaces/read", False),
        ([{"actions": ["*"]}], "workspaces/read", True),
        ([{"actions": ["*/read"]}], "workspaces/computes/read", True),
        ([{"actions": ["*/read"]}], "workspaces/computes/write", False),
        ([DATA_SCIENTIST], "workspaces/jobs/write", True),
        ([DATA_SCIENTIST], "workspaces/onlineEndpoints/listKeys/action", True),
        ([DATA_SCIENTIST], "workspaces/computes/write", False),
        ([DATA_SCIENTIST], "locations/vmSizes/read", False),
        (
            [DATA_SCIENTIST, {"actions": [f"{ML}/workspaces/COMPUTES/write"]}],
            "workspaces/computes/write",
            True,
        ),
        ([{"actions": None, "notActions": None}], "workspaces/read", False),
        ([{}], "workspaces/read", False),
        ([{"actions": [f"{ML}/workspaces/read*workspaces/read"]}], "workspaces/read", False),
    ],
)
def test_roles_are_read_as_azure_reads_them(roles: list[dict[str, Any]], action: str, expected: bool) -> None:
    """What one role leaves out, another may give."""
    assert permits(roles, f"{ML}/{action}") == expected


def test_a_data_scientist_lacks_what_the_page_says() -> None:
    """Clusters, what is read in the subscription, and the doctor's own question."""
    needed = {action for actions in ACTIONS.values() for action in actions}
    assert {action.removeprefix(f"{ML}/") for action in needed if not permits([DATA_SCIENTIST], action)} == {
        "Microsoft.Authorization/permissions/read",
        "locations/usages/read",
        "locations/vmSizes/read",
        "workspaces/computes/delete",
        "workspaces/computes/write",
    }


@given(st.lists(st.sampled_from(["a", "ab", "b", "/"]), max_size=8), st.data())
def test_a_star_stands_for_anything(parts: list[str], data: st.DataObject) -> None:
    """Whatever part of an action is replaced by a star, the pattern is of the action."""
    action = "".join(parts)
    start = data.draw(st.integers(0, len(action)))
    end = data.draw(st.integers(start, len(action)))
    pattern = f"{action[:start]}*{action[end:]}"
    assert permits([{"actions": [pattern]}], action)
    assert not permits([{"actions": [f"{pattern}c"]}], action)
    assert not permits([{"actions": ["*"], "notActions": [pattern]}], action)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    """It comes from the network."""
    assert not permits([{"actions": ["a*" * 5000 + "b"]}], "a" * 5000)
