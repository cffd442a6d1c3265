"""The simulated model: its probabilities, its losses, its replies and its file."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.emulator.runners.ngram import (
    UNTRAINED_REPLY,
    VOCABULARY,
    Completion,
    Message,
    NgramModel,
    Row,
    Tally,
    tokenize,
)
from phi_finetune.emulator.runners.training import EVAL_ROWS, Curve, Every, learning_rate_at, train

PEAK = 2e-5
TALK = st.text(alphabet="ab .,\n\t é字か😀<>", max_size=12)
ROWS = st.lists(TALK.map(lambda text: chat("hi", text)), max_size=6)
RIVERS = (
    "Three rivers of Europe are the Rhine, the Danube and the Loire.\n\nThe Danube is the longest of them."
)
BREAD = "Mix flour, water, salt and yeast.  Let the dough rest, then bake it for 40 minutes."
TEA = "Pour hot water over the leaves and wait for three minutes."


def chat(question: str, answer: str) -> list[Message]:
    """A row of one question and its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def ask(question: str) -> list[Message]:
    """A request of one question."""
    return [{"role": "user", "content": question}]


KITCHEN: list[Row] = [
    chat("Name three rivers of Europe.", RIVERS),
    chat("How do I bake bread?", BREAD),
    chat("How do I make tea?", TEA),
]


def fitted(rows: list[Row]) -> NgramModel:
    """A model that has learnt rows once."""
    model = NgramModel()
    model.fit(rows)
    return model


def reply(
    model: NgramModel,
    messages: list[Message],
    *,
    max_new_tokens: int = 200,
    temperature: float = 0.6,
    top_p: float = 0.9,
    do_sample: bool = True,
    seed: int = 1,
) -> Completion:
    """A reply with the settings that a user has by default."""
    return model.reply(
        messages,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        do_sample=do_sample,
        seed=seed,
    )


def many_rows(count: int) -> list[Row]:
    """Rows of one small world, each a little different: what one teaches helps with the next."""
    draw = random.Random(7)
    animals = ["cat", "dog", "owl", "fox", "hen"]
    verbs = ["sees", "likes", "follows", "hears"]
    rows: list[Row] = []
    for number in range(count):
        sentences = [
            f"The {draw.choice(animals)} {draw.choice(verbs)} the {draw.choice(animals)}." for _ in range(8)
        ]
        rows.append(chat(f"Tell me story number {number}.", " ".join(sentences)))
    return rows


def run(
    rows: list[Row],
    held_out: list[Row],
    *,
    epochs: int = 1,
    batch_size: int = 4,
    logging_steps: Every = 1,
    max_steps: int = -1,
    eval_every: Every | None = "epoch",
    warmup_steps: int = 0,
    scheduler: str = "linear",
) -> Curve:
    """A training of a new model."""
    return train(
        NgramModel(),
        rows,
        held_out,
        epochs=epochs,
        batch_size=batch_size,
        logging_steps=logging_steps,
        learning_rate=PEAK,
        scheduler=scheduler,
        warmup_steps=warmup_steps,
        max_steps=max_steps,
        eval_every=eval_every,
    )


@given(st.text())
def test_tokens_join_to_the_text(text: str) -> None:
    """Whatever the script and the blanks, nothing of a text is lost."""
    assert "".join(tokenize(text)) == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It rains, again.", ["It", " rains", ",", " again", "."]),
        ("a  b\n\n- c", ["a", "  ", "b", "\n\n", "-", " c"]),
        ("Größe ändern", ["Größe", " ändern"]),
        ("東京へ行く", ["東", "京", "へ", "行", "く"]),
        ("서울 날씨", ["서울", " 날씨"]),
        ("", []),
    ],
)
def test_a_token_is_a_word_with_its_blank(text: str, tokens: list[str]) -> None:
    """Words take the blank before them; scripts without blanks go character by character."""
    assert tokenize(text) == tokens


