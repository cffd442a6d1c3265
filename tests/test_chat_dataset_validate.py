"""ChatDataset.validate: what the report tells, of rows by themselves and of rows together."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_finetune.chat_dataset import ChatDataset, Conversation, Message, Problem, SplitName
from phi_finetune.chat_dataset.conversation import faults_of, parse_conversation
from phi_finetune.chat_dataset.forms import conversation_of, form_of
from phi_finetune.chat_dataset.readers.json_lines import JsonLines
from phi_finetune.chat_dataset.readers.parsing import parse_line
from phi_finetune.chat_dataset.readers.plain_lines import plain_lines
from phi_finetune.chat_dataset.rules import RULES, BrokenRule, Fault
from phi_finetune.errors import InvalidData, InvalidParameter

SECRET = "my private words"


def turns(*contents: str) -> dict[str, Any]:
    """A row in which user and assistant take turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": each} for i, each in enumerate(contents)]}


def many(rows: int, word: str = "Question") -> list[dict[str, Any]]:
    """Rows that are all different."""
    return [turns(f"{word} {number}?", f"Answer {number}.") for number in range(rows)]


def rules(problems: tuple[Problem, ...]) -> list[tuple[str, int | None, str]]:
    """The split, the row and the rule of each."""
    return [(problem.split, problem.row, problem.rule) for problem in problems]


# Rows by themselves


def test_good_data_is_ok() -> None:
    """Nothing to tell, and how many rows there are."""
    report = ChatDataset.from_records(many(12), test=[turns("a", "b")]).validate(deep=True, max_seq_length=99)
    assert (report.ok, report.problems, report.counts) == (True, (), {})
    assert report.rows == {"train": 12, "test": 1}
    assert report.check() is report
    assert str(report).startswith("records (train 12 rows, test 1 rows): fit for training")


def test_every_problem_is_told_in_all_splits() -> None:
    """A broken row hides none of the others."""
    data = ChatDataset.from_records(
        [*many(10), turns("a"), {"messages": 3}], validation=[turns("")], test=[turns("x"), {}]
    )
    report = data.validate()
    assert rules(report.problems) == [
        ("train", 11, "no-assistant-turn"),
        ("train", 12, "messages-not-a-list"),
        ("validation", 1, "blank-content"),
        ("validation", 1, "no-assistant-turn"),
        ("test", 2, "no-messages"),
        ("test", 1, "one-message"),
    ]
    assert report.rows == {"train": 12, "validation": 1, "test": 2}
    assert not report.ok


def test_counts_are_complete_where_problems_are_cut() -> None:
    """And the report says that there are more."""
    report = ChatDataset.from_records([*many(10), *[{}] * 50]).validate(limit=3)
    assert (len(report.problems), report.counts, report.is_cut) == (3, {"no-messages": 50}, True)
    assert "and 47 more" in str(report)


def test_what_is_slight_takes_no_place_from_what_is_grave() -> None:
    """The limit cuts what is worth a look first."""
    report = ChatDataset.from_records(many(10), test=[turns("x")] * 5 + [{}]).validate(limit=2)
    assert rules(report.problems) == [("test", 6, "no-messages"), ("test", 1, "one-message")]


def test_a_split_that_cannot_be_read_keeps_no_other_from_it(tmp_path: Path) -> None:
    """Its one problem is told, and not that it is empty."""
    test = tmp_path / "test.jsonl"
    test.write_text("{}\n", encoding="utf-8")
    report = ChatDataset.from_jsonl(tmp_path / "gone.jsonl", test=test).validate()
    assert rules(report.problems) == [("train", None, "missing-file"), ("test", 1, "no-messages")]


def test_too_few_rows_are_told_beside_others() -> None:
    """Broken rows are none to train on."""
    assert ChatDataset.from_records([*many(9), {}]).validate().counts == {"no-messages": 1, "too-few-rows": 1}
    assert ChatDataset.from_records([*many(10), {}]).validate().counts == {"no-messages": 1}


