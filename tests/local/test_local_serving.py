"""The server of a deployment: a process that is asked over HTTP, as the endpoint asks it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from local_servers import KEY, Running, serving, start
from local_workspaces import until

LONG = 480
"""Tokens that take a while; the model's context has 512."""
TALKS = [[{"role": "user", "content": f"Say {'much ' * number}about {number}."}] for number in range(8)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, random_phi: Path) -> Iterator[Running]:
    """One that takes sixteen requests, and has time."""
    with serving(tmp_path_factory.mktemp("roomy") / "server", random_phi) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, random_phi: Path) -> Iterator[Running]:
    """One that takes two requests, and has a second for each."""
    with serving(tmp_path_factory.mktemp("narrow") / "server", random_phi, 1, "PT1S") as running:
        yield running


def azure(talk: Any, **parameters: Any) -> dict[str, Any]:
    """A request in Azure's form."""
    return {
        "input_data": {
            "input_string": talk,
            "parameters": {"temperature": 0, "max_new_tokens": 24, **parameters},
        }
    }


def events(answer: requests.Response) -> list[Any]:
    """What the events of a stream say; the last of a whole one is ``[DONE]``."""
    told = [line.removeprefix(b"data: ") for line in answer.iter_lines() if line]
    return [one.decode() if one == b"[DONE]" else json.loads(one) for one in told]


def test_both_forms_say_the_same(server: Running) -> None:
    """At either address; OpenAI's also says how many tokens there were, and why it ended."""
    told = server.chat(TALKS[3]).json()
    text = told["choices"][0]["message"]["content"]
    assert text
    assert told["choices"][0]["finish_reason"] == "length"
    assert told["usage"]["completion_tokens"] == 24
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + 24
    assert (told["object"], told["model"]) == ("chat.completion", "blue")
    for path in ("/score", "/v1/chat/completions"):
        assert server.post(path, azure(TALKS[3])).json() == {"output": text}
    asked = {"messages": TALKS[3], "temperature": 0, "max_completion_tokens": 24, "model": "mine", "n": 1}
    again = server.post("/score", asked).json()
    assert (again["choices"][0]["message"]["content"], again["model"]) == (text, "mine")


def test_a_model_as_azures_pipeline_leaves_it(random_phi: Path, tmp_path: Path) -> None:
    """With the tokenizer and the settings in folders of their own beside the model: it answers as it does whole."""
    from phi_finetune.local.generate import Generator, Sampling
    from phi_finetune.local.serving.loading import load

    laid_out = tmp_path / "downloaded"
    shutil.copytree(random_phi, laid_out / "data" / "model")
    for name in ("tokenizer", "config"):
        (laid_out / "data" / name).mkdir()
    shutil.copy(random_phi / "config.json", laid_out / "data" / "config")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (laid_out / "data" / "model" / name).rename(laid_out / "data" / "tokenizer" / name)
    (laid_out / "MLmodel").write_text(
        "flavors:\n  hftransformersv2:\n    model_data: data\n", encoding="utf-8"
    )
    whole, apart = load(random_phi), load(laid_out)
    assert isinstance(whole, Generator)
    assert isinstance(apart, Generator), apart
    greedy = Sampling(do_sample=False, max_new_tokens=24)
    assert apart.answer(TALKS, greedy) == whole.answer(TALKS, greedy)


def test_a_list_of_conversations_is_answered_with_a_list(server: Running) -> None:
    """More than are drawn at a time, too; each as it would be alone."""
    many = [*TALKS] * 5
    outputs = server.post("/score", azure(many, max_new_tokens=6)).json()["output"]
    alone = [server.post("/score", azure(talk, max_new_tokens=6)).json()["output"] for talk in TALKS]
    assert outputs == alone * 5
    assert server.post("/score", azure(TALKS[:1], max_new_tokens=6)).json() == {"output": alone[:1]}


def test_pieces_make_the_answer(server: Running) -> None:
    """The events are OpenAI's: first the role, then pieces, why it ended, the tokens where asked for, the end."""
    whole = server.chat(TALKS[2]).json()
    answer = server.chat(TALKS[2], stream=True, stream_options={"include_usage": True})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    first, *pieces, last, usage, done = events(answer)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    said = [piece["choices"][0]["delta"]["content"] for piece in pieces]
    assert "".join(said) == whole["choices"][0]["message"]["content"]
    assert len(said) > 5
    assert last["choices"][0]["finish_reason"] == "length"
    assert (usage["choices"], usage["usage"], done) == ([], whole["usage"], "[DONE]")
    assert len({told["id"] for told in (first, *pieces, last, usage)}) == 1