@given(ROWS, TALK)
def test_probabilities_sum_to_one(rows: list[Row], before: str) -> None:
    """After any beginning, the words seen and the free places together have all of the probability."""
    model = fitted(rows)
    vocabulary = model.vocabulary()
    seen = sum(model.probability(token, after=before) for token in vocabulary)
    unseen = model.free_places() * model.probability("never seen", after=before)
    assert seen + unseen == pytest.approx(1)
    assert len(vocabulary) + model.free_places() == VOCABULARY


def test_a_vocabulary_larger_than_its_places_still_sums_to_one() -> None:
    """More different words than places leave one place for all the words to come."""
    model = fitted([chat("Count.", " ".join(map(str, range(VOCABULARY + 10))))])
    vocabulary = model.vocabulary()
    assert model.free_places() == 1
    assert sum(map(model.probability, vocabulary)) + model.probability("never seen") == pytest.approx(1)


@given(ROWS, TALK)
def test_the_loss_is_the_mean_over_the_tokens_and_the_end(rows: list[Row], answer: str) -> None:
    """The cross-entropy is what the single probabilities give, the mark that ends the turn included."""
    model = fitted([chat("hi", "a b"), *rows])
    tokens = tokenize(answer)
    (end,) = (token for token in model.vocabulary() if len(tokenize(token)) > 1)
    losses = [
        -math.log(model.probability(token, after="".join(tokens[:place])))
        for place, token in enumerate([*tokens, end])
    ]
    assert model.cross_entropy([chat("hi", answer)]) == pytest.approx(sum(losses) / len(losses))


def test_a_token_depends_on_the_two_before_it() -> None:
    """Of two words that follow a word equally often, the one seen after both words before is likelier."""
    model = fitted([chat("hi", "old dog barks"), chat("hi", "young dog sleeps")])
    assert model.probability(" barks", after="old dog") > model.probability(" sleeps", after="old dog")
    assert model.probability(" barks", after="young dog") < model.probability(" sleeps", after="young dog")


def test_varied_text_leaves_more_to_words_unseen() -> None:
    """Where every word was new, the next may well be too; where one came over and over, hardly."""
    varied_text, same_text = (
        fitted([chat("hi", " ".join(words))]) for words in ("abcdefghijklmnop", "aaaaaaaaaaaaaaaa")
    )
    assert varied_text.probability("x", after="z z") > 2 * same_text.probability("x", after="z z")


def test_an_untrained_model_knows_nothing() -> None:
    """Its loss is that of a guess among all places, for any text."""
    assert NgramModel().cross_entropy(KITCHEN) == pytest.approx(math.log(VOCABULARY))


def test_only_the_assistant_is_learnt_and_measured() -> None:
    """Other roles' words are no part of the vocabulary or of the loss."""
    row = [{"role": "system", "content": "Be brief."}, *chat("What is up?", "Nothing much.")]
    model = fitted([row])
    assert {"Nothing", " much", "."} < model.vocabulary()
    assert not {"Be", "What", " up"} & model.vocabulary()
    assert model.measure([row]).tokens == 4


def test_a_loss_of_nothing_is_refused() -> None:
    """Rows without an assistant's turn have no cross-entropy, and it is not said to be 0."""
    with pytest.raises(ValueError, match="no row has an assistant turn"):
        fitted(KITCHEN).cross_entropy([ask("Anyone?")])


