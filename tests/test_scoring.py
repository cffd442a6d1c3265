from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tuning import PROMPT, REPLY, SIZE, content, data, deployed, sent, trained

import phi_finetune as pf
from phi_finetune.emulator.runners.runner import JobInputs, Reply, Run
from phi_finetune.emulator.runners.simulated import SimulatedRunner
from phi_finetune.errors import (
    InvalidParameter,
    PhiFinetuneError,
    ScoringFailed,
    ScoringModelError,
    ScoringThrottled,
    ScoringTimeout,
    ScoringUnauthorized,
    ScoringUnavailable,
    ServiceUnreachable,
    UnexpectedAnswer,
)
from phi_finetune.retries import NoRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, HalfBody, RequestFault, Silence

SCORE = "/score"


@pytest.fixture
def endpoint(fake_azure: FakeAzure, workspace: pf.Workspace) -> pf.Endpoint:
    """An endpoint that answers."""
    return deployed(fake_azure, workspace)


def bodies(azure: FakeAzure) -> list[Any]:
    """What the endpoint was sent."""
    return [content(entry) for entry in sent(azure, "POST", SCORE)]


# Forms of a question


def test_a_text_is_one_turn_of_the_user(fake_azure: FakeAzure, endpoint: pf.Endpoint) -> None:
    """It goes out in the form of Azure's chat models, with the settings that DESIGN promises."""
    assert endpoint.chat(PROMPT).text == REPLY
    assert bodies(fake_azure) == [
        {
            "input_data": {
                "input_string": [{"role": "user", "content": PROMPT}],
                "parameters": {
                    "temperature": 0.6,
                    "top_p": 0.9,
                    "do_sample": True,
                    "max_new_tokens": 200,
                },
            },
            "params": {},
        }
    ]


USER = {"role": "user", "content": PROMPT}
SYSTEM = {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": REPLY}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ([SYSTEM, USER], [SYSTEM, USER]),
        ([USER, ASSISTANT, USER], [USER, ASSISTANT, USER]),
        ({"messages": [SYSTEM, USER, ASSISTANT]}, [SYSTEM, USER]),
        ({"messages": [SYSTEM, USER], "prompt_id": "7"}, [SYSTEM, USER]),
        ([{**USER, "name": "Ann"}], [USER]),
    ],
)
def test_messages_and_rows_are_sent_without_the_answer(
    fake_azure: FakeAzure, endpoint: pf.Endpoint, message: Any, expected: Any
) -> None:
    """A list goes as it is; of a row the last turn, if it is the assistant's, stays here."""
    assert endpoint.chat(message).text
    assert bodies(fake_azure)[0]["input_data"]["input_string"] == expected


def test_a_row_of_the_data_is_asked_as_it_was_trained(endpoint: pf.Endpoint, fake_azure: FakeAzure) -> None:
    """The answer in the row is not sent, and comes back."""
    row = data().row(0)
    assert endpoint.chat(row).text == row.messages[-1].content
    assert REPLY not in json.dumps(bodies(fake_azure))


@pytest.mark.parametrize(
    "message",
    ["", "  ", [], {}, {"messages": []}, {"messages": [ASSISTANT]}, [{"role": "user"}], ["hello"], [1], 7],
)
def test_no_message_is_no_question(fake_azure: FakeAzure, endpoint: pf.Endpoint, message: Any) -> None:
    """Nothing is sent, and the error holds none of the text."""
    with pytest.raises(InvalidParameter) as caught:
        endpoint.chat(message)
    assert (caught.value.name, caught.value.value) == ("message", None)
    assert bodies(fake_azure) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_new_tokens": 0},
        {"repetition_penalty": 0.0},
    ],
)
def test_a_setting_out_of_range_is_refused(
    fake_azure: FakeAzure, endpoint: pf.Endpoint, settings: Any
) -> None:
    """With its name, its value and the range; nothing is sent."""
    with pytest.raises(InvalidParameter) as caught:
        endpoint.chat(PROMPT, **settings)
    assert {caught.value.name: caught.value.value} == settings
    assert caught.value.allowed
    assert bodies(fake_azure) == []


