from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from asking import Answer, ask
from finetunes import Trainer, submit
from hypothesis import given
from hypothesis import strategies as st
from online import A100, D, E, put_deployment, put_endpoint, wait

import phi_finetune as pf
from phi_finetune.emulator.catalogue import vm_sizes
from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.holds import Hold, at_least, together
from phi_finetune.testing import Bill, Charge, FakeAzure
from phi_finetune.testing.faults import DeploymentFails, JobFails, OperationFails, ProvisioningFails

pytest_plugins = ["pytester"]

START = datetime(2026, 8, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PRICES = {size.name: size.price_usd_per_hour for size in vm_sizes()}
PRICE = PRICES[A100] or 0.0
"""That of :data:`A100`."""


@pytest.fixture
def cloud() -> Cloud:
    """A cloud on which each step of a job takes an hour."""
    return Cloud(Settings(start=START, quota={"standardNCADSA100v4Family": 480}), Trainer())


def cluster(cloud: Cloud, name: str = "gpu", *, priority: str = "Dedicated", **scale: Any) -> Answer:
    """Ask for a cluster of four nodes at most, with none without work, unless ``scale`` says otherwise."""
    settings = {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT30M", **scale}
    properties = {"vmSize": A100, "vmPriority": priority, "scaleSettings": settings}
    body = {"properties": {"computeType": "AmlCompute", "properties": properties}}
    return ask(cloud, "PUT", f"computes/{name}", body)


def rows(bill: Bill) -> list[tuple[str, int, timedelta, bool]]:
    """What each row is about, how many machines, how long, and whether it is over."""
    found = [(row.resource, row.machines, row.hours * HOUR, row.ended is not None) for row in bill.rows]
    return [
        (name, machines, timedelta(seconds=round(time / timedelta(seconds=1))), over)
        for name, machines, time, over in found
    ]


def names(charges: Sequence[Charge]) -> list[str]:
    """What rows are about."""
    return [charge.resource for charge in charges]


# Deployments


def test_nothing_made_costs_nothing(cloud: Cloud) -> None:
    """There is no row, and the sum is zero; an endpoint without a deployment changes nothing."""
    wait(cloud, put_endpoint(cloud))
    cloud.clock.advance(24 * HOUR)
    bill = cloud.bill()
    assert (bill.rows, bill.running, bill.total_usd, str(bill)) == ((), (), 0.0, "nothing ran")


def test_a_deployment_bills_from_its_acceptance_until_it_is_gone(cloud: Cloud) -> None:
    """Each of its machines costs the price of the catalogue, also while it comes up and while it goes."""
    wait(cloud, put_endpoint(cloud))
    accepted = cloud.clock.now()
    put_deployment(cloud, count=2)
    assert [(row.hours, row.ending) for row in cloud.bill().running] == [(0.0, False)]
    cloud.clock.advance(5 * HOUR)
    began = ask(cloud, "DELETE", D)
    bill = cloud.bill()
    assert names(bill.running) == ["phi-test/blue"]
    assert bill.leaks == ()
    wait(cloud, began)
    gone = cloud.clock.now()
    cloud.clock.advance(HOUR)
    [row] = cloud.bill().rows
    assert (row.kind, row.size, row.machines, row.price_usd_per_hour) == ("deployment", A100, 2, PRICE)
    assert (row.started, row.ended) == (accepted, gone)
    assert row.cost_usd == pytest.approx(2 * PRICE * ((gone - accepted) / HOUR))


def test_a_deployment_of_another_scale_has_another_row(cloud: Cloud) -> None:
    """A change of its number of machines counts from when it was asked for; the same number is none."""
    wait(cloud, put_endpoint(cloud))
    wait(cloud, put_deployment(cloud))
    for count in (1, 3):
        cloud.clock.advance(HOUR)
        wait(cloud, put_deployment(cloud, count=count))
    one, three = cloud.bill().rows
    assert (one.machines, three.machines, one.ended, three.ended) == (1, 3, three.started, None)


def test_a_failed_deployment_bills_until_it_is_deleted(cloud: Cloud) -> None:
    """Its machines are held though it answers nothing."""
    cloud.faults.next(DeploymentFails())
    wait(cloud, put_endpoint(cloud))
    assert wait(cloud, put_deployment(cloud))["status"] == "Failed"
    cloud.clock.advance(HOUR)
    assert names(cloud.bill().leaks) == ["phi-test/blue"]
    wait(cloud, ask(cloud, "DELETE", D))
    assert cloud.bill().running == ()


def test_deleting_an_endpoint_ends_its_deployments(cloud: Cloud) -> None:
    """What it had is on the bill afterwards, and over."""
    wait(cloud, put_endpoint(cloud))
    for name in ("blue", "green"):
        wait(cloud, put_deployment(cloud, name))
    began = ask(cloud, "DELETE", E)
    assert cloud.bill().leaks == ()
    wait(cloud, began)
    bill = cloud.bill()
    assert names(bill.rows) == ["phi-test/blue", "phi-test/green"]
    assert {row.ended for row in bill.rows} == {cloud.clock.now()}


@pytest.mark.parametrize("path", [D, E])
def test_a_deletion_that_fails_ends_nothing(cloud: Cloud, path: str) -> None:
    """What could not be deleted bills on, and is a leak."""
    wait(cloud, put_endpoint(cloud))
    wait(cloud, put_deployment(cloud))
    cloud.faults.next(OperationFails())
    assert wait(cloud, ask(cloud, "DELETE", path))["status"] == "Failed"
    assert names(cloud.bill().leaks) == ["phi-test/blue"]


# Clusters


def test_a_cluster_without_nodes_costs_nothing(cloud: Cloud) -> None:
    """It may stay for days; one whose making failed had no node either, also once it is deleted."""
    wait(cloud, cluster(cloud))
    cloud.faults.next(ProvisioningFails())
    wait(cloud, cluster(cloud, "failed", minNodeCount=1))
    cloud.clock.advance(48 * HOUR)
    assert cloud.bill().rows == ()
    wait(cloud, ask(cloud, "DELETE", "computes/failed?underlyingResourceAction=Delete"))
    assert cloud.bill().rows == ()


def test_nodes_that_a_cluster_keeps_bill(cloud: Cloud) -> None:
    """They do from when it is there until its minimum is none."""
    wait(cloud, cluster(cloud, minNodeCount=2))
    cloud.clock.advance(HOUR)
    bill = cloud.bill()
    assert names(bill.leaks) == ["gpu"]
    assert bill.total_usd == pytest.approx(2 * PRICE)
    wait(cloud, cluster(cloud, minNodeCount=0))
    cloud.clock.advance(HOUR)
    assert rows(cloud.bill()) == [("gpu", 2, HOUR, True)]


def test_a_deleted_cluster_stays_on_the_bill(cloud: Cloud) -> None:
    """It bills until it is gone, and is no leak meanwhile; one of its name begins anew."""
    wait(cloud, cluster(cloud, minNodeCount=1))
    cloud.clock.advance(HOUR)
    began = ask(cloud, "DELETE", "computes/gpu?underlyingResourceAction=Delete")
    assert names(cloud.bill().running) == ["gpu"]
    assert cloud.bill().leaks == ()
    wait(cloud, began)
    cloud.clock.advance(HOUR)
    wait(cloud, cluster(cloud, minNodeCount=2))
    before, after = cloud.bill().rows
    assert (before.machines, after.machines) == (1, 2)
    assert before.hours == pytest.approx(1 + 1 / 60)


def test_a_cluster_that_could_not_be_deleted_bills_on(cloud: Cloud) -> None:
    """What it cost before is not forgotten, also once it is changed."""
    wait(cloud, cluster(cloud, minNodeCount=1))
    cloud.clock.advance(HOUR)
    cloud.faults.next(OperationFails())
    began = ask(cloud, "DELETE", "computes/gpu?underlyingResourceAction=Delete")
    assert wait(cloud, began)["status"] == "Failed"
    assert names(cloud.bill().leaks) == ["gpu"]
    wait(cloud, cluster(cloud))
    [(_, machines, time, over)] = rows(cloud.bill())
    assert (machines, over) == (1, True)
    assert time >= HOUR


def test_nodes_bill_while_they_work_and_idle(cloud: Cloud) -> None:
    """A job of five hours on a cluster costs five hours of a node, and the idle time."""
    wait(cloud, cluster(cloud))
    submit(cloud, "tune", compute="gpu")
    cloud.clock.advance(2 * HOUR)
    assert names(cloud.bill().leaks) == ["gpu"]
    cloud.clock.advance(3.25 * HOUR)
    bill = cloud.bill()
    assert cloud.jobs.find("tune").status == "Completed"
    assert names(bill.running) == ["gpu"]
    assert bill.leaks == ()
    cloud.clock.advance(HOUR)
    assert rows(cloud.bill()) == [("gpu", 1, 5.5 * HOUR, True)]


def test_jobs_at_one_time_have_nodes_each(cloud: Cloud) -> None:
    """Two nodes are up until the last has been idle; the bill and the cluster say the same."""
    wait(cloud, cluster(cloud))
    for name in ("one", "two"):
        submit(cloud, name, compute="gpu")
    cloud.clock.advance(5.25 * HOUR)
    [row] = cloud.bill().running
    nodes = cloud.computes.find("gpu").nodes
    assert (row.machines, nodes.running, nodes.idle) == (2, 0, 2)


def test_idle_nodes_work_again(cloud: Cloud) -> None:
    """A job that comes within the idle time takes the node that is there: there is one row for both."""
    wait(cloud, cluster(cloud))
    submit(cloud, "one", compute="gpu")
    cloud.clock.advance(5.25 * HOUR)
    submit(cloud, "two", compute="gpu")
    cloud.clock.advance(24 * HOUR)
    [(_, machines, time, over)] = rows(cloud.bill())
    assert (machines, over) == (1, True)
    assert 10.5 * HOUR < time < 11 * HOUR


def test_low_priority_has_its_own_price(cloud: Cloud) -> None:
    """Where that is not known, neither is the cost, nor the sum: it is not taken for zero."""
    wait(cloud, cluster(cloud, minNodeCount=1, priority="LowPriority"))
    cloud.clock.advance(HOUR)
    bill = cloud.bill()
    assert [(row.price_usd_per_hour, row.cost_usd) for row in bill.rows] == [(None, None)]
    assert bill.total_usd is None
    assert str(bill).splitlines()[-1].split() == ["total", "unknown"]


# Jobs


def test_a_step_on_serverless_compute_has_a_row(cloud: Cloud) -> None:
    """Each of the five steps has a machine of its own, of the size that it asks for, for an hour."""
    submit(cloud, "tune")
    cloud.clock.advance(24 * HOUR)
    bill = cloud.bill()
    assert {(row.machines, row.hours, row.kind) for row in bill.rows} == {(1, 1.0, "job")}
    assert len(bill.rows) == 5
    assert "tune/chat_completion_finetune" in names(bill.rows)
    assert [row.price_usd_per_hour for row in bill.rows] == [PRICES[row.size] for row in bill.rows]
    assert bill.running == ()


def test_a_job_that_goes_on_is_a_leak(cloud: Cloud) -> None:
    """So it is while it waits for machines and between two steps, until somebody cancels it."""
    submit(cloud, "tune")
    assert names(cloud.bill().leaks) == ["tune"]
    cloud.clock.advance(timedelta(minutes=10))
    assert names(cloud.bill().leaks) == ["tune/ft_nlp_common_validation"]
    cloud.clock.advance(timedelta(minutes=55))
    bill = cloud.bill()
    assert (names(bill.running), bill.running[0].cost_usd) == (["tune"], 0.0)
    cloud.clock.advance(timedelta(minutes=5))
    ask(cloud, "POST", "jobs/tune/cancel")
    assert len(cloud.bill().running) == 1
    assert cloud.bill().leaks == ()
    cloud.clock.advance(HOUR)
    assert cloud.bill().running == ()


@pytest.mark.parametrize(("status", "leaks"), [("NotResponding", []), ("Paused", ["gpu"])])
def test_a_halted_job_bills_until_it_is_over(
    cloud: Cloud, status: Literal["NotResponding", "Paused"], leaks: list[str]
) -> None:
    """One that does not respond is over; one that is paused holds its nodes."""
    wait(cloud, cluster(cloud))
    cloud.faults.next(JobFails(status=status))
    submit(cloud, "tune", compute="gpu")
    cloud.clock.advance(24 * HOUR)
    assert cloud.jobs.find("tune").status == status
    assert names(cloud.bill().leaks) == leaks


# Sums and tables


def charge(machines: int, hours: float, price: float | None) -> Charge:
    """A row that is over."""
    ended = START + hours * HOUR
    return Charge("gpu", "cluster", A100, machines, START, ended, hours, price, ending=False)


PRICED = st.builds(charge, st.integers(0, 8), st.floats(0, 1000), st.floats(0, 100))


@given(st.lists(PRICED))
def test_the_total_is_the_sum_of_the_rows(charges: list[Charge]) -> None:
    """It is never negative, and one row of an unknown price makes it unknown."""
    bill = Bill(charges)
    costs = [row.machines * row.hours * (row.price_usd_per_hour or 0) for row in charges]
    assert bill.total_usd is not None
    assert bill.total_usd == pytest.approx(sum(costs))
    assert bill.total_usd >= 0
    assert Bill([*charges, charge(1, 1.0, None)]).total_usd is None


@given(st.lists(PRICED, min_size=1))
def test_the_table_is_aligned(charges: list[Charge]) -> None:
    """Numbers end below the end of their titles, and there is a line for each row."""
    lines = str(Bill(charges)).splitlines()
    assert len(lines) == len(charges) + 2
    assert len({len(line) for line in lines}) == 1
    for title in ("machines", "hours", "USD/hour"):
        end = lines[0].index(f" {title} ") + len(title) + 1
        assert all(line[end - 1].isdigit() and line[end] == " " for line in lines[1:-1])


def test_a_table_reads_like_a_table() -> None:
    """What is running says so; times are those of the clock, in UTC."""
    running = Charge("phi/blue", "deployment", A100, 2, START, None, 1.5, 3.673, ending=False)
    going = Charge("gpu", "cluster", "Standard_NC6", 10, START, None, 1.5, None, ending=True)
    title, first, second, total = str(Bill([running, going])).splitlines()
    assert title == (
        "resource  kind        size                      machines  started           ended          "
        "hours  USD/hour      USD"
    )
    assert first == (
        "phi/blue  deployment  Standard_NC24ads_A100_v4         2  2026-08-01 00:00  still running  "
        " 1.50     3.673    11.02"
    )
    assert second == (
        "gpu       cluster     Standard_NC6                    10  2026-08-01 00:00  ending         "
        " 1.50   unknown  unknown"
    )
    assert total.split() == ["total", "unknown"]


MINUTES = st.integers(0, 30)
HOLDS = st.lists(
    st.builds(
        lambda machines, start, lasts: Hold(
            machines, START + timedelta(minutes=start), START + timedelta(minutes=start + lasts)
        ),
        st.integers(0, 4),
        MINUTES,
        st.integers(1, 30),
    )
)


@given(HOLDS, MINUTES)
def test_holds_add_up_or_overlap(holds: list[Hold], minute: int) -> None:
    """At each time the stretches have the sum of what is held then, or the most of it, once."""
    when = START + timedelta(minutes=minute, seconds=30)

    def at(some: Sequence[Hold]) -> list[int]:
        return [hold.machines for hold in some if hold.started <= when < hold.until]

    assert sum(at(list(together(holds)))) == sum(at(holds))
    assert at(at_least(holds)) == [most for most in [max(at(holds), default=0)] if most]


@given(
    st.lists(st.tuples(st.sampled_from(["scale", "delete", "wait"]), st.integers(1, 3), MINUTES), max_size=6)
)
def test_costs_add_up_as_time_passes(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is done to a deployment, the sum grows by what runs, for as long as it runs."""
    cloud = Cloud(Settings(start=START, quota={"standardNCADSA100v4Family": 480}))
    wait(cloud, put_endpoint(cloud))
    for action, count, minutes in steps:
        if action == "scale":
            put_deployment(cloud, count=count)
        if action == "delete" and cloud.endpoints.deployments():
            wait(cloud, ask(cloud, "DELETE", D))
        before = cloud.bill()
        cloud.clock.advance(timedelta(minutes=minutes))
        after = cloud.bill()
        rate = sum(row.machines * PRICE for row in before.running)
        assert before.total_usd is not None
        assert after.total_usd == pytest.approx(before.total_usd + rate * minutes / 60)
        assert all(row.hours >= 0 for row in after.rows)


# The plugin


@pytest.fixture
def outcome(pytester: pytest.Pytester) -> Callable[[str], pytest.RunResult]:
    """Run tests in a project of their own, which takes only markers that it knows."""

    def run(source: str) -> pytest.RunResult:
        pytester.makepyfile(f"import pytest\n\n{source}")
        # The entry point is there only where the project is installed.
        plugin = ("-p", "no:phi_finetune", "-p", "phi_finetune.testing.plugin")
        return pytester.runpytest(*plugin, "--strict-markers", "-W", "error")

    return run


LEAVES = """
def leave(azure):
    from phi_finetune.testing import FakeAzure
    from finetunes import submit
    submit(azure.cloud, "nightly")
"""


def test_a_test_that_leaves_something_running_fails(outcome: Callable[[str], pytest.RunResult]) -> None:
    """The error at its end is a table that names it; the test's own failure is reported too."""
    result = outcome(
        LEAVES
        + """
def test_leaves(fake_azure):
    leave(fake_azure)

def test_fails_and_leaves(fake_azure):
    leave(fake_azure)
    assert fake_azure.endpoints, "its own failure"

def test_tidy(fake_azure):
    leave(fake_azure)
    fake_azure.cloud.jobs.find("nightly").cancel()
"""
    )
    result.assert_outcomes(passed=2, failed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*StillBilling: the test left this running:",
            "*resource *kind *USD",
            "*nightly *job * still running *",
        ]
    )
    result.stdout.fnmatch_lines(["*AssertionError: its own failure*"])


def test_the_marker_lets_a_test_leave_something(outcome: Callable[[str], pytest.RunResult]) -> None:
    """It is known, so that a project with strict markers can have it."""
    result = outcome(
        LEAVES
        + """
@pytest.mark.leaves_running
def test_leaves(fake_azure):
    leave(fake_azure)
"""
    )
    result.assert_outcomes(passed=1)


def test_a_fixture_may_clean_up(outcome: Callable[[str], pytest.RunResult]) -> None:
    """What a fixture that has ``fake_azure`` ends after the test is no leak."""
    result = outcome(
        LEAVES
        + """
@pytest.fixture
def job(fake_azure):
    leave(fake_azure)
    yield
    fake_azure.cloud.jobs.find("nightly").cancel()

def test_looks(job):
    pass
"""
    )
    result.assert_outcomes(passed=1)


def test_a_whole_fine_tune_leaves_no_leak(fake_azure: FakeAzure) -> None:
    """The fixture's check holds for this library's own way: train on a cluster, deploy, delete."""
    ws = fake_azure.workspace()
    gpu = ws.gpu_compute("gpu", size=A100).ensure()
    job = ws.foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample()).on(gpu).submit().wait()
    with job.register("tuned").deploy(instance_type=A100) as endpoint:
        assert names(fake_azure.billing().leaks) == [f"{endpoint.name}/default"]
    bill = fake_azure.billing()
    assert [row.kind for row in bill.rows] == ["cluster", "deployment"]
    assert bill.leaks == ()
