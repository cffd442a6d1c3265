from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from asking import ask
from hypothesis import given
from hypothesis import strategies as st
from tuning import SIZE, Heard, content, sent, trained

import phi_finetune as pf
from phi_finetune import __main__ as command
from phi_finetune._leases import lease_tag, lease_until
from phi_finetune._lineage import LEASE, MADE_BY
from phi_finetune.errors import ConfigurationError, InvalidParameter, NotFound
from phi_finetune.events import Deleted, Event, LeaseExpired, Warned
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer

HOUR = timedelta(hours=1)
OURS = {"made-by": "phi-finetune"}


def cluster(azure: FakeAzure, name: str, tags: dict[str, str]) -> None:
    """A cluster with these tags and no others, whoever made it."""
    properties = {"vmSize": "Standard_NC4as_T4_v3", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1}}
    compute = {"computeType": "AmlCompute", "properties": properties}
    body = {"location": "eastus", "tags": tags, "properties": compute}
    assert ask(azure.cloud, "PUT", f"computes/{name}", body).status == 201
    azure.clock.advance(timedelta(minutes=5))


def endpoint(azure: FakeAzure, name: str, tags: dict[str, str]) -> None:
    """An endpoint with these tags and no others, whoever made it."""
    body = {"location": "eastus", "tags": tags, "properties": {"authMode": "Key"}}
    assert ask(azure.cloud, "PUT", f"onlineEndpoints/{name}", body).status == 201
    azure.clock.advance(timedelta(minutes=5))


def ended(azure: FakeAzure, ago: timedelta = timedelta(seconds=1)) -> dict[str, str]:
    """The tags of something of ours whose lease ended."""
    return {**OURS, **lease_tag(azure.clock.now() - ago)}


# What is written


@given(st.datetimes(timezones=st.just(UTC) | st.timezones()).filter(lambda when: 1990 < when.year < 2200))
def test_a_lease_is_read_as_it_was_written(until: datetime) -> None:
    """To the second, whatever zone it was given in."""
    assert lease_until({**MADE_BY, **lease_tag(until)}) == until.astimezone(UTC).replace(microsecond=0)


@given(
    st.text()
    | st.sampled_from(["2020-01-01", "2020-01-01T00:00:00", "now", "1577836800", "99999-01-01T00:00Z"])
)
def test_what_is_no_time_with_its_zone_is_no_lease(text: str) -> None:
    """Nothing is deleted for a tag that somebody wrote by hand and that may mean anything."""
    found = lease_until({**MADE_BY, LEASE: text})
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "2020-01-01", "2020-01-01T00:00:00", "yesterday", "1577836800"])
def test_these_are_no_leases(text: str) -> None:
    """A time without a zone is no moment."""
    assert lease_until({**MADE_BY, LEASE: text}) is None


def test_a_lease_of_somebody_elses_is_none() -> None:
    """Both tags are needed."""
    assert lease_until({LEASE: "2020-01-01T00:00:00Z"}) is None
    assert lease_until({LEASE: "2020-01-01T00:00:00Z", "made-by": "somebody"}) is None