def test_settings_go_out(fake_azure: FakeAzure, endpoint: pf.Endpoint) -> None:
    """What was set is sent under Azure's names."""
    settings: dict[str, Any] = {
        "temperature": 0.0,
        "top_p": 1.0,
        "do_sample": False,
        "max_new_tokens": 5,
        "repetition_penalty": 1.2,
    }
    reply = endpoint.chat(PROMPT, **settings)
    assert bodies(fake_azure)[0]["input_data"]["parameters"] == settings
    assert reply.text != REPLY
    assert REPLY.startswith(reply.text)


# The reply


def test_a_reply_is_its_text(endpoint: pf.Endpoint) -> None:
    """It prints as text, names its deployment, and keeps the whole answer."""
    reply = endpoint.chat(PROMPT)
    assert str(reply) == reply.text == REPLY
    assert (reply.deployment, reply.raw) == ("default", {"output": REPLY})
    assert pickle.loads(pickle.dumps(reply)) == reply


class Canned:
    """A runner whose models answer the same to everything, after a while."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._inner = SimulatedRunner()

    def run(self, job: JobInputs) -> Run:
        return self._inner.run(job)

    def reply(self, model: Mapping[str, bytes], body: Any) -> Reply:
        return self._reply


def asked(reply: Reply) -> pf.ChatReply:
    """What ``chat`` makes of an answer."""
    with FakeAzure(runner=Canned(reply)) as azure:
        return deployed(azure, azure.workspace(retries=NoRetries())).chat(PROMPT)


def test_openais_form_is_read_too() -> None:
    """With the numbers of tokens, where the answer has them."""
    body = {
        "choices": [{"message": {"role": "assistant", "content": "Hello."}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    reply = asked(Reply(200, body))
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("Hello.", 3, 2)


@pytest.mark.parametrize(
    "body", [[], {}, {"output": 3}, {"choices": []}, {"choices": [{"message": {}}]}, "x"]
)
def test_an_answer_of_another_form_is_told(body: Any) -> None:
    """It is no empty reply; ``score`` gives it as it is."""
    with pytest.raises(UnexpectedAnswer, match="not as a chat model does") as caught:
        asked(Reply(200, body))
    assert "score" in (caught.value.next_call or "")


# Many at a time


def test_replies_come_in_the_order_of_the_questions(endpoint: pf.Endpoint) -> None:
    """Whichever is answered first."""
    rows = [data().row(number) for number in range(6)]
    replies = list(endpoint.chat_many(rows, sampling=pf.Sampling(do_sample=False), concurrency=3))
    assert [reply.text for reply in replies] == [row.messages[-1].content for row in rows]


def test_the_key_is_fetched_once(fake_azure: FakeAzure, endpoint: pf.Endpoint) -> None:
    """However many ask, and however many at a time."""
    list(endpoint.chat_many([PROMPT] * 8, concurrency=8))
    endpoint.chat(PROMPT)
    assert len(sent(fake_azure, "POST", "*/listKeys")) == 1
    assert len(bodies(fake_azure)) == 9


def test_a_question_that_fails_ends_the_rest(fake_azure: FakeAzure, endpoint: pf.Endpoint) -> None:
    """Those before it were given."""
    fake_azure.faults.next(Answer("POST */score", 424))
    replies = endpoint.chat_many([PROMPT, PROMPT], concurrency=1)
    with pytest.raises(ScoringModelError):
        next(replies)


# Raw bodies and files


def test_many_questions_are_read_as_they_are_asked(endpoint: pf.Endpoint) -> None:
    """An endless source is read no further than what is being asked."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield PROMPT

    assert len(list(islice(endpoint.chat_many(endless(), concurrency=2), 3))) == 3
    assert read <= 5


def test_a_raw_body_is_sent_as_it_is(fake_azure: FakeAzure, endpoint: pf.Endpoint) -> None:
    """And its answer given as it came; another deployment can be named."""
    body = {"input_data": {"input_string": [USER]}}
    assert endpoint.score(body, deployment="default") == {"output": REPLY}
    assert bodies(fake_azure) == [body]


