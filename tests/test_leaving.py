"""The way out: what bills is deleted, whatever strikes meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cutting import interrupted
from tuning import SIZE, Heard, deployed, sent, trained

import phi_finetune as pf
from phi_finetune._leaving import delete_surely
from phi_finetune.errors import DeadlineExceeded, PermissionMissing, ServiceError
from phi_finetune.events import Deleted, Event, Waiting
from phi_finetune.retries import NoRetries, PatientRetries, StandardRetries, for_leaving
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, EndlessOperation, ExpiredToken

DELETE = "DELETE */onlineEndpoints/*"


def impatient(azure: FakeAzure) -> pf.RegisteredModel:
    """A model of a workspace that sends every request once."""
    trained(azure, azure.workspace())
    return azure.workspace(retries=NoRetries()).model("facts")


@pytest.mark.parametrize(
    "fault",
    [
        Answer(DELETE, 503),
        Answer(DELETE, 429, headers={"Retry-After": "500"}),
        AnswerLost(DELETE, applied=False),
    ],
    ids=["503", "429", "reset"],
)
def test_leaving_the_block_is_patient(fake_azure: FakeAzure, fault: Answer | AnswerLost) -> None:
    """A workspace without retries, and eight failures of the deletion: it is gone all the same."""
    model = impatient(fake_azure)
    with model.deploy("answers", instance_type=SIZE):
        fake_azure.faults.next(fault, times=8 if isinstance(fault, AnswerLost) or fault.status == 503 else 3)
    assert fake_azure.endpoints == {}


def test_what_follows_the_deletion_is_patient(fake_azure: FakeAzure) -> None:
    """So are the looks whether it is gone."""
    model = impatient(fake_azure)
    with model.deploy("answers", instance_type=SIZE):
        fake_azure.faults.next(Answer("GET */mfeOperationsStatus/*", 500), times=8)
    assert fake_azure.endpoints == {}


def test_the_deletion_after_a_failure_is_patient(fake_azure: FakeAzure) -> None:
    """What a failed call made is deleted in the same way."""
    model = impatient(fake_azure)
    fake_azure.faults.next(Answer("PUT */deployments/*", 400, "BadRequest", "No such environment."))
    fake_azure.faults.next(Answer(DELETE, 503), times=8)
    with pytest.raises(pf.PhiFinetuneError, match="No such environment") as caught:
        model.deploy("answers", instance_type=SIZE)
    assert caught.value.costs == "nothing: endpoint answers was deleted again"
    assert fake_azure.endpoints == {}


def test_a_deletion_of_ones_own_is_as_patient_as_the_policy(fake_azure: FakeAzure) -> None:
    """``delete()`` sends as often as the workspace says, and tells what goes on billing."""
    endpoint = impatient(fake_azure).deploy("answers", instance_type=SIZE)
    fake_azure.faults.next(Answer(DELETE, 503))
    with pytest.raises(pf.PhiFinetuneError) as caught:
        endpoint.delete()
    assert caught.value.costs == "endpoint answers may still be there, and bill"
    assert len(sent(fake_azure, "DELETE", "*")) == 1


def test_what_may_not_be_deleted_says_what_it_costs(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Patience does not help against a missing right: the error has the costs, and the exact call."""
    endpoint = deployed(fake_azure, workspace)
    fake_azure.faults.next(Answer(DELETE, 403))
    with pytest.raises(PermissionMissing) as caught, endpoint:
        pass
    assert caught.value.costs == f"{endpoint.resource} may still be there, and bill"
    assert caught.value.next_call == f"ws.endpoint({endpoint.name!r}).delete()"