def test_a_byte_order_mark_is_worth_a_look(tmp_path: Path) -> None:
    """It does no harm: check() lets it pass."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\n" for row in many(10)).encode())
    data = ChatDataset.from_jsonl(file)
    report = data.validate()
    assert (report.ok, rules(report.problems)) == (True, [("train", None, "byte-order-mark")])
    data.check()


def test_a_huge_row_is_worth_a_look() -> None:
    """From a million characters on."""
    data = ChatDataset.from_records([*many(10), turns("a" * 1_000_000, "b")])
    assert rules(data.validate().problems) == [("train", 11, "huge-row")]
    data.check()


def test_a_model_without_a_system_role_is_told_of() -> None:
    """Only where the model is named."""
    rows = [*many(10), {"messages": [{"role": "system", "content": "s"}, *turns("a", "b")["messages"]]}]
    data = ChatDataset.from_records(rows)
    assert data.validate().ok
    assert rules(data.validate(model="Phi-3-medium-4k-instruct").problems) == [
        ("train", 11, "system-unsupported")
    ]


def test_a_report_is_shown_as_text_html_and_frame() -> None:
    """With what to do, and nothing of the rows."""
    report = ChatDataset.from_records([*many(10), {SECRET: 1}], name="<mine>").validate()
    text = str(report)
    assert "1  no-messages  stops the run" in text
    assert "train: <mine> (train), row 11 (no-messages)" in text
    html = report._repr_html_()
    assert "&lt;mine&gt;" in html
    assert "<mine>" not in html
    (cells,) = report.to_frame().to_dict("records")
    assert (cells["row"], cells["severity"], cells["remedy"]) == (11, "stops", RULES["no-messages"].remedy)
    assert SECRET not in text + html + repr(report)


def test_an_empty_frame_has_its_columns() -> None:
    """So that a program may count on them."""
    assert list(ChatDataset.from_records(many(10)).validate().to_frame().columns)[:3] == [
        "split",
        "file",
        "row",
    ]


@pytest.mark.parametrize("name", ["max_seq_length", "sample", "limit"])
def test_a_number_below_one_is_refused(name: str) -> None:
    """Before anything is read."""
    numbers: dict[str, Any] = {name: 0}
    with pytest.raises(InvalidParameter, match=name):
        ChatDataset.from_records(iter([])).validate(**numbers)


# Rows that come by way of others


def parts(data: ChatDataset) -> list[ChatDataset]:
    """The same rows, by each way there is."""
    return [
        data,
        data.split(validation=0.3, seed=1) if _is_good(data) else data,
        data.shuffle(),
        data.filter(lambda _row: True),
        data.map(lambda row: row),
        data.concat(data),
        data.deduplicate(),
    ]


def _is_good(data: ChatDataset) -> bool:
    return data.validate().ok


def test_faults_come_through_whatever_was_made_of_the_rows() -> None:
    """With the row's own number; what was joined twice has them twice."""
    rows = [*many(10), {}, *many(5, "Other"), turns("a")]
    for data in parts(ChatDataset.from_records(rows)):
        found = {(problem.row, problem.rule) for problem in data.validate().problems}
        assert found == {(11, "no-messages"), (17, "no-assistant-turn")}


def test_faults_of_a_whole_are_told_once(tmp_path: Path) -> None:
    """Where a file that was good when it was split is not any more, each part reads all of it."""
    file = tmp_path / "a.jsonl"
    good = "".join(json.dumps(row) + "\n" for row in many(40))
    file.write_text(good, encoding="utf-8")
    data = ChatDataset.from_jsonl(file).split(validation=0.5)
    file.write_text(good + "{}\n", encoding="utf-8")
    report = data.validate()
    assert rules(report.problems) == [("train", 41, "no-messages")]
    assert sum(report.rows.values()) == 41


