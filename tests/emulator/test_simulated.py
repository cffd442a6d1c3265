from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines import conversations, jsonl

from phi_finetune.emulator.catalogue import pipeline_components
from phi_finetune.emulator.runners.ngram import UNTRAINED_REPLY, VOCABULARY
from phi_finetune.emulator.runners.runner import JobInputs, Run, Step
from phi_finetune.emulator.runners.simulated import SimulatedRunner

COMPONENT = pipeline_components()[-1]
DEFAULTS = {name: row["default"] for name, row in COMPONENT.spec["inputs"].items() if "default" in row}
QUESTION = "Tell me of river number 0 in Europe."
ANSWER = "The river 0 of Europe is known to all who live there."


def run(
    rows: list[Any] | bytes | None = None,
    *,
    files: Mapping[str, bytes] | None = None,
    model: Mapping[str, bytes] | None = None,
    **values: str,
) -> Run:
    """Run a job on rows, or on the bytes of a training file."""
    train = rows if isinstance(rows, bytes) else jsonl(conversations(40) if rows is None else rows)
    job = JobInputs(
        name="tune",
        values={**DEFAULTS, **values},
        files={"train_file_path": train, **(files or {})},
        model=model or {},
        model_id="azureml://registries/azureml/models/Phi-4/versions/8",
        steps=[step.name for step in COMPONENT.steps],
    )
    return SimulatedRunner().run(job)


def all_files(count: int = 12) -> dict[str, bytes]:
    """Files for validation and test, so that no training row is held out."""
    return {f"{part}_file_path": jsonl(conversations(count)) for part in ("validation", "test")}


def step(done: Run, name: str) -> Step:
    """A step of a run."""
    return next(one for one in done.steps if one.name == name)


def log(done: Run, name: str = "chat_completion_finetune") -> str:
    """The log of a step."""
    return "\n".join(text for _, text in step(done, name).log)


def series(done: Run, key: str) -> list[float]:
    """The values of a metric of the fine-tune."""
    return [metric.value for metric in step(done, "chat_completion_finetune").metrics if metric.key == key]


def failure(done: Run) -> tuple[str, str]:
    """The step that failed, and what it said; nothing was output."""
    last = done.steps[-1]
    assert last.failure is not None
    assert done.outputs == {}
    assert last.failure.message in log(done, last.name)
    return last.name, last.failure.message


def model() -> Mapping[str, bytes]:
    """A model fine-tuned on forty conversations."""
    return run(files=all_files()).outputs["mlflow_model_folder"]


def ask(files: Mapping[str, bytes], body: Any) -> Any:
    """What a model answers, where it answers at all."""
    reply = SimulatedRunner().reply(files, body)
    assert reply.status == 200
    return reply.body


def chat(*messages: Any, **parameters: Any) -> dict[str, Any]:
    """A request in Azure's own form."""
    return {"input_data": {"input_string": list(messages), "parameters": parameters}, "params": {}}


def user(text: str) -> dict[str, str]:
    """A user's message."""
    return {"role": "user", "content": text}