def test_those_who_ask_together_are_answered_as_if_alone(server: Running) -> None:
    """Some come while others are being answered, and leave before them."""
    lengths = [LONG // 2, 5, 60, 1, 100, 17, 33, 80]

    def ask(number: int) -> Any:
        return server.chat(TALKS[number], max_tokens=lengths[number]).json()["choices"]

    alone = [ask(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == alone


def test_a_short_answer_does_not_wait_for_a_long_one(server: Running) -> None:
    """It joins the batch, and leaves it."""
    with server.chat(TALKS[0], stream=True, max_tokens=LONG) as long:
        lines = long.iter_lines()
        next(lines)
        assert server.chat(TALKS[1], max_tokens=3).ok
        before = server.log.count("POST")
        assert b"[DONE]" in list(lines)[-2]
    until(lambda: server.log.count("POST") == before + 1)


def test_an_answer_ends_before_a_stop_text(server: Running) -> None:
    """Also where it comes in pieces, and a piece ends within the text."""
    whole = server.chat(TALKS[4]).json()["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 6]
    told = server.chat(TALKS[4], stop=[stop, "never said"]).json()["choices"][0]
    assert told == {
        "index": 0,
        "message": {"role": "assistant", "content": whole[: whole.index(stop)]},
        "finish_reason": "stop",
    }
    pieces = [
        one["choices"][0]["delta"] for one in events(server.chat(TALKS[4], stream=True, stop=stop))[:-1]
    ]
    assert "".join(piece.get("content", "") for piece in pieces) == told["message"]["content"]


def test_a_draw_depends_on_its_seed(server: Running) -> None:
    """The same seed gives the same answer."""
    said = [
        server.chat(TALKS[0], temperature=2.0, top_p=1.0, seed=seed).json()["choices"] for seed in (1, 1, 2)
    ]
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize("key", ["", "x", KEY[:-1], KEY + "x", "schlüssel"])
def test_who_has_not_the_key_is_refused(server: Running, key: str) -> None:
    """Whether there is none, or another."""
    headers = {"Authorization": f"Bearer {key}".encode()}
    answer = requests.post(server.url + "/score", json=azure(TALKS[0]), headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "Unauthorized")


def test_nothing_else_is_told_to_anybody(server: Running) -> None:
    """No page of documentation, for one."""
    paths = ("/", "/docs", "/openapi.json", "/score")
    assert [requests.get(server.url + path, timeout=60).status_code for path in paths] == [404, 404, 404, 405]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ([], "must be a JSON object"),
        ({}, "A value is not provided for the 'input_data' parameter"),
        ({"input_data": {"columns": []}}, "an input_string"),
        (azure([]), "at least one message"),
        (azure([[]]), "at least one message"),
        (azure("hello"), "must be a list"),
        (azure([{"role": "user"}]), "Message 0 must have a role and a content"),
        (azure([{"role": "robot", "content": "x"}]), "The role of message 0"),
        (azure(TALKS[0], top_k=4), "'top_k'"),
        (azure(TALKS[0], temperature=-1), "temperature must be 0 or more"),
        (azure(TALKS[0], temperature="hot"), "temperature must be a number"),
        (azure(TALKS[0], top_p=0), "top_p must be more than 0"),
        (azure(TALKS[0], max_new_tokens=0), "max_new_tokens must be 1 or more"),
        (azure(TALKS[0], max_new_tokens=2.5), "max_new_tokens must be a whole number"),
        (azure(TALKS[0], do_sample=1), "do_sample must be true or false"),
        (azure([TALKS[0]] * 257), "256"),
        ({"messages": TALKS[0], "n": 2}, "n is not supported"),
        ({"messages": TALKS[0], "logprobs": True}, "logprobs is not supported"),
        ({"messages": TALKS[0], "max_tokens": 1, "max_completion_tokens": 2}, "are the same"),
        ({"messages": TALKS[0], "stop": [1]}, "stop must be a text"),
        ({"messages": TALKS[0], "stop": list("abcde")}, "4 texts at most"),
        ({"messages": TALKS[0], "stream": "yes"}, "stream must be true or false"),
        ({"messages": TALKS[0], "stream_options": {"include_usage": True}}, "needs stream"),
        ({"messages": TALKS[0], "seed": 2**70}, "64 bits"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "both of them text"),
        ({"messages": [{"role": "user", "content": "Hello. " * 400}]}, "the model takes 512"),
        ({"messages": [{"role": "user", "content": "Hello. " * 400}], "stream": True}, "the model takes 512"),
    ],
)
def test_what_cannot_be_answered_is_refused(server: Running, body: Any, why: str) -> None:
    """With the reason."""
    answer = server.post("/score", body)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_parts_of_text_are_one_text(server: Running) -> None:
    """As OpenAI's clients may send it."""
    text = TALKS[5][0]["content"]
    parts = [{"type": "text", "text": text[:4]}, {"type": "text", "text": text[4:]}]
    asked: Any = [{"role": "user", "content": parts}]
    assert server.chat(asked).json()["choices"] == server.chat(TALKS[5]).json()["choices"]


def test_too_many_at_a_time_are_refused(narrow: Running) -> None:
    """Two for a machine that works on one. Who hangs up makes room at once."""
    streams = [narrow.chat(talk, stream=True, max_tokens=LONG) for talk in TALKS[:2]]
    try:
        refused = narrow.chat(TALKS[2])
    finally:
        for stream in streams:
            stream.close()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "TooManyRequests")
    until(lambda: narrow.chat(TALKS[2], max_tokens=2).ok)


def test_an_answer_that_takes_too_long_is_given_up(narrow: Running) -> None:
    """A stream that began tells it in an event, and has no end."""
    late = narrow.post("/score", azure([TALKS[0]] * 256, max_new_tokens=LONG))
    assert (late.status_code, late.json()["error"]["code"]) == (408, "RequestTimeout")
    busy = [narrow.post("/score", azure([TALKS[0]] * 256, max_new_tokens=LONG)).status_code]
    assert busy == [408]
    started = time.monotonic()
    assert narrow.chat(TALKS[0], max_tokens=2).ok
    assert time.monotonic() - started < 1


def test_who_hangs_up_is_answered_no_further(server: Running) -> None:
    """Its place is free, and the log says so."""
    before = server.log.count(" 499 ")
    server.chat(TALKS[0], stream=True, max_tokens=LONG).close()
    until(lambda: server.log.count(" 499 ") == before + 1)
    tokens = [line for line in server.log.splitlines() if " 499 " in line][-1]
    assert "POST /v1/chat/completions 499 " in tokens


def test_the_log_has_no_texts_and_no_keys(server: Running) -> None:
    """A line for each request, with its tokens and its time."""
    talk = [{"role": "user", "content": "my-secret-question"}]
    told = server.chat(talk, max_tokens=24).json()
    server.post("/score", {"my-secret-question": 1}, key="another-key")
    server.post("/score", azure(talk, my_secret_question=2))
    assert "secret" not in server.log
    assert KEY not in server.log
    assert "another-key" not in server.log
    assert told["choices"][0]["message"]["content"] not in server.log
    lines = [line.split(" ", 1)[1] for line in server.log.splitlines() if "POST" in line][-3:]
    assert [line.split(" tokens ")[0] for line in lines] == [
        f"POST /v1/chat/completions 200 {told['usage']['prompt_tokens']}+24",
        "POST /score 401 0+0",
        "POST /score 400 0+0",
    ]


def test_a_request_that_reaches_it_directly_counts(server: Running) -> None:
    """It keeps the server from ending for want of requests; one with a wrong key does not."""
    used = server.folder / "used"
    used.touch()
    os.utime(used, (0, 0))
    assert server.post("/score", azure(TALKS[0]), key="wrong").status_code == 401
    assert used.stat().st_mtime == 0
    for path in ("/score", "/v1/chat/completions"):
        os.utime(used, (0, 0))
        assert server.post(path, azure(TALKS[0])).ok
        assert time.time() - used.stat().st_mtime < 60


def test_it_ends_in_the_middle_of_an_answer(tmp_path: Path, random_phi: Path) -> None:
    """Within two seconds of being told, as a program that did what it should."""
    with serving(tmp_path / "server", random_phi) as running:
        stream = running.chat(TALKS[0], stream=True, max_tokens=LONG)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(2) == 0
        assert "[DONE]" not in events(stream)
        assert "Traceback" not in running.log


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("config.json", b"{", "config.json"),
        ("model.safetensors", b"\x10", "model.safetensors"),
        ("pytorch_model.bin", b"\x80\x04]\x94.", "pytorch_model.bin: it is loaded as a pickle"),
        ("config.json", None, "no config.json"),
    ],
)
def test_a_model_that_cannot_be_loaded(
    tmp_path: Path, random_phi: Path, name: str, data: bytes | None, why: str
) -> None:
    """The process ends, and the last line of its log says why."""
    model = tmp_path / "model"
    model.mkdir()
    for path in random_phi.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    (model / name).unlink(missing_ok=True) if data is None else (model / name).write_bytes(data)
    running = start(tmp_path / "server", model)
    assert running.process.wait(60) == 1
    last = running.log.splitlines()[-1]
    assert "ERROR the model cannot be loaded: " in last
    assert why in last