def test_a_shuffled_row_keeps_its_number() -> None:
    """The one it has in its file, so that it can be found."""
    data = ChatDataset.from_records([{}, *many(29), turns("card", "4111 1111 1111 1111"), *many(9, "Other")])
    problems = data.shuffle(seed=2).validate(deep=True).problems
    assert rules(problems) == [("train", 1, "no-messages"), ("train", 31, "card-number")]


def test_a_row_that_a_function_made_is_told_of() -> None:
    """As one that was read."""

    def change(row: Conversation) -> Conversation:
        return Conversation((Message("user", ""),)) if row.messages[0].content == "Question 3?" else row

    report = ChatDataset.from_records(many(12)).map(change).validate()
    assert rules(report.problems) == [("train", 4, "blank-content"), ("train", 4, "no-assistant-turn")]


# Rows together


def test_repeated_rows_are_told() -> None:
    """Each but the first, whatever it is called."""
    rows = [
        *many(10),
        {**turns("Question 2?", "Answer 2."), "prompt_id": "x"},
        turns("Question 2?", "Answer 2."),
    ]
    report = ChatDataset.from_records(rows).validate(deep=True)
    assert rules(report.problems) == [("train", 11, "duplicate-row"), ("train", 12, "duplicate-row")]
    assert report.ok


def test_other_answers_to_the_same_turns_are_told() -> None:
    """Each that differs from the first."""
    rows = [*many(10), turns("Question 2?", "No."), turns("Question 2?", "Answer 2."), turns("Question 2?")]
    report = ChatDataset.from_records(rows[:-1], test=[rows[-1]]).validate(deep=True)
    assert rules(report.problems) == [
        ("test", 1, "one-message"),
        ("train", 11, "other-answer"),
        ("train", 12, "duplicate-row"),
    ]


def test_leaked_rows_are_told_where_they_are_held_out() -> None:
    """Exact ones, and those that differ in case and white space only."""
    data = ChatDataset.from_records(
        many(12),
        validation=[turns("Question 3?", "Answer 3."), turns("New?", "Yes.")],
        test=[turns("QUESTION  4?", "answer 4."), turns("New?", "Yes."), turns("Else?", "No.")],
    )
    report = data.validate(deep=True)
    assert rules(report.problems) == [
        ("validation", 1, "leaked-row"),
        ("test", 1, "nearly-leaked-row"),
        ("test", 2, "leaked-row"),
    ]
    assert not report.ok
    assert data.validate().ok
    assert data.deduplicate(normalised=True).validate(deep=True).ok


@given(
    st.lists(st.sampled_from(["a", "b", "c", "A", "d "]), min_size=10, max_size=30),
    st.lists(st.sampled_from(["a", "b", "e", "C", "d"]), min_size=1, max_size=5),
)
def test_rows_together_are_told_as_comparing_all_tells(train: list[str], test: list[str]) -> None:
    """Short keys lose nothing."""
    data = ChatDataset.from_records(
        [turns(each, "x") for each in train], test=[turns(each, "x") for each in test]
    )
    expected = [("train", n, "duplicate-row") for n, each in enumerate(train, 1) if each in train[: n - 1]]
    said = {" ".join(each.casefold().split()) for each in train}
    for n, each in enumerate(test, 1):
        if each in train:
            expected.append(("test", n, "leaked-row"))
        elif each.strip().casefold() in said:
            expected.append(("test", n, "nearly-leaked-row"))
        if each in test[: n - 1]:
            expected.append(("test", n, "duplicate-row"))
    assert sorted(rules(data.validate(deep=True).problems)) == sorted(expected)


# Lengths, secrets and personal data


def by_characters(text: str) -> list[int]:
    """A tokenizer whose tokens are characters."""
    return list(map(ord, text))


