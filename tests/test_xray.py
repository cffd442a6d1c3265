"""The X-ray: what of a conversation is trained, masked and cut, and what it warns of."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizer import tiny

from phi_finetune import Conversation, Message
from phi_finetune.catalog import chat_templates
from phi_finetune.chat_dataset.tokens import TokenCount
from phi_finetune.chat_dataset.xray import Span, Xray, xray
from phi_finetune.errors import InvalidParameter

MODELS = [each.model for each in chat_templates.all_templates()]
PHI_3 = "Phi-3-mini-4k-instruct"
PHI_4 = chat_templates.get("Phi-4")
MEDIUM = "Phi-3-medium-4k-instruct"

contents = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: text.strip()
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Turns in order, with and without a system turn and an answer at the end."""
    turns = [Message("system", draw(contents))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 6))):
        turns.append(Message("assistant" if number % 2 else "user", draw(contents)))
    return Conversation(tuple(turns))


def talk(*said: str, system: str | None = None) -> Conversation:
    """User and assistant in turn."""
    turns = [Message("assistant" if at % 2 else "user", text) for at, text in enumerate(said)]
    first = [] if system is None else [Message("system", system)]
    return Conversation((*first, *turns))


def joined(shown: Xray, *kinds: str) -> list[str]:
    """The texts of the spans of some kinds."""
    return [span.text for span in shown.spans if span.kind in kinds]


@given(conversations(), st.sampled_from(MODELS), st.booleans())
def test_what_is_trained_is_what_the_assistant_says(row: Conversation, model: str, counted: bool) -> None:
    """The spans joined are the prompt, and the trained ones are the answers with the tokens that end them."""
    template = chat_templates.get(model)
    shown = xray(row, model, tokenizer=tiny() if counted else None)
    assert shown.text == template.render(row.messages)
    answers = [turn.content + template.end_of_turn for turn in row.messages if turn.role == "assistant"]
    assert joined(shown, "trained") == answers
    assert joined(shown, "truncated") == []
    for span in shown.spans:
        if span.role in ("system", "user"):
            assert span.kind == "masked"


@given(conversations(), st.sampled_from(MODELS), st.integers(1, 120), st.sampled_from(["assistant", "all"]))
def test_a_cut_takes_the_end_and_nothing_else(
    row: Conversation, model: str, limit: int, trained: str
) -> None:
    """Nothing kept comes after the cut; what is kept is no longer than allowed, and each token is counted once."""
    whole = xray(row, model, tokenizer=tiny(), trained=trained)  # type: ignore[arg-type]
    cut = xray(row, model, tokenizer=tiny(), trained=trained, max_seq_length=limit)  # type: ignore[arg-type]
    assert cut.text == whole.text
    kinds = [span.kind == "truncated" for span in cut.spans]
    assert kinds == sorted(kinds)
    tokens = len(tiny().encode(whole.text, add_special_tokens=False).ids)
    assert whole.tokens == cut.tokens == TokenCount(tokens, exact=True)
    assert cut.trained.value + cut.masked.value + cut.truncated.value == tokens
    # A character of several tokens is cut before its first.
    assert max(0, tokens - limit) <= cut.truncated.value <= max(0, tokens - limit) + 3
    if trained == "all":
        assert cut.masked.value == 0


def test_the_counts_are_those_of_the_tokenizer() -> None:
    """Span by span, where special tokens keep the parts apart."""
    shown = xray(talk("Hello", "Hi there"), PHI_4, tokenizer=tiny())
    assert [span.text for span in shown.spans] == [
        "<|im_start|>user<|im_sep|>",
        "Hello",
        "<|im_end|><|im_start|>assistant<|im_sep|>",
        "Hi there<|im_end|>",
    ]
    alone = [len(tiny().encode(span.text, add_special_tokens=False).ids) for span in shown.spans]
    assert [span.tokens for span in shown.spans] == [TokenCount(count, exact=True) for count in alone]
    assert shown.trained.value == alone[3]
    assert shown.spans[1] == Span("Hello", "masked", "user", TokenCount(alone[1], exact=True))
    assert shown.warnings == ()