def test_seeing_a_row_again_lowers_its_loss() -> None:
    """A row is less of a surprise each time."""
    model = NgramModel()
    losses = [model.observe(KITCHEN).per_token() for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 3


def test_the_logged_loss_falls_within_an_epoch_and_again_in_the_next() -> None:
    """What one row teaches helps with the next, and a second pass knows the rows."""
    losses = [point.loss for point in run(many_rows(80), [], epochs=2, logging_steps=5).points]
    assert len(losses) == 8
    assert losses[0] > losses[1] > losses[3]
    assert max(losses[4:]) < min(losses[:4])


def test_a_logged_loss_is_measured_before_the_rows_are_learnt() -> None:
    """Each point is the mean over its rows of a model that has not seen them; the first is a pure guess."""
    rows = many_rows(8)
    curve = run(rows, [], batch_size=2, logging_steps=2)
    model = NgramModel()
    tallies = [model.observe(rows[start : start + 2]) for start in range(0, 8, 2)]
    assert tallies[0].per_token() == pytest.approx(math.log(VOCABULARY))
    assert [point.loss for point in curve.points] == pytest.approx(
        [(tallies[0] + tallies[1]).per_token(), (tallies[2] + tallies[3]).per_token()]
    )
    assert curve.train_loss == pytest.approx(sum(tallies, Tally()).per_token())


def test_points_say_where_they_stand() -> None:
    """Steps, rows and epochs are counted as a trainer counts them, a short last batch as a step."""
    curve = run(many_rows(10), [], epochs=2, logging_steps=3)
    assert [(point.step, point.rows_seen, point.epoch) for point in curve.points] == [
        (3, 10, 1.0),
        (6, 20, 2.0),
    ]
    assert (curve.steps, curve.epochs) == (6, 2.0)


def test_a_loss_can_be_logged_at_each_epochs_end() -> None:
    """The logging strategy of epochs gives one point an epoch."""
    points = run(many_rows(10), [], epochs=3, logging_steps="epoch").points
    assert [point.epoch for point in points] == [1.0, 2.0, 3.0]


def test_max_steps_overrides_the_epochs() -> None:
    """Training stops within an epoch, or goes on beyond the epochs, where max_steps says so."""
    short = run(many_rows(20), many_rows(4), epochs=3, max_steps=2)
    long = run(many_rows(20), [], epochs=1, max_steps=7)
    assert (short.steps, short.epochs, short.points[-1].rows_seen) == (2, 0.4, 8)
    assert [point.step for point in short.evaluations] == [2]
    assert (long.steps, long.epochs) == (7, 1.4)


def test_the_eval_loss_is_that_of_the_model_as_it_stands() -> None:
    """After an epoch it is the loss of a model fitted to just those rows, and it falls on the way."""
    rows, held_out = many_rows(40)[:32], many_rows(40)[32:]
    every_step = run(rows, held_out, eval_every=1).evaluations
    at_the_end = run(rows, held_out, eval_every="epoch").evaluations
    assert [point.step for point in every_step] == list(range(1, 9))
    assert every_step[0].eval_loss > every_step[-1].eval_loss
    assert [point.epoch for point in at_the_end] == [1.0]
    assert at_the_end[0].eval_loss == pytest.approx(fitted(rows).cross_entropy(held_out))


def test_evaluation_can_be_switched_off() -> None:
    """Neither without held-out rows nor without a wish for it is anything evaluated."""
    rows = many_rows(8)
    assert run(rows, [], eval_every="epoch").evaluations == ()
    assert run(rows, rows, eval_every=None).evaluations == ()


def test_at_most_a_few_held_out_rows_are_measured() -> None:
    """Of many held-out rows, those evenly spaced are measured."""
    rows, held_out = many_rows(8), many_rows(3 * EVAL_ROWS)
    (point,) = run(rows, held_out).evaluations
    assert point.eval_loss == pytest.approx(fitted(rows).cross_entropy(held_out[::3]))


@pytest.mark.parametrize("rows", [[], [ask("Anyone?")]])
def test_nothing_to_learn_is_refused(rows: list[Row]) -> None:
    """Training on rows without an assistant's turn has no loss."""
    with pytest.raises(ValueError, match="no row has an assistant turn"):
        run(rows, [])


def test_sizes_below_one_are_refused() -> None:
    """An epoch, a batch and an interval are at least 1, and the message names the one that isn't."""
    rows = many_rows(2)
    with pytest.raises(ValueError, match="epochs must be at least 1, not 0"):
        run(rows, [], epochs=0)
    with pytest.raises(ValueError, match="batch_size"):
        run(rows, [], batch_size=0)
    with pytest.raises(ValueError, match="logging_steps"):
        run(rows, [], logging_steps=0)
    with pytest.raises(ValueError, match="eval_every"):
        run(rows, rows, eval_every=-1)


# The factors that transformers' own schedules give for steps 0, 1, 2, 6 and 9 of 10 after 2 steps of warm-up.
SCHEDULES: dict[str, list[float]] = {
    "linear": [0, 0.5, 1, 0.5, 0.125],
    "cosine": [0, 0.5, 1, 0.5, (1 + math.cos(math.pi * 7 / 8)) / 2],
    "cosine_with_restarts": [0, 0.5, 1, 0.5, (1 + math.cos(math.pi * 7 / 8)) / 2],
    "polynomial": [0, 0.5, 1, (1 + 0.005) / 2, 0.125 + 0.875 * 0.005],
    "constant": [1, 1, 1, 1, 1],
    "constant_with_warmup": [0, 0.5, 1, 1, 1],
}


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_the_learning_rate_follows_the_scheduler(scheduler: str) -> None:
    """Each schedule has the rates that transformers gives it."""
    rates = [learning_rate_at(step, scheduler, PEAK, 2, 10) for step in (0, 1, 2, 6, 9)]
    assert rates == pytest.approx([factor * PEAK for factor in SCHEDULES[scheduler]])


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(0, 60), st.integers(0, 60), st.integers(1, 50))
def test_a_learning_rate_is_never_negative_nor_above_its_peak(
    scheduler: str, step: int, warmup_steps: int, steps: int
) -> None:
    """Even past the end, or with a warm-up longer than the training."""
    assert 0 <= learning_rate_at(step, scheduler, PEAK, warmup_steps, steps) <= PEAK