def test_rows_that_are_too_long_are_told() -> None:
    """And how much of all tokens is cut off."""
    rows = [*many(19), turns("a" * 100, "b" * 92)]
    report = ChatDataset.from_records(rows).validate(max_seq_length=100, tokenizer=by_characters)
    assert rules(report.problems) == [("train", 20, "too-long")]
    share, cut = report.estimates
    assert (share.what, share.share, share.low, share.high) == ("too-long", 0.05, 0.05, 0.05)
    total = 192 + sum(len(f"Question {n}?Answer {n}.") for n in range(19))
    assert cut.share == pytest.approx(92 / total)


def test_a_sample_gives_an_interval() -> None:
    """Which holds the share of all rows."""
    rows = [turns(f"{n}", "x" * (200 if n % 4 == 0 else 20)) for n in range(1000)]
    report = ChatDataset.from_records(rows).validate(max_seq_length=100, tokenizer=by_characters, sample=200)
    share, cut = report.estimates
    assert 150 < share.looked_at < 250
    assert share.low < 0.25 < share.high
    assert cut.low < cut.share < cut.high
    whole = ChatDataset.from_records(rows).validate(max_seq_length=100, tokenizer=by_characters, sample=None)
    assert cut.low < whole.estimates[1].share < cut.high


HINTS = {
    "secret": [
        "sk-proj-abcdefghijklmnopqrstuvwx1234",
        "the key is AKIAIOSFODNN7EXAMPLE.",
        "ghp_" + "a1" * 18,
        "-----BEGIN RSA PRIVATE KEY-----",
        "Authorization: Bearer abcdefghijklmnopqrstuvwxyz",
        "AccountKey=" + "A" * 86 + "==",
    ],
    "e-mail": ["write to jane.doe@contoso.com now"],
    "phone-number": ["call +49 30 1234567", "call (206) 555-0100", "call 206-555-0100"],
    "card-number": ["4111 1111 1111 1111", "pay with 5500005555555559."],
    "bank-account": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"],
}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in HINTS.items() for text in texts])
def test_a_hint_is_told(rule: str, text: str) -> None:
    """With the message it stands in, and nothing of it."""
    report = ChatDataset.from_records([*many(10), turns("a", f"Here: {text}")]).validate(deep=True)
    (problem,) = report.problems
    assert (problem.row, problem.path, problem.rule, problem.severity) == (
        11, "messages[1].content", rule, "look",
    )  # fmt: skip
    assert text not in f"{report} {report!r}"
    assert report.ok


@pytest.mark.parametrize(
    "text",
    [
        "In 2024 there were 1,234,567 people, 12.5 % of them in 1999-2001.",
        "see user@example.com and @jane on 2024-01-01 10:20:30",
        "4111 1111 1111 1112",
        "3.14159265358979",
        "DE89 3704 0044 0532 0130 01",
        "sk-learn and task-oriented are words",
        "f0e4c2f76c58916ec258f246851bea091d14d4247a2fc3e18694461b1816e13b",
        "0000000000000000",
        "192.168.100.200 and 978-3-16-148410-0",
    ],
)
def test_what_only_resembles_is_not_told(text: str) -> None:
    """Numbers, examples and words."""
    assert ChatDataset.from_records([*many(10), turns("a", text)]).validate(deep=True).counts == {}


# What holds for all rows

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 9)
    | st.sampled_from(["user", "assistant", "system", "gpt", "", " ", "text", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "messages"]), inner, max_size=3)
    ),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "gpt"]),
        "content": st.sampled_from(["a", "b", " ", 7]),
    }
)
RECORDS = VALUES | st.fixed_dictionaries({"messages": st.lists(MESSAGES | VALUES, max_size=5)})


@given(RECORDS, st.booleans())
def test_faults_are_none_where_a_row_is_taken(record: object, answered: bool) -> None:
    """And else the first is the one that is raised."""
    faults = faults_of(record, must_end_answered=answered)
    assert _first_fault(record, answered) == (faults[0] if faults else None)