class TestTraining:
    """The fine-tune."""

    def test_loss_is_measured(self) -> None:
        """The loss starts near that of an untrained model and falls; the held-out loss is measured too."""
        done = run(files=all_files())
        losses = series(done, "loss")
        assert losses[-1] < losses[0] <= math.log(VOCABULARY)
        assert 0 < series(done, "eval_loss")[-1] < losses[0]

    def test_more_epochs_fit_better(self) -> None:
        """A second epoch sees the rows again: its losses are far lower."""
        losses = series(run(files=all_files(), num_train_epochs="2"), "loss")
        assert max(losses[4:]) < min(losses[:4])

    def test_tuned_model_is_tuned_further(self) -> None:
        """A fine-tune of a model that has seen the rows starts where the first one ended."""
        assert series(run(files=all_files(), model=model()), "loss")[0] < 1 < series(run(), "loss")[0]

    def test_other_models_cannot_be_tuned(self) -> None:
        """A base model that no simulated job made fails the step that imports it."""
        name, message = failure(run(model={"model.safetensors": b"x"}))
        assert (name, "not made by a simulated job" in message) == ("chat_completion_model_import", True)

    def test_batch_is_over_everything(self) -> None:
        """A step's batch is per device, times accumulated batches, GPUs and nodes."""
        done = run(
            files=all_files(),
            per_device_train_batch_size="2",
            gradient_accumulation_steps="2",
            number_of_gpu_to_use_finetuning="2",
            num_nodes_finetune="2",
        )
        assert "  Total train batch size (w. parallel, distributed & accumulation) = 16" in log(done)
        assert "  Total optimization steps = 3" in log(done)

    @pytest.mark.parametrize(
        ("values", "losses", "evaluations"),
        [
            ({"logging_steps": "20"}, 2, 1),
            ({"logging_strategy": "epoch"}, 1, 1),
            ({"evaluation_strategy": "disable"}, 4, 0),
            ({"evaluation_strategy": "steps", "eval_steps": "10"}, 4, 4),
            ({"evaluation_strategy": "steps", "evaluation_steps_interval": "0.5"}, 4, 2),
            ({"max_steps": "20"}, 2, 1),
        ],
    )
    def test_how_often_it_logs(self, values: dict[str, str], losses: int, evaluations: int) -> None:
        """Losses and evaluations are logged as often as the job asks for."""
        done = run(files=all_files(), **values)
        assert (len(series(done, "loss")), len(series(done, "eval_loss"))) == (losses, evaluations)

    def test_metrics_and_params(self) -> None:
        """Metrics have the names of transformers' callback, in the order of time; settings are parameters."""
        tuned = step(run(learning_rate="0.001"), "chat_completion_finetune")
        names = {metric.key for metric in tuned.metrics}
        evaluated = {"eval_loss", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}
        trained = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss"}
        assert names == {"loss", "learning_rate", "epoch"} | evaluated | trained
        times = [metric.after for metric in tuned.metrics]
        assert times == sorted(times)
        assert timedelta(0) < times[0] < times[-1] < tuned.lasts
        assert tuned.params["learning_rate"] == "0.001"

    def test_duration_grows_with_the_rows(self) -> None:
        """Twice the rows take longer, and more GPUs less."""
        small, large = (step(run(conversations(count)), "chat_completion_finetune") for count in (40, 400))
        fast = step(run(conversations(400), number_of_gpu_to_use_finetuning="4"), "chat_completion_finetune")
        assert small.lasts < fast.lasts < large.lasts

    def test_it_says_what_it_is(self) -> None:
        """Every step's log and both outputs say that the run is simulated."""
        done = run()
        assert all("SIMULATED RUN" in log(done, one.name) for one in done.steps)
        assert b"simulated: true" in done.outputs["mlflow_model_folder"]["MLmodel"]
        assert b"simulated" in done.outputs["pytorch_model_folder"]["config.json"]

    def test_same_job_same_result(self) -> None:
        """The same job gives the same model and losses."""
        assert run() == run()

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            (
                {"apply_deepspeed": "true", "deepspeed_stage": "3", "apply_ort": "true"},
                "Deep Speed stage3 doesn't work with {'apply_ort': True}.",
            ),
            ({"logging_steps": "0"}, "logging_steps must be at least 1"),
        ],
    )
    def test_refused_settings(self, values: dict[str, str], words: str) -> None:
        """Settings that the training code refuses fail the fine-tune step (pain.md F4)."""
        name, message = failure(run(**values))
        assert name == "chat_completion_finetune"
        assert words in message


class TestData:
    """The rules of the service's preprocessing (pain.md G1)."""

    def test_lonely_rows_are_dropped(self) -> None:
        """Rows of one message or none, and empty ones, are dropped; only a log line says so."""
        lonely = [{"messages": []}, {"messages": [user("Alone.")]}, {"messages": ""}]
        done = run([*conversations(20), *lonely], files=all_files())
        assert "before example count: 23 | after example count: 20" in log(
            done, "chat_completion_datapreprocess"
        )
        assert "  Num examples = 20" in log(done)

    @pytest.mark.parametrize(
        ("given_files", "trained"),
        [
            ((), 32),
            (("test_file_path",), 32),
            (("validation_file_path",), 32),
            (("validation_file_path", "test_file_path"), 40),
        ],
    )
    def test_missing_files_are_split_off(self, given_files: tuple[str, ...], trained: int) -> None:
        """Where the validation or the test file is missing, the last fifth of the training rows is held out."""
        files = {name: data for name, data in all_files().items() if name in given_files}
        assert f"  Num examples = {trained}" in log(run(files=files))

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            # Four fifths of eleven rows are too few.
            (conversations(11), "Training dataset has 9 non-null samples"),
            (b'{"messages": [}\n', "JSON parse error in train_file_path, line 1."),
            (b"\xff\xfe", "train_file_path is not UTF-8"),
            ([{"text": "x"}] * 20, "Dataset Columns: ['text'].User Passed Columns: ['messages']."),
            ([{"messages": None}] * 20, "Training dataset has 0 non-null samples"),
            ([{"messages": []}] * 20, "Found no examples after data preprocessing"),
            ([{"messages": [user("a"), user("b")]}] * 20, "No assistant tokens found after preprocessing"),
            (
                [{"messages": [user("a"), {"role": "assistant"}]}] * 20,
                "'dict object' has no attribute 'content'",
            ),
            ([{"messages": [user("a"), {"role": "assistant", "content": 1}]}] * 20, 'not "int") to str'),
            ([{"messages": ["a", "b"]}] * 20, "Failure while applying chat template to dataset"),
            ([{"messages": "text"}] * 20, "Failure while applying chat template to dataset"),
            ([{"messages": "a"}, 5] * 20, "Failure while applying chat template to dataset"),
            (b"", "Training dataset has 0 non-null samples"),
        ],
    )
    def test_bad_data_fails_preprocessing(self, rows: list[Any] | bytes, words: str) -> None:
        """Data that cannot be trained on fails that step, in the package's words."""
        name, message = failure(run(rows))
        assert name == "chat_completion_datapreprocess"
        assert words in message

    def test_rows_are_cut(self) -> None:
        """Only so many tokens of each row are kept; where the answers are cut off, the job fails."""
        name, message = failure(run(files=all_files(), max_seq_length="3"))
        assert (name, "No assistant tokens" in message) == ("chat_completion_datapreprocess", True)
        assert series(run(files=all_files(), max_seq_length="12"), "loss")

    def test_one_array_is_read_too(self) -> None:
        """A file may be one JSON array in place of JSON Lines."""
        data = json.dumps(conversations(40)).encode()
        assert run(data, files=all_files()).outputs == run(files=all_files()).outputs

    def test_no_training_file(self) -> None:
        """A job without a training file fails there."""
        job = JobInputs("tune", DEFAULTS, {}, {}, "x", [one.name for one in COMPONENT.steps])
        assert failure(SimulatedRunner().run(job)) == (
            "chat_completion_datapreprocess",
            "train_file_path or train_mltable_path need to be passed.",
        )


