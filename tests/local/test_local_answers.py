"""Answers are the same alone and in a batch, at once and in pieces, and end where the model ends its turn."""

from __future__ import annotations

from typing import Any

import pytest

from phi_finetune.local import tiny_facts
from phi_finetune.local.generate import Completion, Generator, Sampling, TooLong, answer_rows
from phi_finetune.local.job_folder import JobFolder

GREEDY = Sampling(do_sample=False, max_new_tokens=40)
FACTS = tiny_facts()
PROMPTS = [
    [{"role": turn.role, "content": turn.content} for turn in row.messages[:-1]]
    for row in (*FACTS.validation, *(row for row in FACTS.train if len(row.messages) > 3))
]


@pytest.fixture(scope="module")
def generator(tuned: JobFolder) -> Generator:
    """The tuned model."""
    return Generator.load(tuned.output("pytorch_model_folder"))


def test_a_batch_answers_as_each_alone(generator: Generator) -> None:
    """Questions of other lengths, and answers that end sooner, make no difference."""
    ways = [Sampling(do_sample=False, max_new_tokens=1 + number % 12) for number in range(len(PROMPTS))]
    together = generator.answer(PROMPTS, ways)
    assert together == [generator.answer([prompt], way)[0] for prompt, way in zip(PROMPTS, ways, strict=True)]
    assert len({each.completion_tokens for each in together}) > 5
    assert len({each.prompt_tokens for each in together}) > 5


def test_answers_are_those_of_transformers(generator: Generator) -> None:
    """Token for token, where the likeliest is taken."""
    model, tokenizer = generator._model, generator._tokenizer
    for prompt in PROMPTS[:8]:
        batch = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        given = batch["input_ids"].shape[1]
        out = model.generate(**batch, do_sample=False, max_new_tokens=40)
        said = tokenizer.decode(out[0][given:], skip_special_tokens=True)
        assert generator.answer([prompt], GREEDY)[0].text == said


def test_an_answer_ends_with_the_turn_or_with_its_tokens(generator: Generator) -> None:
    """And says which."""
    (whole,) = generator.answer(PROMPTS[:1], GREEDY)
    (cut,) = generator.answer(PROMPTS[:1], Sampling(do_sample=False, max_new_tokens=3))
    assert (whole.finish_reason, cut.finish_reason) == ("stop", "length")
    assert (cut.completion_tokens, cut.prompt_tokens) == (3, whole.prompt_tokens)
    assert whole.text.startswith(cut.text)
    assert "<|" not in whole.text


def test_pieces_make_the_answer(generator: Generator) -> None:
    """As many as there are tokens, at most."""
    *pieces, last = generator.stream(PROMPTS[0], GREEDY)
    assert isinstance(last, Completion)
    assert last == generator.answer(PROMPTS[:1], GREEDY)[0]
    assert "".join(map(str, pieces)) == last.text
    assert 1 < len(pieces) <= last.completion_tokens


def test_a_draw_depends_on_its_seed_alone(generator: Generator) -> None:
    """Not on who else is in the batch."""
    bold = [Sampling(temperature=3.0, top_p=1.0, seed=number, max_new_tokens=12) for number in range(8)]
    together = generator.answer([PROMPTS[0]] * 8, bold)
    assert together == [generator.answer([PROMPTS[0]], way)[0] for way in bold]
    assert len({each.text for each in together}) > 1


def test_temperature_zero_draws_nothing(generator: Generator) -> None:
    """It is the likeliest answer, as without sampling."""
    zero = Sampling(temperature=0.0, max_new_tokens=40)
    assert generator.answer(PROMPTS, zero) == generator.answer(PROMPTS, GREEDY)
    narrow = Sampling(temperature=1.0, top_p=1e-9, max_new_tokens=40)
    assert generator.answer(PROMPTS, narrow) == generator.answer(PROMPTS, GREEDY)


def test_a_penalty_makes_repetition_rarer(generator: Generator) -> None:
    """What was said is less likely to be said again."""
    strict = Sampling(do_sample=False, max_new_tokens=40, repetition_penalty=1e6)
    assert generator.answer(PROMPTS[:1], strict) != generator.answer(PROMPTS[:1], GREEDY)


def test_a_conversation_that_leaves_no_room_is_refused(generator: Generator) -> None:
    """The model has a context of 512 tokens; near its end the answer is cut."""
    with pytest.raises(TooLong, match="512"):
        generator.answer([[{"role": "user", "content": "Hello. " * 400}]], GREEDY)
    words = 1
    talk: list[dict[str, str]] = []
    while words < 400:
        talk = [{"role": "user", "content": "rose " * words}]
        count = len(
            generator._tokenizer(generator._tokenizer.apply_chat_template(talk, tokenize=False))["input_ids"]
        )
        if count > 508:
            break
        words += 1
    (near,) = generator.answer([talk], Sampling(temperature=5.0, top_p=1.0, max_new_tokens=100))
    assert near.prompt_tokens + near.completion_tokens <= 512


def test_rows_of_a_table_are_answered(generator: Generator) -> None:
    """As MLflow gives them."""
    rows: list[dict[str, Any]] = [{"messages": prompt} for prompt in PROMPTS[:2]]
    said = [each.text for each in generator.answer(PROMPTS[:2], GREEDY)]
    assert answer_rows(generator, rows, {"temperature": 0.0, "max_new_tokens": 40}) == said
    assert generator.answer([], GREEDY) == []