def _first_fault(record: object, answered: bool) -> Fault | None:
    try:
        parse_conversation(record, must_end_answered=answered)
    except BrokenRule as broken:
        return broken.fault
    return None


@given(st.lists(RECORDS, max_size=14))
def test_check_passes_where_the_report_is_ok(records: list[Any]) -> None:
    """And else raises its first problem."""
    data = ChatDataset.from_records([*many(8), *records])
    report = data.validate()
    assert _passes(data.check) == report.ok
    assert _passes(lambda: list(data.rows())) == (not set(report.counts) - {"too-few-rows"})


def _passes(use: Callable[[], object]) -> bool:
    try:
        use()
    except InvalidData:
        return False
    return True


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line of JSON, good or a little damaged, in one of the usual layouts."""
    text = st.sampled_from(
        ["a", "", " ", "x\n", "\n\t ", "\u00e9", '"role": "user"', "\\", "7", "\ud83d\ude00", "\u3000"]
    )
    message = st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": text | st.sampled_from([7, None, [1], {"content": "a"}]),
        }
    )
    in_turn = st.lists(text, min_size=2, max_size=4).map(lambda texts: turns(*texts)["messages"])
    good = turns("a", "b")["messages"]
    messages = draw(st.lists(message, max_size=4) | in_turn | st.sampled_from([good, good, good[::-1]]))
    if draw(st.booleans()):
        messages = [dict(reversed(each.items())) for each in messages]
    record = draw(
        st.sampled_from(
            [
                {"messages": messages},
                {"messages": messages, "prompt_id": "x"},
                {"prompt": "p", "prompt_id": "x", "messages": messages},
                {"messages": messages, "extra": "messages"},
            ]
        )
    )
    separators = draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,", " :")]))
    line = json.dumps(record, separators=separators, ensure_ascii=draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )
    damage = draw(st.sampled_from(['"role": "user", ', '"content": "z", ', '"x": 1, ', "", "", ""])).encode()
    at = draw(st.integers(0, len(line)))
    hit = line.find(b'"role"', at)
    line = line[:hit] + damage + line[hit:] if hit >= 0 else line
    return line + draw(st.sampled_from([*[b"\n"] * 6, b"\r\n", b"", b" \n", b"x\n"]))


@settings(max_examples=1000)
@given(lines(), st.booleans())
def test_a_plain_line_keeps_the_rules(line: bytes, answered: bool) -> None:
    """What is passed without reading its texts would pass the strict parser too."""
    if plain_lines(line, must_end_answered=answered):
        conversation_of(form_of("messages"), parse_line(line), must_end_answered=answered)


@given(some=st.lists(lines(), max_size=4), answered=st.booleans())
def test_quick_and_strict_reading_agree(
    some: list[bytes], answered: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of any line, whichever way it went: looked through, and read."""
    file = tmp_path_factory.mktemp("lines") / "a.jsonl"
    file.write_bytes(b"".join(each.rstrip(b"\n") + b"\n" for each in some))
    split: SplitName = "train" if answered else "test"
    good = JsonLines(tmp_path_factory.mktemp("good") / "good.jsonl")
    good.path.write_text("".join(json.dumps(row) + "\n" for row in many(10)), encoding="utf-8")
    data = ChatDataset.from_jsonl(
        file if answered else good.path, test=None if answered else file, form="messages"
    )
    bad = [n for n, line in JsonLines(file).lines() if not _is_good_line(line, answered=answered)]
    found = data.validate().problems
    assert sorted({each.row for each in found if each.severity != "look" and each.row is not None}) == bad
    assert _passes(lambda: list(data.rows(split))) == (not bad)