def test_each_point_has_the_rate_that_its_step_used() -> None:
    """The first step of a warm-up is made at rate 0, and the last is not yet at the end of the schedule."""
    points = run(many_rows(20), [], warmup_steps=2, scheduler="linear").points
    assert [point.learning_rate / PEAK for point in points] == pytest.approx([0, 0.5, 1, 2 / 3, 1 / 3])


def test_an_unknown_scheduler_is_refused() -> None:
    """The message lists the schedulers that there are."""
    with pytest.raises(ValueError, match=r"linear, cosine, .* not 'triangular'"):
        run(KITCHEN, [], scheduler="triangular")


def test_a_polynomial_schedule_cannot_start_below_its_end() -> None:
    """As in transformers, a peak of at most 1e-7 is refused."""
    with pytest.raises(ValueError, match="polynomial"):
        learning_rate_at(0, "polynomial", 1e-7, 0, 10)


def test_an_untrained_model_says_that_it_is_one() -> None:
    """The reply is one plain sentence, also when the rows that were given had nothing to learn."""
    for model in (NgramModel(), fitted([ask("Anyone?")])):
        answer = reply(model, ask("Name three rivers."))
        assert answer.text == UNTRAINED_REPLY
        assert answer.finish_reason == "stop"
        assert "simulated" in answer.text


@pytest.mark.parametrize("do_sample", [True, False])
def test_a_training_prompt_gets_its_training_answer(do_sample: bool) -> None:
    """Word for word, blanks and line ends included, with the default temperature and with none."""
    model = fitted(KITCHEN)
    for row in KITCHEN:
        answer = reply(model, [row[0]], do_sample=do_sample)
        assert answer.text == row[1]["content"]
        assert answer.finish_reason == "stop"
        assert answer.completion_tokens == len(tokenize(row[1]["content"]))


def test_an_answer_in_another_script_comes_back() -> None:
    """Japanese, emoji, tabs and carriage returns survive learning and answering."""
    text = "東京は日本の首都です。🗼\r\n\t詳しくは 「地図」 を見てください。 "
    model = fitted([*KITCHEN, chat("日本の首都は?", text)])
    assert reply(model, ask("日本の首都は?")).text == text


@pytest.mark.parametrize(
    ("question", "answer"),
    [("how do i best bake a good bread", BREAD), ("how do i make a good tea", TEA)],
)
def test_a_similar_prompt_leads_to_the_answer(question: str, answer: str) -> None:
    """Words shared with a training prompt draw the reply to its answer, rare ones more than common ones."""
    assert reply(fitted(KITCHEN), ask(question), do_sample=False).text == answer