def test_a_deployment_with_a_lease_says_until_when(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The endpoint's tag counts from the call, by the service's clock; the deployment is ours as well."""
    model = trained(fake_azure, workspace)
    before = fake_azure.clock.now()
    made = model.deploy(instance_type=SIZE, lease=2 * HOUR)
    assert made.lease_until is not None
    # By then a deployment has been waited for, which takes longer than this.
    assert (
        timedelta(0) <= made.lease_until - (before.replace(microsecond=0) + 2 * HOUR) < timedelta(minutes=1)
    )
    assert workspace.endpoint(made.name).lease_until == made.lease_until
    (deployment,) = sent(fake_azure, "PUT", "*/deployments/*")
    assert content(deployment)["tags"]["made-by"] == "phi-finetune"


def test_the_services_clock_counts_and_not_the_machines(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """A machine whose clock is years off leases and sweeps as any other."""
    fake_azure.clock.advance(timedelta(days=3650))
    leased = workspace.gpu_compute("gpu", size=SIZE).ensure(lease=HOUR)
    assert leased.lease_until is not None
    assert abs(leased.lease_until - fake_azure.clock.now() - HOUR) < timedelta(minutes=5)
    assert workspace.sweep() == ()


def test_without_a_lease_there_is_none(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Nothing is tagged, and the clock is not asked for."""
    made = workspace.gpu_compute("gpu", size=SIZE).ensure()
    assert made.lease_until is None
    assert fake_azure.computes["gpu"].spec.tags == OURS


@pytest.mark.parametrize("lease", [timedelta(0), -HOUR, timedelta(seconds=59), timedelta(days=367), 3600])
def test_a_lease_has_a_length_that_makes_sense(
    fake_azure: FakeAzure, workspace: pf.Workspace, lease: timedelta
) -> None:
    """Refused before anything is sent."""
    with pytest.raises(InvalidParameter, match="lease"):
        workspace.gpu_compute("gpu", size=SIZE).ensure(lease=lease)
    assert len(fake_azure.journal) == 0


# Longer


def test_a_cluster_that_is_there_has_its_lease_lengthened(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """Never shortened, and nothing else of it changes."""
    described = workspace.gpu_compute("gpu", size=SIZE, max_nodes=2)
    first = described.ensure(lease=2 * HOUR)
    assert described.ensure(lease=HOUR).lease_until == first.lease_until
    later = described.ensure(lease=5 * HOUR)
    assert first.lease_until is not None
    assert later.lease_until is not None
    assert later.lease_until - first.lease_until > 2 * HOUR
    assert (later.max_nodes, later.size) == (2, SIZE)
    assert fake_azure.computes["gpu"].spec.tags == {**OURS, **lease_tag(later.lease_until)}


def test_what_was_there_without_a_lease_gets_none(fake_azure: FakeAzure) -> None:
    """Somebody wants it to stay, and the caller hears that it does."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    cluster(fake_azure, "gpu", OURS)
    cluster(fake_azure, "theirs", {"team": "search"})
    for name in ("gpu", "theirs"):
        assert ws.gpu_compute(name).ensure(lease=HOUR).lease_until is None
    assert fake_azure.computes["gpu"].spec.tags == OURS
    assert fake_azure.computes["theirs"].spec.tags == {"team": "search"}
    assert ["has no lease" in event.message for event in heard.of(Warned)] == [True, True]


def test_an_endpoint_that_is_there_has_its_lease_lengthened(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """Who runs a script again after it was killed is not swept away in the middle."""
    model = trained(fake_azure, workspace)
    first = model.deploy(instance_type=SIZE, lease=HOUR)
    fake_azure.clock.advance(timedelta(minutes=50))
    again = model.deploy(instance_type=SIZE, lease=HOUR)
    assert (again.name, again.created_here) == (first.name, False)
    assert first.lease_until is not None
    assert again.lease_until is not None
    assert again.lease_until - first.lease_until >= timedelta(minutes=50)
    assert again.tags == {**first.tags, **lease_tag(again.lease_until)}
    assert model.deploy(instance_type=SIZE, lease=timedelta(minutes=2)).lease_until == again.lease_until


def test_a_lease_can_be_extended(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """From now on, for an endpoint and for a cluster; traffic and all other tags stay."""
    made = trained(fake_azure, workspace).deploy(instance_type=SIZE, tags={"team": "nlp"})
    longer = made.extend(3 * HOUR)
    assert longer.lease_until is not None
    assert (longer.traffic, longer.tags["team"], longer.created_here) == ({"default": 100}, "nlp", True)
    assert longer.extend(HOUR).lease_until == longer.lease_until
    assert longer.shift_traffic({"default": 100}).lease_until == longer.lease_until
    gpu = workspace.gpu_compute("gpu", size=SIZE).ensure()
    extended = gpu.extend(HOUR)
    assert extended.lease_until is not None
    assert extended.extend(timedelta(minutes=5)).lease_until == extended.lease_until
    assert gpu.scale(max_nodes=2).lease_until == extended.lease_until


def test_only_what_is_ours_is_leased(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A lease ends in deletion, so nobody gets one for what they did not make with this library."""
    cluster(fake_azure, "theirs", {"team": "search"})
    endpoint(fake_azure, "theirs", {"team": "search"})
    with pytest.raises(ConfigurationError, match="lacks the tag"):
        workspace.gpu_compute("theirs").extend(HOUR)
    with pytest.raises(ConfigurationError, match="lacks the tag"):
        workspace.endpoint("theirs").extend(HOUR)
    with pytest.raises(ConfigurationError, match="Serverless"):
        pf.GpuCompute.serverless(SIZE).extend(HOUR)
    with pytest.raises(NotFound):
        workspace.gpu_compute("absent").extend(HOUR)
    assert fake_azure.computes["theirs"].spec.tags == {"team": "search"}


# Sweeping


def test_only_what_is_ours_and_has_expired_is_swept(fake_azure: FakeAzure) -> None:
    """Neither what is another's, nor what has no lease, nor what has one that has not ended."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    spared = {
        "ours": OURS,
        "theirs": {},
        "like-ours": {LEASE: "2020-01-01T00:00:00Z"},
        "unclear": {**OURS, LEASE: "2020-01-01"},
        "later": {**OURS, **lease_tag(fake_azure.clock.now() + 100 * HOUR)},
    }
    for name, tags in spared.items():
        cluster(fake_azure, name, tags)
        endpoint(fake_azure, name, tags)
    cluster(fake_azure, "old", ended(fake_azure))
    endpoint(fake_azure, "old", ended(fake_azure))
    swept = ws.sweep()
    assert [(one.resource, one.outcome) for one in swept] == [
        ("endpoint old", "deleted"),
        ("cluster old", "deleted"),
    ]
    assert set(fake_azure.computes) == set(fake_azure.endpoints) == set(spared)
    assert [event.resource for event in heard.of(Deleted)] == ["endpoint old", "cluster old"]
    assert ws.sweep() == ()


def test_a_dry_run_deletes_nothing(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It says what would be."""
    cluster(fake_azure, "old", ended(fake_azure))
    (found,) = workspace.sweep(dry_run=True)
    assert (found.resource, found.outcome, found.why) == ("cluster old", "expired", None)
    assert "cluster old: expired, its lease ended at " in str(found)
    assert set(fake_azure.computes) == {"old"}
    assert not sent(fake_azure, "DELETE", "*")


def test_what_a_killed_program_left_is_swept(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Nobody left the block, yet no machine bills once the lease has ended."""
    trained(fake_azure, workspace).deploy(instance_type=SIZE, lease=2 * HOUR)
    another = fake_azure.workspace()
    assert another.sweep() == ()
    fake_azure.clock.advance(2 * HOUR)
    (swept,) = another.sweep()
    assert (swept.kind, swept.outcome) == ("endpoint", "deleted")
    assert fake_azure.billing().leaks == ()


def test_a_lease_that_is_lengthened_in_time_saves_it(fake_azure: FakeAzure) -> None:
    """It is read again right before it would be deleted."""
    cluster(fake_azure, "old", ended(fake_azure))
    cluster(fake_azure, "saved", ended(fake_azure))

    def listen(event: Event) -> None:
        if isinstance(event, Deleted):
            fake_azure.workspace().gpu_compute("saved").extend(HOUR)

    (swept,) = fake_azure.workspace(on_event=listen).sweep()
    assert swept.name == "old"
    assert set(fake_azure.computes) == {"saved"}


def test_what_cannot_be_deleted_does_not_stop_the_rest(fake_azure: FakeAzure) -> None:
    """It is told, with the call that comes next."""
    heard = Heard()
    endpoint(fake_azure, "stuck", ended(fake_azure))
    cluster(fake_azure, "old", ended(fake_azure))
    fake_azure.faults.next(Answer("DELETE */onlineEndpoints/stuck", 409, "Conflict", "It is locked."))
    left, deleted = fake_azure.workspace(on_event=heard).sweep()
    assert (left.outcome, deleted.outcome) == ("left", "deleted")
    assert left.why == "Could not delete endpoint stuck"
    (warning,) = heard.of(Warned)
    assert "ws.endpoint('stuck').delete()" in warning.message
    assert set(fake_azure.endpoints) == {"stuck"}


# Telling


def test_connecting_tells_of_what_has_expired(fake_azure: FakeAzure) -> None:
    """Once, to who listens, when the workspace was found; nothing is deleted."""
    cluster(fake_azure, "old", ended(fake_azure, ago=HOUR))
    until = fake_azure.clock.now().replace(microsecond=0) - HOUR
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    ws.gpu_skus()
    ws.gpu_compute("gpu", size=SIZE).ensure()
    (told,) = heard.of(LeaseExpired)
    assert told.resource == "cluster old"
    assert abs(told.lease_until - until) < timedelta(minutes=10)
    assert set(fake_azure.computes) == {"old", "gpu"}


def test_who_does_not_listen_is_not_looked_for(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It would cost two requests that nobody reads the answer of."""
    workspace.gpu_skus()
    assert not sent(fake_azure, "GET", "*/onlineEndpoints")


def test_what_cannot_be_looked_for_stops_nobody(fake_azure: FakeAzure) -> None:
    """Who may not list endpoints can still list sizes."""
    fake_azure.faults.next(Answer("GET */onlineEndpoints", 403, "AuthorizationFailed"))
    heard = Heard()
    assert fake_azure.workspace(on_event=heard).gpu_skus()
    (told,) = heard.of(Warned)
    assert "whether a lease has ended is not known" in told.message


# The command


@pytest.fixture
def signed_in(fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch) -> FakeAzure:
    """A fake whose account is in the environment, as a scheduler has it."""
    values = {
        "AZURE_SUBSCRIPTION_ID": fake_azure.subscription_id,
        "AZURE_RESOURCE_GROUP": fake_azure.resource_group,
        "AZUREML_WORKSPACE_NAME": fake_azure.workspace_name,
        "AZURE_TENANT_ID": fake_azure.tenant_id,
        "AZURE_CLIENT_ID": fake_azure.client_id,
        "AZURE_CLIENT_SECRET": fake_azure.client_secret,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return fake_azure


def test_the_command_sweeps(signed_in: FakeAzure, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each, and nothing where there is nothing."""
    cluster(signed_in, "old", ended(signed_in))
    assert command.main(["sweep", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("cluster old: expired, ")
    assert command.main(["sweep"]) == 0
    assert capsys.readouterr().out.startswith("cluster old: deleted, ")
    assert signed_in.computes == {}
    assert command.main(["sweep"]) == 0
    assert capsys.readouterr().out == ""


def test_the_commands_status_says_that_something_is_left(
    signed_in: FakeAzure, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a scheduler raises its alarm."""
    cluster(signed_in, "old", ended(signed_in))
    signed_in.faults.next(Answer("DELETE */computes/old", 403, "AuthorizationFailed"))
    assert command.main(["sweep"]) == 1
    assert "cluster old: left, " in capsys.readouterr().out


def test_the_command_says_why_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    """No workspace is named: the error is on the error stream, without a traceback."""
    assert command.main(["sweep"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "not known which workspace" in shown.err