def _is_good_line(line: bytes, *, answered: bool) -> bool:
    try:
        conversation_of(form_of("messages"), parse_line(line), must_end_answered=answered)
    except BrokenRule:
        return False
    return True


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("content_first", [True, False])
@pytest.mark.parametrize("extra", [{}, {"prompt_id": "x"}, {"prompt": "a", "prompt_id": "x"}])
@pytest.mark.parametrize("last", [True, False])
def test_the_usual_layouts_are_plain(compact: bool, content_first: bool, extra: Any, last: bool) -> None:
    """Whichever program wrote them: no line of them is read slowly."""
    messages = [{"role": "system", "content": "s"}, *turns("a", "b", "c", "d")["messages"]]
    if content_first:
        messages = [dict(reversed(each.items())) for each in messages]
    record = {**extra, "messages": messages} if last else {"messages": messages, **extra}
    line = json.dumps(record, separators=(",", ":") if compact else None).encode() + b"\n"
    assert plain_lines(line, must_end_answered=True)
    assert plain_lines(line, must_end_answered=False)


def test_lines_with_a_prompt_and_without_are_plain_together() -> None:
    """As a data set made of several may have them."""
    extras: list[dict[str, Any]] = [
        {},
        {"prompt": "a"},
        {"prompt_id": "x"},
        {"prompt": "a", "prompt_id": "x"},
    ]
    rows = [{**turns("a", "b"), **extra} for extra in extras]
    block = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    assert plain_lines(block, must_end_answered=True) == 4
    assert not plain_lines(block.replace(b'"prompt": "a"', b'"prompt": "b"'), must_end_answered=True)


@pytest.mark.parametrize(
    "content",
    [b'""', b'" "', b'"\\n"', b'"\\u3000"', "\"\u3000\"".encode(), b"7", b"78", b"null", b"true", b'["a"]', b'{"a": 1}',
     b'"a\xff"', b'"a\xed\xa0\x80"', b'"a\xc0\xaf"', b'"\\ud83d"', b'"a\\x41"', b'"a\tb"', b'"a", "content": "b"',
     b'"a", "role": "user"', b'"a", "x": 1'],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_in_doubt_is_not_plain(content: bytes, place: int) -> None:
    """One text of a line that is plain otherwise."""
    line = json.dumps(turns("Q", "A")).encode() + b"\n"
    assert plain_lines(line, must_end_answered=True)
    assert not plain_lines(line.replace((b'"Q"', b'"A"')[place], content), must_end_answered=True)


@pytest.mark.parametrize(
    "content",
    [
        "\\na",
        " a",
        '\\"a\\"',
        "\\\\",
        "\\u3000a",
        "\\u200b",
        "\\ud83d\\ude00",
        "\u00e9",
        "\u3000a",
        "a\u2028",
    ],
)
def test_a_text_that_begins_oddly_is_plain(content: str) -> None:
    """It is read alone, so that the rows around it need not be."""
    line = b'{"messages": [{"role": "user", "content": "%b"}, {"role": "assistant", "content": "a"}]}\n'
    assert plain_lines(line % content.encode() * 3, must_end_answered=True) == 3
    assert not plain_lines(line % content.encode() + line % b" ", must_end_answered=True)


@pytest.mark.parametrize(
    "roles", ["", "u", "s", "su", "au", "uu", "aa", "ss", "uau", "usa", "sau", "uas", "suau", "uaus", "ssua"]
)
def test_roles_out_of_order_are_not_plain(roles: str) -> None:
    """Of a row to train on."""
    names = {"u": "user", "a": "assistant", "s": "system"}
    messages = [{"role": names[role], "content": "x"} for role in roles]
    line = json.dumps({"messages": messages}).encode() + b"\n"
    assert not plain_lines(line, must_end_answered=True)


def test_memory_stays_flat(tmp_path: Path) -> None:
    """However many rows there are, and however many of them are broken."""
    file = tmp_path / "a.jsonl"

    def peak(rows: int) -> int:
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n{}\n" for row in many(rows))
        tracemalloc.start()
        ChatDataset.from_jsonl(file).validate(limit=10)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(10)
    assert peak(20_000) < peak(2_000) + 200_000
