"""A model that attends to a window, or counts positions otherwise in a long text, answers as transformers does.

Alone and in a batch, and whoever comes later joins the batch where nothing depends on it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from phi_finetune.local.generate import Answer, Generator, Sampling

WINDOW = 64
ORIGINAL = 48
"""Tokens up to which positions are counted the short way."""
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 32,
    "long_factor": [1.5 + 0.25 * number for number in range(32)],
    "original_max_position_embeddings": ORIGINAL,
}
TALKS = [
    [{"role": "user", "content": f"Tell {'me ' * number}where the {name} lives."}]
    for number, name in enumerate(("fox", "owl", "bear", "hare", "wolf", "mole"))
]


def greedy(tokens: int) -> Sampling:
    """The likeliest answer, of so many tokens."""
    return Sampling(do_sample=False, max_new_tokens=tokens)


def changed(model: Path, folder: Path, **settings: Any) -> Generator:
    """A model whose configuration says something else, and that ends no answer by itself."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")
    generator = Generator.load(folder)
    generator._stops = frozenset()
    generator._model.generation_config.eos_token_id = None
    return generator


@pytest.fixture(scope="module")
def windowed(learned_phi: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """One whose layers look back at a window."""
    return changed(learned_phi, tmp_path_factory.mktemp("windowed") / "model", sliding_window=WINDOW)


@pytest.fixture(scope="module")
def longrope(learned_phi: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """One that counts positions otherwise in a long text; as the real ones, with a window that it never fills."""
    settings = {
        "rope_parameters": None,
        "rope_scaling": LONGROPE,
        "original_max_position_embeddings": ORIGINAL,
        "sliding_window": 512,
    }
    return changed(learned_phi, tmp_path_factory.mktemp("longrope") / "model", **settings)


def by_transformers(generator: Generator, talk: Sequence[dict[str, str]], tokens: int) -> list[int]:
    """What transformers itself goes on with."""
    import torch

    prompt = torch.tensor([generator.begin(talk, greedy(1)).prompt])
    out = generator._model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=-1,
    )
    said: list[int] = out[0, prompt.shape[1] :].tolist()
    assert len(said) == tokens
    return said


@contextmanager
def passes(generator: Generator) -> Iterator[list[tuple[int, int]]]:
    """How many rows and columns each pass through the model takes."""
    seen: list[tuple[int, int]] = []
    hook = generator._model.register_forward_pre_hook(
        lambda _, args, named: seen.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    try:
        yield seen
    finally:
        hook.remove()


def one_by_one(generator: Generator, tokens: Sequence[int]) -> list[Answer]:
    """Answers that come one after the other to the same batch, each a token later."""
    batch, answers = generator.batch(), []
    for talk, most in zip(TALKS, tokens, strict=False):
        answers.append(generator.begin(talk, greedy(most)))
        batch.join(answers[-1:])
        batch.step()
    while batch.step():
        pass
    return answers


def test_who_stays_within_the_window_joins_the_batch(windowed: Generator) -> None:
    """Each answer is as alone, and after the last has come there is one pass for all of them."""
    tokens = [WINDOW - len(windowed.begin(talk, greedy(1)).prompt) for talk in TALKS]
    assert min(tokens) > 12
    with passes(windowed) as seen:
        answers = one_by_one(windowed, tokens)
    assert [answer.tokens for answer in answers] == [
        by_transformers(windowed, talk, most) for talk, most in zip(TALKS, tokens, strict=True)
    ]
    assert len(seen) == len(TALKS) + max(place + most - 1 for place, most in enumerate(tokens))
    assert max(seen)[0] == len(TALKS)


def test_who_outgrows_the_window_answers_as_alone(windowed: Generator) -> None:
    """Beside others that come with it or later, some of which stay within."""
    tokens = [100, 4, 70, 20, 150, 8]
    expected = [by_transformers(windowed, talk, most) for talk, most in zip(TALKS, tokens, strict=True)]
    assert [answer.tokens for answer in one_by_one(windowed, tokens)] == expected
    batch = windowed.batch()
    together = [windowed.begin(talk, greedy(most)) for talk, most in zip(TALKS, tokens, strict=True)]
    batch.join(together)
    while batch.step():
        pass
    assert [answer.tokens for answer in together] == expected


def test_the_window_matters(windowed: Generator, learned_phi: Path, tmp_path: Path) -> None:
    """Without it the answers would be others; so the tests above can tell."""
    without = changed(learned_phi, tmp_path / "model")
    assert by_transformers(without, TALKS[0], 100) != by_transformers(windowed, TALKS[0], 100)


def test_positions_of_a_long_text_are_counted_as_by_transformers(longrope: Generator) -> None:
    """Also where the text becomes long only as the answer grows: then all of it is read again, once."""
    for talk in TALKS:
        answer = longrope.begin(talk, greedy(60))
        assert len(answer.prompt) < ORIGINAL
        batch = longrope.batch()
        with passes(longrope) as seen:
            batch.join([answer])
            while batch.step():
                pass
        assert answer.tokens == by_transformers(longrope, talk, 60)
        assert [columns for _, columns in seen if columns > 1] == [len(answer.prompt), ORIGINAL + 1]
        assert len(seen) == 60


def test_a_long_text_changes_no_other_answer(longrope: Generator) -> None:
    """Whether they come together or one after the other; each goes over to the long ones in its own time."""
    talks = [*TALKS[:-1], [{"role": "user", "content": "Tell me all. " * 30}]]
    tokens = [60, 3, 45, 12, 80, 30]
    expected = [by_transformers(longrope, talk, most) for talk, most in zip(talks, tokens, strict=True)]
    together = [longrope.begin(talk, greedy(most)) for talk, most in zip(talks, tokens, strict=True)]
    assert len(together[-1].prompt) > ORIGINAL
    batch = longrope.batch()
    batch.join(together)
    while batch.step():
        pass
    assert [answer.tokens for answer in together] == expected
    later = [longrope.begin(talk, greedy(most)) for talk, most in zip(talks, tokens, strict=True)]
    batch = longrope.batch()
    for answer in reversed(later):
        batch.join([answer])
        batch.step()
    with passes(longrope) as seen:
        while batch.step():
            pass
    assert [answer.tokens for answer in later] == expected
    assert max(rows for rows, columns in seen if columns == 1) >= 3


def test_the_way_of_counting_matters(longrope: Generator, learned_phi: Path, tmp_path: Path) -> None:
    """Without it the answers would be others; so the tests above can tell."""
    without = changed(learned_phi, tmp_path / "model")
    assert by_transformers(without, TALKS[0], 60) != by_transformers(longrope, TALKS[0], 60)