def test_a_request_file_is_sent(fake_azure: FakeAzure, endpoint: pf.Endpoint, tmp_path: Path) -> None:
    """The file that ``write_request`` makes is what ``chat`` would send."""
    path = pf.write_request(data().row(0), tmp_path / "request.json", pf.Sampling(max_new_tokens=50))
    assert endpoint.score(str(path)) == {"output": REPLY}
    endpoint.chat(data().row(0), max_new_tokens=50)
    first, second = bodies(fake_azure)
    assert first == second


@pytest.mark.parametrize(
    ("text", "told"), [("{", "it is not JSON"), ("[1]", "holds no object"), (None, "No such")]
)
def test_a_file_that_is_no_request_is_named(
    fake_azure: FakeAzure, endpoint: pf.Endpoint, tmp_path: Path, text: str | None, told: str
) -> None:
    """The error has the file's name, and nothing is sent."""
    path = tmp_path / "request.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidParameter, match=told) as caught:
        endpoint.score(path)
    assert "request.json" in str(caught.value)
    assert bodies(fake_azure) == []


# Signing in


def test_entra_tokens_work_without_a_key(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The token is for the scoring audience, and no key is asked for."""
    endpoint = trained(fake_azure, workspace).deploy(instance_type=SIZE, auth="aad_token")
    assert endpoint.chat(PROMPT).text == REPLY
    assert "https://ml.azure.com/.default" in fake_azure.credential.requested
    assert sent(fake_azure, "POST", "*/listKeys") == []


def test_a_key_that_was_made_anew_is_fetched_anew(fake_azure: FakeAzure, endpoint: pf.Endpoint) -> None:
    """One 401, one new key, one more question; the caller notices nothing."""
    endpoint.chat(PROMPT)
    fake_azure.cloud.endpoints.keys.regenerate(fake_azure.endpoints[endpoint.name], "Primary", None)
    assert endpoint.chat(PROMPT).text == REPLY
    assert [entry.status for entry in sent(fake_azure, "POST", SCORE)] == [200, 401, 200]
    assert len(sent(fake_azure, "POST", "*/listKeys")) == 2


def test_a_new_endpoint_of_an_old_name_has_its_own_key(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """A key of the deleted one is not good for it, and is replaced."""
    model = trained(fake_azure, workspace)
    with model.deploy("answers", instance_type=SIZE) as first:
        first.chat(PROMPT)
    assert model.deploy("answers", instance_type=SIZE).chat(PROMPT).text == REPLY


# Refusals


@pytest.mark.parametrize(
    ("status", "kind", "next_call", "sends"),
    [
        (401, ScoringUnauthorized, "listKeys", 2),
        (404, ScoringUnavailable, "shift_traffic", 1),
        (408, ScoringTimeout, "request_timeout", 1),
        (424, ScoringModelError, "endpoint.logs()", 1),
        (429, ScoringThrottled, "more instances", 1),
        (500, ScoringFailed, "ask again", 1),
    ],
)
def test_each_refusal_has_its_class(
    fake_azure: FakeAzure, status: int, kind: type[ScoringFailed], next_call: str, sends: int
) -> None:
    """With the endpoint, the status, what it costs and what to do; and never the question."""
    endpoint = deployed(fake_azure, fake_azure.workspace(retries=NoRetries()))
    fake_azure.faults.next(Answer("POST */score", status, message=PROMPT), times=sends)
    with pytest.raises(ScoringFailed) as caught:
        endpoint.chat(PROMPT)
    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.resource) == (status, f"endpoint {endpoint.name}")
    assert error.costs == f"endpoint {endpoint.name} bills as before"
    assert next_call in (error.next_call or "")
    assert error.request_id
    assert PROMPT not in str(error) + repr(error)
    assert len(bodies(fake_azure)) == sends


@pytest.mark.parametrize(
    "fault",
    [
        AnswerLost("POST */score"),
        AnswerLost("POST */score", applied=False),
        Silence("POST */score"),
        HalfBody("POST */score", "half-json"),
        HalfBody("POST */score", "cut"),
        *(Answer("POST */score", status) for status in (429, 500, 502, 503)),
    ],
    ids=str,
)
def test_a_question_may_be_asked_again(
    fake_azure: FakeAzure, endpoint: pf.Endpoint, fault: RequestFault
) -> None:
    """It changes nothing; what came back whole is the reply, after one more send."""
    fake_azure.faults.next(fault)
    assert endpoint.chat(PROMPT).text == REPLY
    assert len(bodies(fake_azure)) == 2


@pytest.mark.parametrize("status", [400, 404, 408, 424, 504])
def test_an_answer_that_took_its_time_is_not_asked_for_again(
    fake_azure: FakeAzure, endpoint: pf.Endpoint, status: int
) -> None:
    """The next one would take as long; and what the model refuses, it refuses again."""
    fake_azure.faults.next(Answer("POST */score", status))
    with pytest.raises(ScoringFailed):
        endpoint.chat(PROMPT)
    assert len(bodies(fake_azure)) == 1


@pytest.mark.parametrize(("how", "kind"), [("half-json", UnexpectedAnswer), ("cut", ServiceUnreachable)])
def test_half_a_reply_is_never_given(fake_azure: FakeAzure, how: Any, kind: type[PhiFinetuneError]) -> None:
    """Where it is not asked again, that is an error."""
    endpoint = deployed(fake_azure, fake_azure.workspace(retries=NoRetries()))
    fake_azure.faults.next(HalfBody("POST */score", how))
    with pytest.raises(kind):
        endpoint.chat(PROMPT)


def test_no_traffic_is_no_deployment(fake_azure: FakeAzure, endpoint: pf.Endpoint) -> None:
    """An endpoint whose traffic was taken away answers 404; a deployment can still be asked by name."""
    idle = endpoint.shift_traffic({})
    with pytest.raises(ScoringUnavailable):
        idle.chat(PROMPT)
    assert idle.chat(PROMPT, deployment="default").text == REPLY


def test_a_deployment_that_is_not_there_is_named(endpoint: pf.Endpoint) -> None:
    """The error says which one was asked."""
    with pytest.raises(ScoringUnavailable) as caught:
        endpoint.chat(PROMPT, deployment="green")
    assert caught.value.resource == f"deployment green of endpoint {endpoint.name}"


def test_the_models_own_error_is_passed_on(endpoint: pf.Endpoint) -> None:
    """A request that the model does not understand is its 400 behind the endpoint's 424."""
    with pytest.raises(ScoringModelError, match="the model's code answered 400 Bad Request") as caught:
        endpoint.score({"wrong": "form"})
    assert caught.value.model_status == 400
    assert "input_data" in endpoint.logs()


def test_an_answer_that_takes_too_long_is_a_timeout() -> None:
    """Longer than the deployment's request timeout; the error is Python's own TimeoutError too."""
    with pytest.raises(ScoringTimeout) as caught:
        asked(Reply(200, {"output": "late"}, lasts=timedelta(minutes=10)))
    assert isinstance(caught.value, TimeoutError)


def test_throttling_is_waited_out(fake_azure: FakeAzure, endpoint: pf.Endpoint) -> None:
    """The standard policy asks again after the time that the endpoint asked for."""
    endpoint.chat(PROMPT)
    fake_azure.faults.next(Answer("POST */score", 429, headers={"Retry-After": "7"}))
    before = fake_azure.clock.now()
    assert endpoint.chat(PROMPT).text == REPLY
    assert fake_azure.clock.now() - before >= timedelta(seconds=7)


def test_throttling_says_how_long(fake_azure: FakeAzure) -> None:
    """Where it is not waited out, the error has the seconds."""
    endpoint = deployed(fake_azure, fake_azure.workspace(retries=NoRetries()))
    fake_azure.faults.next(Answer("POST */score", 429, headers={"Retry-After": "7"}))
    with pytest.raises(ScoringThrottled) as caught:
        endpoint.chat(PROMPT)
    assert caught.value.retry_after_s == 7


def test_no_key_is_logged(
    fake_azure: FakeAzure, endpoint: pf.Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither key nor token nor question is in a log at the finest level."""
    caplog.set_level(logging.DEBUG)
    endpoint.chat(PROMPT)
    keys = fake_azure.endpoints[endpoint.name].keys.values()
    token = fake_azure.credential.get_token("https://management.azure.com/.default").token
    for secret in (*keys, token.rpartition(".")[2], PROMPT):
        assert secret not in caplog.text
    assert not any(secret in repr(endpoint) for secret in keys)