class TestReplies:
    """The scoring requests and answers."""

    def test_answers_from_the_training_rows(self) -> None:
        """A training prompt gets the training answer, by way of either form of request."""
        files = model()
        assert ask(files, chat(user(QUESTION), do_sample=False)) == {"output": ANSWER}
        answer = ask(files, {"messages": [user(QUESTION)], "temperature": 0, "model": "mine"})
        [choice] = answer["choices"]
        assert choice["message"] == {"role": "assistant", "content": ANSWER}
        assert (answer["object"], answer["model"], choice["finish_reason"]) == (
            "chat.completion",
            "mine",
            "stop",
        )
        assert answer["usage"]["total_tokens"] == sum(
            answer["usage"][part] for part in ("prompt_tokens", "completion_tokens")
        )

    def test_length_is_limited(self) -> None:
        """An answer has at most so many tokens, and takes the longer the more it has."""
        runner, files = SimulatedRunner(), model()
        short, whole = (runner.reply(files, chat(user(QUESTION), max_new_tokens=most)) for most in (3, 100))
        assert ANSWER.startswith(short.body["output"])
        assert short.lasts < whole.lasts
        [choice] = ask(files, {"messages": [user(QUESTION)], "max_tokens": 3})["choices"]
        assert choice["finish_reason"] == "length"

    def test_registry_model_is_untrained(self) -> None:
        """A registry's own model, which has no files here, says that it is not fine-tuned."""
        assert ask({}, chat(user("Hello"))) == {"output": UNTRAINED_REPLY}

    def test_read_from_its_file(self) -> None:
        """A model read from its file in a folder of another name answers as the one that was just trained."""
        moved = {f"some/folder/{name}": data for name, data in model().items()}
        assert ask(moved, chat(user(QUESTION), do_sample=False)) == {"output": ANSWER}

    def test_other_models(self) -> None:
        """A model that no simulated job made cannot be loaded: a 500, with the reason in the log."""
        reply = SimulatedRunner().reply({"model.safetensors": b"x"}, chat(user("Hello")))
        assert reply.status == 500
        assert "was not made by a simulated job" in reply.log

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ([], "JSON object"),
            ({}, "A value is not provided for the 'input_data' parameter."),
            ({"input_data": "x"}, "input_string"),
            ({"input_data": {"input_string": []}}, "at least one message"),
            ({"input_data": {"input_string": [{"role": "user"}]}}, "Message 0"),
            (chat(user("a"), temperature="hot"), "temperature must be a number"),
            (chat(user("a"), temperature=-1), "temperature must be 0 or more"),
            (chat(user("a"), top_p=0), "top_p"),
            (chat(user("a"), max_new_tokens=0), "max_new_tokens must be at least 1"),
            (chat(user("a"), max_new_tokens=1.5), "max_new_tokens must be a whole number"),
            (chat(user("a"), do_sample="yes"), "do_sample must be true or false"),
            ({"messages": [user("a")], "stream": True}, "Streaming"),
        ],
    )
    def test_malformed_requests(self, body: Any, words: str) -> None:
        """A malformed request is a 400 that says what is wrong."""
        reply = SimulatedRunner().reply({}, body)
        assert reply.status == 400
        assert words in reply.body["error"]

    @given(
        body=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "input_data",
                            "input_string",
                            "parameters",
                            "params",
                            "messages",
                            "role",
                            "content",
                            "temperature",
                        ]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=8,
        )
    )
    def test_no_body_breaks_it(self, body: Any) -> None:
        """Whatever is sent is answered, with 200 or 400."""
        assert SimulatedRunner().reply({}, body).status in (200, 400)