def test_a_tokenizer_without_places_counts_parts() -> None:
    """The counts of whole parts are its own; only the place of a cut is by words."""
    places = xray(talk("Hello", "Hi there"), PHI_4, tokenizer=tiny())
    none = xray(
        talk("Hello", "Hi there"),
        PHI_4,
        tokenizer=lambda text: tiny().encode(text, add_special_tokens=False).ids,
    )
    assert none == places


@pytest.mark.parametrize(
    ("given_length", "expected"), [(None, 16384), (-1, 16384), (20000, 16384), (512, 512)]
)
def test_the_cut_is_at_most_the_models_own(given_length: int | None, expected: int) -> None:
    """As the training component has it."""
    assert xray(talk("Hello", "Hi"), "Phi-4", max_seq_length=given_length).max_seq_length == expected


@pytest.mark.parametrize("length", [0, -2])
def test_no_length(length: int) -> None:
    """Nothing can be that short."""
    with pytest.raises(InvalidParameter, match="max_seq_length"):
        xray(talk("Hello", "Hi"), "Phi-4", max_seq_length=length)


def warned(row: Conversation, model: object = PHI_4, length: int | None = None) -> str:
    """What the X-ray warns of, in one text."""
    return "\n".join(xray(row, model, tokenizer=tiny(), max_seq_length=length).warnings)  # type: ignore[arg-type]


def test_a_system_turn_that_is_left_out() -> None:
    """It says that the text is not in the prompt, and what Azure's training does instead."""
    row = talk("Hello", "Hi", system="Be brief.")
    assert "has no system turn" in warned(row, MEDIUM)
    assert "Be brief." not in warned(row, MEDIUM)
    assert "before the first user turn" in warned(row, MEDIUM)
    assert "has no system turn" not in warned(talk("Hello", "Hi"), MEDIUM)
    assert warned(row, PHI_3) == ""


def test_an_end_of_turn_that_is_not_trained() -> None:
    """A template that writes something between the answer and its end, or no end."""
    for text in (
        "{% for m in messages %}{{ m.content }}\n<|im_end|>{% endfor %}",
        "{% for m in messages %}{{ m.content }} {% endfor %}",
    ):
        template = attrs.evolve(PHI_4, text=text)
        assert "may not learn to stop" in warned(talk("Hello", "Hi"), template)
        assert joined(xray(talk("Hello", "Hi"), template), "trained") == ["Hi"]
    assert warned(talk("Hello", "Hi")) == ""


def test_an_answer_that_is_cut() -> None:
    """How much of it, and that its end goes first."""
    row = talk("Hello", "one two three four five six seven eight")
    whole = xray(row, PHI_4, tokenizer=tiny())
    length = whole.tokens.value - 5
    assert f"The answer is cut: 5 of {whole.trained.value} trained tokens" in warned(row, length=length)
    assert warned(row, length=whole.tokens.value) == ""
    assert "cut" in warned(row, length=whole.tokens.value - 1)


def test_nothing_is_trained() -> None:
    """Where nobody answers, and where the answer lies past the cut."""
    assert warned(talk("Hello")) == "Nothing is trained: the assistant never speaks."
    assert "lies past max_seq_length = 5" in warned(talk("Hello", "Hi"), length=5)


def test_text_that_looks_like_a_special_token() -> None:
    """Data can end a turn too early; the warning names the token."""
    assert "holds <|im_end|>" in warned(talk("What is <|im_end|>?", "A token."))
    assert "holds <|user|>" in warned(talk("What is <|user|>?", "A token."), PHI_3)
    assert warned(talk("What is <|other|>?", "Nothing.")) == ""


def test_without_a_tokenizer_it_says_so() -> None:
    """Every count is one with an error, and a warning tells why."""
    shown = xray(talk("Hello", "Hi there"), "Phi-4")
    assert "No tokenizer was given" in shown.warnings[0]
    assert not shown.tokens.exact
    assert shown.tokens.error > 0
    assert abs(shown.tokens.value - 11) <= 2  # cl100k: 4 + 1, 4 + 2