def test_a_deletion_without_end_is_told(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The way out has a limit too, of an hour, and says what goes on."""
    endpoint = deployed(fake_azure, workspace)
    fake_azure.faults.next(EndlessOperation())
    began = fake_azure.clock.monotonic()
    with pytest.raises(DeadlineExceeded) as caught, endpoint:
        pass
    assert 3600 <= fake_azure.clock.monotonic() - began < 3800
    assert caught.value.costs == f"{endpoint.resource} may still be there, and bill"


def test_a_token_that_expires_on_the_way_out_is_replaced(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The handle of the way out signs in as the workspace's own does."""
    endpoint = deployed(fake_azure, workspace)
    fake_azure.faults.next(ExpiredToken(DELETE))
    with endpoint:
        pass
    assert fake_azure.endpoints == {}


def test_the_deletion_is_heard_of_once(fake_azure: FakeAzure) -> None:
    """By the workspace's listener, whose errors do not keep the endpoint."""
    heard = Heard()
    with deployed(fake_azure, fake_azure.workspace(on_event=heard)):
        pass
    assert len(heard.of(Deleted)) == 1


def test_a_listener_that_fails_on_the_way_out_is_no_obstacle(fake_azure: FakeAzure) -> None:
    """Its error comes out, after the deletion was seen through."""
    leaving = False

    def listen(event: Event) -> None:
        if leaving and isinstance(event, Waiting):
            raise BrokenPipeError

    endpoint = deployed(fake_azure, fake_azure.workspace(on_event=listen))
    leaving = True
    with pytest.raises(BrokenPipeError) as caught, endpoint:
        pass
    assert fake_azure.endpoints == {}
    assert f"{endpoint.resource} was deleted all the same" in caught.value.__notes__


def test_a_second_interrupt_ends_it_and_says_what_is_left(
    fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch, workspace: pf.Workspace
) -> None:
    """Neither deletion reached the service: the note has the call that makes up for it."""
    endpoint = deployed(fake_azure, workspace)
    cut = interrupted(monkeypatch, fake_azure.cloud, 1, 2, when="before")
    with cut, pytest.raises(KeyboardInterrupt) as caught, endpoint:
        pass
    assert list(fake_azure.endpoints) == [endpoint.name]
    note = f"{endpoint.resource} may still be there, and bill. Next: ws.endpoint({endpoint.name!r}).delete()"
    assert note in caught.value.__notes__


def test_an_interrupt_that_was_made_up_for_says_so(
    fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch, workspace: pf.Workspace
) -> None:
    """And nothing else, although the first deletion had noted what may bill."""
    endpoint = deployed(fake_azure, workspace)
    cut = interrupted(monkeypatch, fake_azure.cloud, 1, when="before")
    with cut, pytest.raises(KeyboardInterrupt) as caught, endpoint:
        pass
    assert dict(fake_azure.endpoints) == {}
    assert caught.value.__notes__ == [f"{endpoint.resource} was deleted all the same"]


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [(NoRetries(), 30), (StandardRetries(attempts=2), 30), (PatientRetries(attempts=50), 50)],
)
def test_the_policy_of_the_way_out(policy: pf.protocols.RetryPolicy, attempts: int) -> None:
    """It is a patient one; one that is patient already stays."""
    leaving = for_leaving(policy)
    assert isinstance(leaving, PatientRetries)
    assert leaving.attempts == attempts


class Handle:
    """A handle that only says whether it was asked to be quiet.

    Attributes:
        quiet: What it was asked, each time.
    """

    def __init__(self) -> None:
        self.quiet: list[bool] = []

    def for_leaving(self, *, quiet: bool = False, limited: bool = False) -> Handle:
        assert not limited
        self.quiet.append(quiet)
        return self


def failing(*errors: BaseException | None) -> Callable[[object], None]:
    """A deletion that fails in these ways, one after the other; None is a success."""
    rest = iter(errors)

    def delete(client: object) -> None:
        error = next(rest)
        if error is not None:
            raise error

    return delete


BILLS = "the thing may still be there, and bill"


def surely(handle: Handle, *errors: BaseException | None) -> None:
    """Delete a thing."""
    delete_surely(handle, failing(*errors), resource="the thing", next_call="delete()")  # type: ignore[arg-type]


def test_an_error_of_the_deletion_has_what_it_costs() -> None:
    """Whatever was deleted, and whatever the error said before; nothing is tried twice."""
    handle = Handle()
    with pytest.raises(ServiceError) as caught:
        surely(handle, ServiceError("no", costs="little", next_call="rest"))
    assert (caught.value.costs, caught.value.next_call) == (BILLS, "delete()")
    assert handle.quiet == [False]


def test_an_error_after_an_interrupt_does_not_hide_it() -> None:
    """The interrupt comes out, and says what is left; the second deletion was quiet."""
    handle, interrupt = Handle(), KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as caught:
        surely(handle, interrupt, ServiceError("no"))
    assert caught.value is interrupt
    assert interrupt.__notes__ == [f"{BILLS}. Next: delete()"]
    assert interrupt.__cause__ is None
    assert handle.quiet == [False, True]


def test_a_second_interrupt_comes_out_in_place_of_the_first() -> None:
    """Both say what is left."""
    first, second = KeyboardInterrupt(), SystemExit()
    with pytest.raises(SystemExit) as caught:
        surely(Handle(), first, second)
    assert caught.value is second
    assert first.__notes__ == second.__notes__ == [f"{BILLS}. Next: delete()"]


def test_an_exit_that_was_made_up_for_keeps_what_it_said() -> None:
    """Only what an interrupt noted of the deletion is past."""
    exit_, interrupt = SystemExit(), KeyboardInterrupt()
    for error in (exit_, interrupt):
        error.add_note("said before")
        with pytest.raises(type(error)):
            surely(Handle(), error, None)
    assert exit_.__notes__ == ["said before", "the thing was deleted all the same"]
    assert interrupt.__notes__ == ["the thing was deleted all the same"]


def test_what_is_deleted_is_told_by_name() -> None:
    """Two texts in a row would be mixed up."""
    with pytest.raises(TypeError):
        delete_surely(Handle(), failing(None), "the thing", "delete()")  # type: ignore[misc, arg-type]
