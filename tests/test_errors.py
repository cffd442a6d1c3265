from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune import errors
from phi_finetune.errors import (
    DeploymentFailed,
    InvalidParameter,
    JobFailed,
    PhiFinetuneError,
    ScoringTimeout,
)

KINDS: list[type[PhiFinetuneError]] = [getattr(errors, name) for name in errors.__all__]
DETAILS: dict[str, Any] = {
    "resource": "job tune",
    "why": "it rained",
    "costs": "one cluster",
    "next_call": "job.wait()",
    "status_code": 409,
    "code": "Rain",
    "request_id": "1f3a",
}
OWN: dict[str, Any] = {
    "successor": "Phi-4",
    "size": "Standard_NC6",
    "allowed": ("Standard_NC24ads_A100_v4",),
    "family": "standardNCFamily",
    "needed": 24,
    "available": 6,
    "name": "learning_rate",
    "value": -1.0,
    "file": "train.jsonl",
    "findings": ("weights.bin: it is a pickle",),
    "row": 7,
    "path": "messages[2]",
    "rule": "unknown-role",
    "suggestion": "answers-2",
    "job": "tune",
    "status": "Failed",
    "child": "step",
    "log_tail": "the end",
    "model_status": 400,
    "retry_after_s": 7.0,
    "last_status": "Running",
    "elapsed_s": 61.0,
    "limit_s": 60.0,
}


def own(kind: type[PhiFinetuneError]) -> dict[str, Any]:
    """A value for each detail that a class adds."""
    names = inspect.signature(kind).parameters
    values = {name: value for name, value in OWN.items() if name in names}
    # What may be is a list of sizes for one class, and words for the other.
    return {**values, "allowed": "1 to 2"} if kind is InvalidParameter else values


def build(kind: type[PhiFinetuneError]) -> PhiFinetuneError:
    """An error of a class, with every detail."""
    error = kind("It failed", **DETAILS, **own(kind))
    error.add_note("a note")
    return error


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_pickled_whole(kind: type[PhiFinetuneError]) -> None:
    """Class, text, details and notes come out of a pickle, and of a copy, as they went in."""
    error = build(kind)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert str(other) == str(error)
        assert vars(other) == vars(error)
        assert other.args == ("It failed",)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_answers_the_five_questions(kind: type[PhiFinetuneError]) -> None:
    """What, which, why, what it costs and what comes next, in that order."""
    lines = [line for line in str(build(kind)).splitlines() if not line.startswith(("Given", "Allowed"))]
    assert lines[:5] == [
        "It failed: it rained",
        "Resource: job tune",
        "Costs now: one cluster",
        "Next: job.wait()",
        "Request id: 1f3a",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_may_have_no_details(kind: type[PhiFinetuneError]) -> None:
    """Then it says what failed, and nothing else."""
    error = kind("It failed")
    assert (str(error), error.resource, error.why, error.next_call) == ("It failed", None, None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_details_that_a_class_adds_are_attributes(kind: type[PhiFinetuneError]) -> None:
    """A program reads them, without taking the text apart."""
    error = build(kind)
    for name, value in {**DETAILS, **own(kind)}.items():
        assert getattr(error, name) == value


def test_a_bad_parameter_says_what_was_given_and_what_may_be() -> None:
    """Name, value and range stand in the text, each once, and a long value is cut."""
    error = InvalidParameter("It is out of range", name="n", value=3, allowed="1 to 2", next_call="mend it")
    assert str(error) == "It is out of range\nGiven: n = 3\nAllowed: 1 to 2\nNext: mend it"
    assert (
        str(InvalidParameter("n must be 1 to 2, not 3", name="n", value=3, allowed="1 to 2")).count("\n") == 0
    )
    assert len(str(InvalidParameter("It is long", name="n", value="x" * 500))) < 150


def test_there_is_one_root() -> None:
    """Everything that is raised here can be caught at once, and the tree of the docstring is the tree."""
    assert all(issubclass(kind, PhiFinetuneError) for kind in KINDS)
    described = [line.strip("|- `").partition("(")[0].split()[0] for line in _tree(errors.__doc__ or "")]
    assert sorted(described) == sorted(kind.__name__ for kind in KINDS)


def _tree(text: str) -> list[str]:
    start = text.index("PhiFinetuneError")
    return [line for line in text[start : text.index("\n\nEach error")].splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidParameter, ValueError),
        (errors.InvalidData, ValueError),
        (errors.ScoringTimeout, TimeoutError),
        (errors.DeadlineExceeded, TimeoutError),
        (errors.MissingDependency, ImportError),
        (errors.JobCanceled, errors.JobFailed),
        (errors.ScoringThrottled, errors.ScoringFailed),
    ],
)
def test_errors_are_what_python_would_raise(kind: type, builtin: type) -> None:
    """Code that catches Python's own class catches ours."""
    assert issubclass(kind, builtin)


def test_logs_come_last() -> None:
    """The end of a log follows the five answers."""
    failed = JobFailed("It failed", child="step", log_tail="a\nb", next_call="n")
    assert str(failed) == "It failed\nNext: n\nLog of step:\na\nb"
    assert str(JobFailed("It failed", job="tune", log_tail="a")).endswith("Log of tune:\na")
    assert str(DeploymentFailed("It failed", log_tail="a")).endswith("Log of the container:\na")


def test_a_resource_is_not_said_twice() -> None:
    """Where the first line names it already, it has no line of its own."""
    assert str(ScoringTimeout("endpoint e is slow", resource="endpoint e")) == "endpoint e is slow"


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_any_text_survives_a_pickle(what: str, why: str, value: str) -> None:
    """Whatever the service wrote."""
    error = InvalidParameter(what, why=why, name="n", value=value)
    other = pickle.loads(pickle.dumps(error))
    assert (str(other), other.value) == (str(error), value)