def test_what_is_assumed_of_a_template_is_told() -> None:
    """A user must not take for known what is not."""
    assert "Assumed of Phi-3.5-MoE-instruct: the template" in warned(
        talk("Hello", "Hi"), "Phi-3.5-MoE-instruct"
    )


def test_a_template_that_changes_what_is_said() -> None:
    """Its spans could not be told, so it is refused."""
    template = attrs.evolve(PHI_4, text="{% for m in messages %}{{ m.content | trim }}<|im_end|>{% endfor %}")
    assert xray(talk("Hello", "Hi"), template).text == "Hello<|im_end|>Hi<|im_end|>"
    with pytest.raises(InvalidParameter, match="changes what is said"):
        xray(talk(" Hello", "Hi"), template)


def test_an_unknown_model() -> None:
    """The error lists those that are known."""
    with pytest.raises(InvalidParameter, match="not known"):
        xray(talk("Hello", "Hi"), "GPT-2")


# What people see

EVIL = talk("<script>alert(1)</script>", "\x1b[31mred\x07\x9b & <b>bold</b>\n\nmore", system="\r\n\x7f")


def test_the_text_marks_its_lines() -> None:
    """Trained lines have a plus, cut ones a cross; a blank line in an answer stays."""
    shown = xray(talk("One\ntwo", "Three\n\nfour"), "Phi-3-mini-4k-instruct", tokenizer=tiny())
    assert str(shown).split("\n\n")[0].startswith("Phi-3-mini-4k-instruct: ")
    body = str(shown).partition("\n\n")[2]
    assert body.splitlines() == [
        "  <|user|>",
        "  One",
        "  two",
        "  <|end|>",
        "  <|assistant|>",
        "+ Three",
        "+ ",
        "+ four<|end|>",
        "  <|endoftext|>",
    ]
    cut = str(
        xray(
            talk("One\ntwo", "Three\n\nfour"), PHI_3, tokenizer=tiny(), max_seq_length=shown.tokens.value - 1
        )
    )
    assert "x <|endoftext|>" in cut.splitlines()


def test_colours_are_the_only_codes_in_a_terminal() -> None:
    """Control characters of the data are shown as pictures, with colours and without."""
    shown = xray(EVIL, "Phi-4", max_seq_length=35)
    colored, plain = shown.to_terminal(), shown.to_terminal(color=False)
    codes = set(re.findall("\x1b[^m]*m", colored))
    assert codes == {"\x1b[1;32m", "\x1b[2m", "\x1b[9;31m", "\x1b[0m"}
    assert colored.count("\x1b") == len(re.findall("\x1b[^m]*m", colored))
    for text in (plain, re.sub("\x1b[^m]*m", "", colored)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert "␛[31mred␇\ufffd" in plain


class Reader(HTMLParser):
    """Reads HTML as a browser does, and keeps its tags and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.open = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += 1

    def handle_endtag(self, tag: str) -> None:
        self.open -= 1

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_html_is_escaped_and_whole() -> None:
    """No tag of the data is one, every tag is closed, and nothing is fetched."""
    shown = xray(EVIL, "Phi-4", max_seq_length=20)
    page = shown.to_html()
    assert shown._repr_html_() == page
    reader = Reader()
    reader.feed(page)
    assert set(reader.tags) == {"div", "b", "span", "ul", "li"}
    assert reader.open == 0
    assert "<script>alert(1)</script>" in "".join(reader.texts)
    assert not re.search(r"src=|href=|url\(|https?:", page)


def test_the_repr_holds_no_text_of_the_user() -> None:
    """It goes to logs."""
    assert "Hello" not in repr(xray(talk("Hello", "Hi"), "Phi-4"))
    assert "Hello" not in repr(xray(talk("Hello", "Hi"), "Phi-4").spans)