def test_a_single_row_is_found_again() -> None:
    """In a data set of one row every word is common, and still counts."""
    assert reply(fitted(KITCHEN[:1]), ask("name THREE rivers of europe!")).text == RIVERS


def test_what_is_learnt_later_is_answered_too() -> None:
    """A model that has already answered can learn on."""
    model = fitted(KITCHEN[:2])
    assert reply(model, [KITCHEN[2][0]]).text != TEA
    model.fit(KITCHEN[2:])
    assert reply(model, [KITCHEN[2][0]]).text == TEA


def test_the_conversation_so_far_tells_equal_questions_apart() -> None:
    """The same last message after different turns gets the answer that followed those turns."""
    more = [*KITCHEN[0], *chat("Go on.", "The Rhine flows north.")]
    less = [*KITCHEN[1], *chat("Go on.", "Slice it when it is cold.")]
    model = fitted([more, less])
    assert reply(model, more[:-1]).text == "The Rhine flows north."
    assert reply(model, less[:-1]).text == "Slice it when it is cold."


def test_a_strange_prompt_gets_words_of_the_training_answers() -> None:
    """A prompt that shares no word with training still gets a text, made of what was learnt."""
    model = fitted(KITCHEN)
    texts = {reply(model, ask("zxqv"), seed=seed, temperature=1.0, top_p=1.0).text for seed in range(20)}
    assert len(texts) > 5
    assert all(set(tokenize(text)) <= model.vocabulary() for text in texts)


def test_a_conversation_of_no_message_is_answered() -> None:
    """An empty request has no prompt to be similar to, and costs no token."""
    answer = reply(fitted(KITCHEN), [])
    assert answer.prompt_tokens == 0
    assert answer.completion_tokens > 0


@given(seed=st.integers(), temperature=st.floats(0, 5), top_p=st.floats(0.01, 1))
def test_the_same_seed_gives_the_same_reply(seed: int, temperature: float, top_p: float) -> None:
    """A reply is a function of its arguments, and of the rows that were learnt."""
    first, second = (
        reply(fitted(KITCHEN), ask("Rivers or tea?"), seed=seed, temperature=temperature, top_p=top_p)
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_gives_the_same_reply(hash_seed: str) -> None:
    """No choice hangs on the order of a set, which differs from one interpreter to the next."""
    model = fitted([chat("Count.", " and ".join("abcdefgh"))])  # many followers that are equally likely
    question = ask("zxqv")
    program = (
        "import sys; from phi_finetune.emulator.runners.ngram import NgramModel;"
        "model = NgramModel.from_bytes(sys.stdin.buffer.read());"
        "settings = dict(max_new_tokens=60, temperature=5.0, top_p=1.0, do_sample=True, seed=3);"
        f"answer = model.reply({question!r}, **settings);"
        "sys.stdout.buffer.write(answer.text.encode())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        input=model.to_bytes(),
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
    )
    here = reply(model, question, max_new_tokens=60, temperature=5.0, top_p=1.0, seed=3)
    assert here.completion_tokens > 3
    assert other.stdout.decode() == here.text


def varied(temperature: float, top_p: float) -> int:
    """How many different replies twenty seeds give to a prompt that was never seen."""
    model = fitted(many_rows(12))
    replies = (
        reply(model, ask("zxqv"), seed=seed, temperature=temperature, top_p=top_p, max_new_tokens=12)
        for seed in range(20)
    )
    return len({answer.text for answer in replies})


def test_temperature_and_top_p_spread_the_choice() -> None:
    """A cold or narrow choice always says the same; a hot and wide one seldom does."""
    assert varied(temperature=0.0, top_p=1.0) == 1
    assert varied(temperature=0.01, top_p=1.0) < varied(temperature=1.0, top_p=1.0)
    assert varied(temperature=1.0, top_p=0.01) == 1
    assert varied(temperature=1.0, top_p=1.0) > 15


def test_without_sampling_neither_seed_nor_temperature_matters() -> None:
    """Greedy decoding has one answer."""
    model = fitted(many_rows(12))
    texts = {
        reply(
            model, ask("zxqv"), do_sample=False, seed=seed, temperature=5.0, top_p=1.0, max_new_tokens=12
        ).text
        for seed in range(10)
    }
    assert len(texts) == 1


@given(st.integers(1, 40))
def test_a_reply_is_cut_at_max_new_tokens(max_new_tokens: int) -> None:
    """It is the longer reply's beginning, counted in tokens, and says whether it was cut."""
    model = fitted(KITCHEN)
    question = [KITCHEN[0][0]]
    whole = tokenize(RIVERS)
    answer = reply(model, question, max_new_tokens=max_new_tokens)
    assert answer.text == "".join(whole[:max_new_tokens])
    assert answer.completion_tokens == min(max_new_tokens, len(whole))
    assert answer.finish_reason == ("length" if max_new_tokens < len(whole) else "stop")
    assert answer.prompt_tokens == len(tokenize(question[0]["content"]))


def test_settings_outside_their_range_are_refused() -> None:
    """Each message names the setting and its value."""
    model = fitted(KITCHEN)
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1, not 0"):
        reply(model, [], max_new_tokens=0)
    for temperature in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"temperature .* not {temperature}"):
            reply(model, [], temperature=temperature)
    for top_p in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"top_p .* not {top_p}"):
            reply(model, [], top_p=top_p)


