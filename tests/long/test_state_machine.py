"""Any order of calls, faults, crashes and jumps of the clock, with the fake as the truth (reliability.md R20).

Whatever happens, there is one of each thing at most, whatever bills is known to the caller, and sweeping after all
leases leaves nothing. What is known is what a call gave, what an error told, and what a program died in the middle of.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

import pipelines
import pytest
from canaries import Canaries, all_records, told_by
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tuning import PROMPT, REPLY, SIZE, data

import phi_finetune as pf
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.errors import JobFailed, NotFound, PhiFinetuneError, ScoringUnavailable
from phi_finetune.retries import PatientRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import TWELVE_KINDS, RequestFault

T = TypeVar("T")

LEASE = timedelta(days=2)
GPU = "gpu"
FACTS = [data(f"facts-{number}") for number in range(2)]
SPENT = ("Failed", "Canceled", "NotResponding", "Paused")
SPECS = st.sampled_from([0, 1])
NAMES = st.sampled_from(["one", "two"])
SIDES = st.sampled_from(["default", "green"])


class Crash(BaseException):
    """The program is dead: nothing that it does after this reaches anybody."""


class Lives(RuleBasedStateMachine):
    """A user's programs, one after the other, on one fake Azure."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.known: set[str] = set()
        self.jobs: dict[int, str] = {}
        self.models: dict[int, str] = {}
        self.errors: list[PhiFinetuneError] = []
        self.dies_in: int | None = None
        self.carried_out = False
        self.rate = 0.0

    @initialize(late=st.sampled_from([0, 2]), seed=st.integers(0, 1000))
    def begin(self, late: int, seed: int) -> None:
        """A new fake, which shows things late or at once."""
        self.azure = self.open.enter_context(
            FakeAzure(
                seed=seed,
                start=datetime(2026, 1, 1, tzinfo=UTC),
                quota={"standardNCADSA100v4Family": 1000},
                visible_after_reads=late,
                gone_after_reads=late,
                traffic_after_reads=late,
            )
        )
        self.rng, self.late = Random(seed), late
        self.canaries = Canaries(self.azure)
        self.records = self.open.enter_context(all_records())
        handle = self.canaries.listening(self.azure.cloud.handle)
        self.azure.cloud.handle = lambda request: self.mortal(handle, request)  # type: ignore[method-assign]
        self.restart()
        # One model is there from the start, so that deploying does not wait for luck.
        pipelines.start(self.azure.cloud, "tune")
        job = self.ws.attach(pf.FinetuneJob("tune", "Running")).wait()
        self.models[0] = job.register(FACTS[0].name).version

    def mortal(self, handle: Callable[[Request], Response], request: Request) -> Response:
        """What a program's requests meet; a dead one's reach nobody."""
        if self.dies_in is None:
            return handle(request)
        self.dies_in -= 1
        if self.dies_in == 0 and self.carried_out:
            handle(request)
        if self.dies_in <= 0:
            raise Crash
        return handle(request)

    def attempt(
        self, call: Callable[[], T], *touched: str, fine: tuple[type[Exception], ...] = ()
    ) -> T | None:
        """Make a call that may make or leave these things; None where it failed."""
        calm = not self.rate and not self.azure.faults.unmet and self.dies_in is None
        try:
            made = call()
        except PhiFinetuneError as error:
            self.errors.append(error)
            if calm and not isinstance(error, fine if not self.late else (*fine, NotFound)):
                raise AssertionError("nothing went wrong, and yet it failed") from error
            told = "\n".join([str(error), *getattr(error, "__notes__", [])])
            self.known |= {one for one in touched if one.partition("/")[2] in told and error.costs}
            return None
        except Crash:
            # Whoever runs it again, or sweeps, finds what it left.
            self.known |= set(touched)
            self.dies_in = None
            self.restart()
            return None
        self.known |= set(touched)
        self.dies_in = None
        return made

    # What may go wrong

    @rule(probability=st.sampled_from([0.0, 0.1, 0.3]))
    def weather(self, probability: float) -> None:
        """From now on each request fails with a probability."""
        self.rate = probability
        self.azure.faults.at_rate(probability, seed=self.rng.randrange(1000))

    @rule(
        fault=st.none() | st.sampled_from(TWELVE_KINDS),
        times=st.sampled_from([1, 3, 12]),
        number=st.integers(1, 12),
        carried_out=st.booleans(),
    )
    def goes_wrong(self, fault: RequestFault | None, times: int, number: int, carried_out: bool) -> None:
        """The next requests fail, or the program dies at one of them."""
        if fault is not None:
            self.azure.faults.next(fault, times=times)
        else:
            self.dies_in, self.carried_out = number, carried_out

    @rule(hours=st.sampled_from([1, 20, 100]))
    def time_passes(self, hours: int) -> None:
        """Nobody does anything for a while."""
        self.azure.clock.advance(timedelta(hours=hours))

    @rule()
    def restart(self) -> None:
        """Another program begins; it knows names alone."""
        self.dies_in = None
        self.ws = self.azure.workspace(retries=PatientRetries(rng=self.rng))

    # What users do

    @rule()
    def ensure(self) -> None:
        """A cluster."""
        self.attempt(lambda: self.ws.gpu_compute(GPU, size=SIZE).ensure(lease=LEASE), f"cluster/{GPU}")

    @rule(nodes=st.sampled_from([0, 1]))
    def scale(self, nodes: int) -> None:
        """The cluster keeps machines, or none."""
        cluster = self.ws.gpu_compute(GPU, size=SIZE)
        self.attempt(lambda: cluster.scale(min_nodes=nodes), f"cluster/{GPU}", fine=(NotFound,))

    @rule(spec=SPECS)
    def submit(self, spec: int) -> None:
        """The same fine-tune as ever: it is the same job unless that is spent."""
        # What may be running is told by the name that it has.
        tune = self.finetune(spec)
        if tune is None:
            return
        names = [tune.job_name(attempt) for attempt in range(1, 60)]
        fresh = next(name for name in names if not self.spent(name))
        job = self.attempt(tune.submit, f"job/{fresh}")
        if job is not None:
            assert job.name == fresh
            self.jobs[spec] = job.name

    @precondition(lambda self: self.jobs)
    @rule(spec=SPECS)
    def wait(self, spec: int) -> None:
        """For a job's end."""
        name = self.jobs.get(spec)
        if name is not None:
            self.attempt(lambda: self.ws.job(name).wait(), fine=(JobFailed,))

    @precondition(lambda self: self.jobs)
    @rule(spec=SPECS)
    def cancel(self, spec: int) -> None:
        """A job."""
        name = self.jobs.get(spec)
        if name is not None:
            self.attempt(lambda: self.ws.job(name).cancel())

    @precondition(lambda self: self.jobs)
    @rule(spec=SPECS)
    def register(self, spec: int) -> None:
        """The model of a job that is done."""
        name = self.jobs.get(spec)
        if name is None or self.azure.jobs[name].status != "Completed":
            return
        model = self.attempt(lambda: self.ws.job(name).register(FACTS[spec].name))
        if model is not None:
            self.models[spec] = model.version

    @rule(spec=SPECS)
    def train(self, spec: int) -> None:
        """All of these in a row."""
        self.submit(spec)
        self.wait(spec)
        self.register(spec)

    @rule(spec=SPECS, name=NAMES)
    def deploy(self, spec: int, name: str) -> None:
        """A model; the endpoint of that name may serve the other one."""
        self.serve(spec, name)

    @rule(spec=SPECS, name=NAMES)
    def deploy_for_a_while(self, spec: int, name: str) -> None:
        """With a block at whose end the endpoint is gone, if the block made it."""
        endpoint = self.serve(spec, name)
        if endpoint is None:
            return
        if endpoint.created_here:
            # What stays of it from now on must be told.
            self.known.discard(f"endpoint/{name}")

        def block() -> bool:
            with self.ws.attach(endpoint) as here:
                here.chat(PROMPT, do_sample=False)
            return True

        if self.attempt(block, f"endpoint/{name}", fine=(ScoringUnavailable,)) and endpoint.created_here:
            assert name not in self.azure.endpoints
            self.known.discard(f"endpoint/{name}")

    @precondition(lambda self: self.endpoints())
    @rule(name=NAMES, action=st.sampled_from(["chat", "extend", "hand over"]))
    def use(self, name: str, action: str) -> None:
        """An endpoint that is there; what it answers is the model's, and another process is given the same."""
        name = self.one_that_is_there(name)

        def call() -> bool:
            endpoint = self.ws.endpoint(name)
            if action == "chat":
                assert endpoint.chat(PROMPT, do_sample=False).text == REPLY
            elif action == "extend":
                endpoint.extend(LEASE)
            else:
                self.ws.attach(pickle.loads(pickle.dumps(endpoint))).refresh()
            return True

        self.attempt(call, fine=(NotFound, ScoringUnavailable))

    @precondition(lambda self: self.endpoints())
    @rule(spec=SPECS, name=NAMES)
    def add(self, spec: int, name: str) -> None:
        """A second deployment."""
        name = self.one_that_is_there(name)
        if spec in self.models:

            def call() -> pf.Endpoint:
                return self.ws.endpoint(name).deploy(self.model(spec), "green", instance_type=SIZE)

            self.attempt(call, f"endpoint/{name}", fine=(PhiFinetuneError,))

    @precondition(lambda self: self.endpoints())
    @rule(name=NAMES, side=SIDES)
    def shift(self, name: str, side: str) -> None:
        """All traffic to one deployment, which may not be there."""
        name = self.one_that_is_there(name)
        self.attempt(lambda: self.ws.endpoint(name).shift_traffic({side: 100}), fine=(PhiFinetuneError,))

    @precondition(lambda self: self.endpoints())
    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        """An endpoint; what is said to be gone is gone."""
        name = self.one_that_is_there(name)

        def call() -> bool:
            self.ws.attach(pf.Endpoint(name, "", "key", "Succeeded")).delete()
            return True

        if self.attempt(call):
            assert name not in self.azure.endpoints
            self.known.discard(f"endpoint/{name}")

    @rule()
    def sweep(self) -> None:
        """What has outlived its lease."""
        for one in self.attempt(lambda: self.ws.sweep()) or ():
            if one.outcome == "deleted":
                self.known.discard(f"{one.kind}/{one.name}")

    # What holds

    @invariant()
    def there_is_one_of_each(self) -> None:
        """One job that is not spent for each fine-tune, one version for each job, and no endpoint of another name."""
        if not hasattr(self, "azure"):
            return
        live = [name for name, job in self.azure.jobs.items() if job.status not in SPENT]
        stems = Counter(job_stem(name) for name in live)
        assert all(count == 1 for count in stems.values()), live
        for versions in self.azure.models.values():
            makers = Counter(version.version for version in versions)
            assert all(count == 1 for count in makers.values())
        assert set(self.azure.endpoints) <= {"one", "two"}
        assert set(self.azure.computes) <= {GPU}

    @invariant()
    def whatever_bills_is_known(self) -> None:
        """To who called, or from what an error told."""
        if not hasattr(self, "azure"):
            return
        kinds = {"cluster": "cluster", "deployment": "endpoint", "job": "job"}
        leaks = {f"{kinds[one.kind]}/{one.resource.partition('/')[0]}" for one in self.azure.billing().leaks}
        assert leaks <= self.known

    def teardown(self) -> None:
        """After all leases one sweep leaves nothing that bills; and no secret was told."""
        try:
            if hasattr(self, "azure"):
                self.calm_down()
                self.look_at_the_end()
        finally:
            self.open.close()

    def look_at_the_end(self) -> None:
        """Sweep, once all leases have ended."""
        self.azure.clock.advance(timedelta(days=60))
        # The fake counts reads where the service counts seconds: what nobody has read yet is absent from the first.
        swept = [one for _ in range(1 + self.late) for one in self.azure.workspace().sweep()]
        assert [str(one) for one in swept if one.outcome != "deleted"] == []
        self.azure.clock.advance(timedelta(hours=2))
        assert list(self.azure.billing().leaks) == []
        assert (dict(self.azure.endpoints), dict(self.azure.computes)) == ({}, {})
        assert self.canaries.seen_in(self.records.texts, and_texts=False) == []
        told = (text for error in self.errors[:10] for text in told_by(error))
        assert self.canaries.seen_in(told, and_texts=False) == []

    def calm_down(self) -> None:
        """Nothing more goes wrong."""
        self.dies_in, self.rate = None, 0.0
        self.azure.faults.stop()
        for fault in self.azure.faults.unmet:
            self.azure.faults.met(fault)

    def finetune(self, spec: int) -> pf.Finetune | None:
        """The request for a fine-tune; putting it together asks for the model."""
        base = self.attempt(lambda: self.ws.foundation_model("Phi-4"))
        return None if base is None else base.finetune(FACTS[spec]).on(pf.GpuCompute.serverless(SIZE))

    def model(self, spec: int) -> pf.RegisteredModel:
        """A model that was registered."""
        return self.ws.model(FACTS[spec].name, version=self.models[spec])

    def serve(self, spec: int, name: str) -> pf.Endpoint | None:
        """A model behind an endpoint of a name."""
        if spec not in self.models:
            return None
        return self.attempt(
            lambda: self.model(spec).deploy(name, instance_type=SIZE, lease=LEASE),
            f"endpoint/{name}",
            fine=(PhiFinetuneError,),
        )

    def endpoints(self) -> list[str]:
        """Those that are there."""
        return list(self.azure.endpoints)

    def one_that_is_there(self, name: str) -> str:
        """The endpoint of a name, or another."""
        return name if name in self.azure.endpoints else self.endpoints()[0]

    def spent(self, name: str) -> bool:
        """Whether a job of a name ended without a model."""
        job = self.azure.jobs.get(name)
        return job is not None and job.status in SPENT


def job_stem(name: str) -> str:
    """A job's name without the number of the attempt."""
    head, _, last = name.rpartition("-")
    return head if last.isdigit() and len(last) < 3 else name


CHECKS = list(HealthCheck)


def test_any_order_of_calls_keeps_the_promises() -> None:
    """Some orders, the same each time."""
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=20,
            stateful_step_count=15,
            derandomize=True,
            deadline=None,
            suppress_health_check=CHECKS,
        ),
    )


@pytest.mark.long
def test_many_orders_of_calls_keep_the_promises() -> None:
    """Many, and others each time."""
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=500,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=CHECKS,
        ),
    )