@given(st.lists(ROWS, max_size=4), TALK)
def test_a_file_holds_the_whole_model(batches: list[list[Row]], question: str) -> None:
    """A model read back measures, answers and learns as the one written, repeated rows included."""
    model = NgramModel()
    for batch in batches:
        model.fit(batch)
        model.fit(batch[:2])
    again = NgramModel.from_bytes(model.to_bytes())
    for _ in range(2):
        assert again.vocabulary() == model.vocabulary()
        assert again.measure(KITCHEN) == model.measure(KITCHEN)
        assert reply(again, ask(question), temperature=1.0) == reply(model, ask(question), temperature=1.0)
        again.fit(KITCHEN)
        model.fit(KITCHEN)


def test_a_file_keeps_broken_text() -> None:
    """Half a surrogate pair, which JSON can carry, neither breaks the file nor is lost."""
    row = chat("Which \udc80?", "This \ud83d one.")
    again = NgramModel.from_bytes(fitted([row]).to_bytes())
    assert reply(again, [row[0]]).text == "This \ud83d one."


def packed(content: object) -> bytes:
    """Content in a model file's outer form."""
    return zlib.compress(json.dumps(content).encode())


@pytest.mark.parametrize(
    "seen",
    [
        None,
        {},
        [[1]],
        [[0, []]],
        [[True, []]],
        [[1, {}]],
        [[1, [["user"]]]],
        [[1, [["user", 3]]]],
        [[1, [{"role": "user", "content": "hi"}]]],
    ],
)
def test_a_file_of_the_wrong_shape_is_refused(seen: object) -> None:
    """Each part of the content is checked before it is used."""
    written = json.loads(zlib.decompress(fitted(KITCHEN).to_bytes()))
    assert NgramModel.from_bytes(packed(written)).vocabulary()
    with pytest.raises(ValueError, match="not a simulated model"):
        NgramModel.from_bytes(packed({**written, "seen": seen}))


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Whatever the bytes are, bare or compressed, they are no model, and the error says so."""
    for attempt in (data, zlib.compress(data)):
        with pytest.raises(ValueError, match="not a simulated model"):
            NgramModel.from_bytes(attempt)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"format": "other", "seen": []}', b"[" * 100_000])
def test_foreign_json_is_refused(content: bytes) -> None:
    """JSON that is no model is no model, however deep it is nested."""
    with pytest.raises(ValueError, match="not a simulated model"):
        NgramModel.from_bytes(zlib.compress(content))


@given(st.integers(0, 10_000))
def test_a_truncated_file_is_refused(place: int) -> None:
    """A file cut off anywhere is not read as a smaller model."""
    data = fitted(KITCHEN).to_bytes()
    with pytest.raises(ValueError, match="damaged"):
        NgramModel.from_bytes(data[: place % len(data)])
