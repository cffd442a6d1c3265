"""The forms of chat data: rows as they are published, turned to conversations and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import Conversation, Message
from phi_finetune.chat_dataset.forms import (
    Form,
    FormName,
    ReversibleForm,
    conversation_of,
    form_of,
    recognise,
)
from phi_finetune.chat_dataset.rules import RULES, BrokenRule, Fault
from phi_finetune.errors import InvalidData, InvalidParameter

Row = dict[str, object]

SECRET = "Zanzibar"  # stands in each malformed row, and in no error
TEXT = st.text(min_size=1, max_size=20).filter(lambda text: not text.isspace())
REVERSIBLE: list[FormName] = [
    "messages",
    "prompt_messages",
    "openai",
    "sharegpt",
    "alpaca",
    "prompt_completion",
]


def said(*turns: tuple[str, str]) -> Conversation:
    """A conversation of (role, content) pairs."""
    return Conversation(tuple(Message(role, content) for role, content in turns))  # type: ignore[arg-type]


def messages(*turns: tuple[str, object]) -> list[dict[str, object]]:
    """The same as a list of objects."""
    return [{"role": role, "content": content} for role, content in turns]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Any conversation that keeps the rules, one that ends with the user's turn too."""
    texts = draw(st.lists(TEXT, min_size=1, max_size=6))
    turns = [("user" if index % 2 == 0 else "assistant", text) for index, text in enumerate(texts)]
    system = draw(st.none() | TEXT)
    return said(*turns) if system is None else said(("system", system), *turns)


# Rows as they are published

ALPACA: Row = {  # tatsu-lab/stanford_alpaca, "Data release"; a task of its seed set
    "instruction": "Classify the following into animals, plants, and minerals",
    "input": "Oak tree, copper ore, elephant",
    "output": "Oak tree: Plant\nCopper ore: Mineral\nElephant: Animal",
}
ALPACA_HISTORY: Row = {  # LLaMA-Factory, data/README.md, "Alpaca format"
    "instruction": "human instruction (required)",
    "input": "human input (optional)",
    "output": "model response (required)",
    "system": "system prompt (optional)",
    "history": [["first question", "first answer"], ["second question", "second answer"]],
}
SHAREGPT: Row = {  # lm-sys/FastChat, data/dummy_conversation.json
    "id": "identity_0",
    "conversations": [
        {"from": "human", "value": "Who are you?"},
        {"from": "gpt", "value": "I am Vicuna, a language model."},
    ],
}
SHAREGPT_SYSTEM: Row = {  # LLaMA-Factory, data/README.md, "ShareGPT format", without its tools
    "conversations": [
        {"from": "human", "value": "human instruction"},
        {"from": "gpt", "value": "model response"},
    ],
    "system": "system prompt (optional)",
}
WEIGHTS: Row = {  # OpenAI, "Fine-tuning", multi-turn chat examples
    "messages": [
        {"role": "system", "content": "Marv is a factual chatbot that is also sarcastic."},
        {"role": "user", "content": "What's the capital of France?"},
        {"role": "assistant", "content": "Paris", "weight": 0},
        {"role": "user", "content": "Can you be more sarcastic?"},
        {
            "role": "assistant",
            "content": "Paris, as if everyone doesn't know that already.",
            "weight": 1,
        },
    ]
}
CALL = {
    "id": "call_id",
    "type": "function",
    "function": {"name": "get_current_weather", "arguments": '{"location": "San Francisco, USA"}'},
}
TOOLS: Row = {  # OpenAI, "Fine-tuning", function calling examples
    "messages": [
        {"role": "user", "content": "What is the weather in San Francisco?"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_id", "content": "21.0"},
        {"role": "assistant", "content": "It is 21 degrees."},
    ],
    "parallel_tool_calls": False,
    "tools": [{"type": "function", "function": {"name": "get_current_weather"}}],
}
ULTRACHAT: Row = {  # HuggingFaceH4/ultrachat_200k, its card, shortened
    "prompt": "Create a fully-developed protagonist who is challenged to survive.",
    "messages": messages(
        ("user", "Create a fully-developed protagonist who is challenged to survive."),
        ("assistant", "Name: Ava"),
        ("user", "Wow, Ava's story is so intense!"),
        ("assistant", "I'm glad to hear that."),
    ),
    "prompt_id": "d938b65dfe31f05f80eb8572964c6673eddbd68eff3db6bd234d7f1e3b86c2af",
}
COMPLETION: Row = {"prompt": "The sky is", "completion": " blue."}  # TRL, "Dataset formats and types"
COMPLETION_CHAT: Row = {
    "prompt": messages(("user", "What color is the sky?")),
    "completion": messages(("assistant", "It is blue.")),
}
PREFERENCE: Row = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}
PREFERENCE_CHAT: Row = {
    "prompt": messages(("user", "What color is the sky?")),
    "chosen": messages(("assistant", "It is blue.")),
    "rejected": messages(("assistant", "It is green.")),
}
PREFERENCE_WHOLE: Row = {
    "chosen": messages(("user", "What color is the sky?"), ("assistant", "It is blue.")),
    "rejected": messages(("user", "What color is the sky?"), ("assistant", "It is green.")),
}
ULTRAFEEDBACK: Row = {"prompt": "What color is the sky?", **PREFERENCE_WHOLE, "score_chosen": 8.0}
PARTS: Row = {  # TRL and OpenAI: content as parts
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "What color "}, {"type": "text", "text": "is it?"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Blue."}]},
    ]
}
SKY = said(("user", "What color is the sky?"), ("assistant", "It is blue."))


@pytest.mark.parametrize(
    ("row", "name", "expected"),
    [
        (
            ALPACA,
            "alpaca",
            said(
                ("user", f"{ALPACA['instruction']}\n{ALPACA['input']}"),
                ("assistant", str(ALPACA["output"])),
            ),
        ),
        (
            ALPACA_HISTORY,
            "alpaca",
            said(
                ("system", "system prompt (optional)"),
                ("user", "first question"),
                ("assistant", "first answer"),
                ("user", "second question"),
                ("assistant", "second answer"),
                ("user", "human instruction (required)\nhuman input (optional)"),
                ("assistant", "model response (required)"),
            ),
        ),
        (
            SHAREGPT,
            "sharegpt",
            said(("user", "Who are you?"), ("assistant", "I am Vicuna, a language model.")),
        ),
        (
            SHAREGPT_SYSTEM,
            "sharegpt",
            said(
                ("system", "system prompt (optional)"),
                ("user", "human instruction"),
                ("assistant", "model response"),
            ),
        ),
        (COMPLETION, "prompt_completion", said(("user", "The sky is"), ("assistant", " blue."))),
        (COMPLETION_CHAT, "prompt_completion", SKY),
        (PARTS, "messages", said(("user", "What color is it?"), ("assistant", "Blue."))),
        (
            ULTRACHAT,
            "prompt_messages",
            said(*[(turn["role"], turn["content"]) for turn in ULTRACHAT["messages"]]),  # type: ignore[attr-defined]
        ),
    ],
)
def test_a_published_row_is_recognised_and_read(row: Row, name: str, expected: Conversation) -> None:
    """What the form's makers publish as its example becomes the conversation that they mean."""
    form = recognise([row])
    assert form.name == name
    read = conversation_of(form, row, must_end_answered=True)
    assert read.messages == expected.messages


@pytest.mark.parametrize("row", [PREFERENCE_CHAT, PREFERENCE_WHOLE, ULTRAFEEDBACK])
def test_preference_data_is_read_when_asked_for(row: Row) -> None:
    """The chosen side counts, with the prompt where it does not hold it; the rejected one is gone."""
    assert conversation_of(form_of("preference"), row) == SKY


def test_preference_data_of_texts_is_a_question_and_an_answer() -> None:
    """As TRL's first example has it."""
    read = conversation_of(form_of("preference"), PREFERENCE)
    assert read == said(("user", "The sky is"), ("assistant", " blue."))


@pytest.mark.parametrize(
    "row", [PREFERENCE, PREFERENCE_WHOLE, {**ULTRACHAT, **ULTRAFEEDBACK}, {**COMPLETION, "label": False}]
)
def test_preference_data_is_never_recognised(row: Row) -> None:
    """Nobody trains on it as if it were something else without having said so."""
    with pytest.raises(InvalidData) as caught:
        recognise([COMPLETION, row])
    assert caught.value.rule == "preference-data"
    assert "preference" in str(caught.value)


@pytest.mark.parametrize("row", [WEIGHTS, TOOLS])
def test_rows_of_openai_are_recognised(row: Row) -> None:
    """One row with something of OpenAI's is enough."""
    assert recognise([{"messages": messages(("user", "Hi"))}, row]).name == "openai"


def test_a_weight_of_zero_is_refused_with_its_place() -> None:
    """Training would learn what its writers did not want to be learnt."""
    assert fault_of(form_of("openai"), WEIGHTS) == Fault("weight-zero", "messages[2].weight")


def test_weights_are_dropped_when_asked() -> None:
    """The messages stay."""
    read = conversation_of(form_of("openai", drop=["weights"]), WEIGHTS)
    assert [turn.content for turn in read.messages][2] == "Paris"
    assert len(read.messages) == 5


def test_tools_are_dropped_when_asked() -> None:
    """The calls and the tools' answers go, and what is said stays."""
    assert fault_of(form_of("openai"), TOOLS) == Fault("tools", "tools")
    read = conversation_of(form_of("openai", drop=["tools"]), TOOLS)
    assert read == said(("user", "What is the weather in San Francisco?"), ("assistant", "It is 21 degrees."))


def test_what_is_said_beside_a_call_stays() -> None:
    """Only turns that do nothing but call are left out."""
    turns = [*messages(("user", "a")), {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}]
    read = conversation_of(form_of("openai", drop=["tools"]), {"messages": turns})
    assert read == said(("user", "a"), ("assistant", "I look."))


def test_places_are_the_rows_own_after_turns_were_dropped() -> None:
    """A turn left out does not shift what an error says."""
    turns = [*messages(("user", "a")), {"role": "assistant", "tool_calls": [CALL]}, *messages(("king", "b"))]
    form = form_of("openai", drop=["tools"])
    assert fault_of(form, {"messages": turns}) == Fault("unknown-role", "messages[2].role")


def test_a_developer_speaks_as_the_system() -> None:
    """OpenAI calls it so since its reasoning models."""
    row: Row = {"messages": messages(("developer", "Be brief."), ("user", "Hi"), ("assistant", "Hi."))}
    form = recognise([row])
    assert conversation_of(form, row).messages[0] == Message("system", "Be brief.")


def test_a_prompt_id_is_kept() -> None:
    """It is what leads back to the published row."""
    for name in ("messages", "prompt_messages"):
        row = form_of(name).messages_of(ULTRACHAT)
        assert list(row) == ["messages", "prompt_id"]
        assert row["prompt_id"] == ULTRACHAT["prompt_id"]


def test_a_prompt_that_is_not_the_first_turn_is_remarked_on() -> None:
    """The row can be read; whether it is right, somebody should look."""
    form = form_of("prompt_messages")
    assert form.remarks(ULTRACHAT) == ()
    row = {**ULTRACHAT, "prompt": "Something else"}
    assert form.remarks(row) == (Fault("prompt-differs", "prompt"),)
    assert conversation_of(form, row) == conversation_of(form, ULTRACHAT)


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("human", "user"),
        ("user", "user"),
        ("gpt", "assistant"),
        ("assistant", "assistant"),
        ("chatgpt", "assistant"),
        ("bard", "assistant"),
        ("bing", "assistant"),
        ("system", "system"),
    ],
)
def test_speakers_of_sharegpt(word: str, role: str) -> None:
    """The dumps name them in many ways."""
    row = {"conversations": [{"from": word, "value": "Hi"}]}
    assert form_of("sharegpt").messages_of(row) == {"messages": messages((role, "Hi"))}


# There and back


@pytest.mark.parametrize("name", REVERSIBLE)
@given(conversation=conversations())
def test_a_conversation_comes_back_from_a_row(name: FormName, conversation: Conversation) -> None:
    """Written in a form and read again, it is the same."""
    form = form_of(name)
    assert isinstance(form, ReversibleForm)
    assert conversation_of(form, form.record_of(conversation)) == conversation


@pytest.mark.parametrize("name", REVERSIBLE)
@given(conversation=conversations())
def test_a_row_that_was_written_is_recognised(name: FormName, conversation: Conversation) -> None:
    """It is taken for its form, or for one that reads it to the same conversation."""
    form = form_of(name)
    assert isinstance(form, ReversibleForm)
    if conversation.answer is None and name in ("alpaca", "prompt_completion"):
        return  # a row without its answer is not typical of these
    row = form.record_of(conversation)
    assert conversation_of(recognise([row]), row) == conversation


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("messages", {"messages": messages(("user", "a"), ("assistant", "b"))}),
        ("sharegpt", {"conversations": SHAREGPT["conversations"]}),
        ("sharegpt", SHAREGPT_SYSTEM),
        ("alpaca", {"instruction": "a", "input": "", "output": "b"}),
        ("alpaca", {"instruction": "a", "input": "", "output": "b", "system": "c", "history": [["d", "e"]]}),
        ("prompt_completion", COMPLETION),
        ("prompt_messages", {"prompt": "a", "messages": messages(("user", "a"), ("assistant", "b"))}),
    ],
)
def test_a_row_comes_back_from_its_conversation(name: FormName, row: Row) -> None:
    """Where it holds nothing that messages cannot."""
    form = form_of(name)
    assert isinstance(form, ReversibleForm)
    assert form.record_of(conversation_of(form, row)) == row


@given(
    instruction=TEXT,
    added=st.text(max_size=10),
    output=TEXT,
    history=st.lists(st.tuples(TEXT, TEXT), max_size=3),
)
def test_the_answer_of_alpaca_is_last(
    instruction: str, added: str, output: str, history: list[tuple[str, str]]
) -> None:
    """Whatever else there is, the row's own question and answer end the conversation."""
    row = {"instruction": instruction, "input": added, "output": output, "history": history}
    read = conversation_of(form_of("alpaca"), row, must_end_answered=True)
    question = f"{instruction}\n{added}" if added.strip() else instruction
    before = [text for pair in history for text in pair]
    assert [turn.content for turn in read.messages] == [*before, question, output]


# Other names, and functions


def test_columns_of_other_names_are_read() -> None:
    """Both the row's keys and those of its messages."""
    row: Row = {"dialog": [{"speaker": "user", "text": "Hi"}, {"speaker": "assistant", "text": "Hello"}]}
    columns = {"messages": "dialog", "role": "speaker", "content": "text"}
    expected = said(("user", "Hi"), ("assistant", "Hello"))
    assert conversation_of(form_of("messages", columns=columns), row) == expected
    assert conversation_of(recognise([row], columns=columns), row) == expected


def test_places_are_told_under_the_rows_own_names() -> None:
    """Nobody has a key ``messages`` in such rows."""
    columns = {"messages": "dialog", "role": "speaker", "content": "text"}
    form = form_of("messages", columns=columns)
    assert fault_of(form, {"dialog": [{"speaker": "user", "text": " "}]}) == Fault(
        "blank-content", "dialog[0].text"
    )
    assert fault_of(form, {"dialog": ["user"]}) == Fault("message-not-an-object", "dialog[0]")
    assert fault_of(form, {"dialog": []}) == Fault("empty-messages", "dialog")
    assert fault_of(form, {"dialog": [{"speaker": "user", "text": "a"}]}, answered=True) == Fault(
        "no-assistant-turn", "dialog"
    )


def test_alpaca_with_other_names_is_recognised() -> None:
    """databricks-dolly-15k has it so."""
    row = {"instruction": "a", "context": "b", "response": "c", "category": "open_qa"}
    form = recognise([row], columns={"input": "context", "output": "response"})
    assert conversation_of(form, row) == said(("user", "a\nb"), ("assistant", "c"))


@pytest.mark.parametrize("columns", [{"message": "dialog"}, {"role": "a", "content": "a"}])
def test_columns_that_a_form_does_not_have_are_refused(columns: dict[str, str]) -> None:
    """A slip of the pen does not go unnoticed."""
    with pytest.raises(InvalidParameter) as caught:
        form_of("messages", columns=columns)
    assert caught.value.name == "columns"
    if "message" in columns:
        with pytest.raises(InvalidParameter):
            recognise([], columns=columns)


def test_a_function_may_give_the_form() -> None:
    """It is called once for each row."""
    seen: list[object] = []

    def my_form(row: Mapping[str, object]) -> object:
        seen.append(row)
        return {"messages": messages(("user", row["q"]), ("assistant", row["a"]))}

    row = {"q": "Hi", "a": "Hello"}
    assert conversation_of(form_of(my_form), row) == said(("user", "Hi"), ("assistant", "Hello"))
    assert seen == [row]


@pytest.mark.parametrize("name", ["Messages", "chatml", ""])
def test_an_unknown_form_is_refused(name: str) -> None:
    """The error lists the forms that there are."""
    with pytest.raises(InvalidParameter) as caught:
        form_of(name)  # type: ignore[arg-type]
    assert all(known in str(caught.value) for known in get_args(FormName))


@pytest.mark.parametrize(("name", "drop"), [("alpaca", ["weights"]), ("openai", ["roles"])])
def test_what_cannot_be_dropped_is_refused(name: FormName, drop: list[str]) -> None:
    """Nothing is dropped by chance."""
    with pytest.raises(InvalidParameter) as caught:
        form_of(name, drop=drop)  # type: ignore[arg-type]
    assert caught.value.name == "drop"


# Recognising


def test_rows_of_two_forms_are_refused() -> None:
    """One form must fit all."""
    for rows in ([ALPACA, SHAREGPT], [{**ALPACA, **SHAREGPT}]):
        with pytest.raises(InvalidData) as caught:
            recognise(rows, label="a.json")
        assert (caught.value.rule, caught.value.file) == ("several-forms", "a.json")
        assert "conversations, from" in str(caught.value) or "instruction" in str(caught.value)


def test_rows_of_no_form_are_refused_without_quoting_their_keys() -> None:
    """A key may be somebody's text; those that forms know are named."""
    with pytest.raises(InvalidData) as caught:
        recognise([{SECRET: 1, "text": "b", "prompt": "c"}])
    message = str(caught.value)
    assert caught.value.rule == "unknown-form"
    assert SECRET not in message
    assert "have prompt, 2 other keys" in message
    assert all(known in message for known in get_args(FormName))


def test_system_text_beside_messages_is_not_lost_silently() -> None:
    """The form messages would leave it out; who wants that names it."""
    row: Row = {"system": "Be brief.", "messages": messages(("user", "a"), ("assistant", "b"))}
    with pytest.raises(InvalidData) as caught:
        recognise([row])
    assert caught.value.rule == "unknown-form"
    assert len(conversation_of(form_of("messages"), row).messages) == 2


def test_broken_rows_do_not_hide_the_form() -> None:
    """Reading tells of them one by one."""
    assert recognise([{"id": 1}, SHAREGPT, {"conversations": None}, SHAREGPT, "x"]).name == "sharegpt"


def test_no_rows_are_messages() -> None:
    """An empty file is told of as empty, and not as of an unknown form."""
    assert recognise([]).name == "messages"


def test_nulls_of_tables_are_absent() -> None:
    """A table has a column in every row."""
    row: Row = {"prompt": None, "messages": messages(("user", "a")), "conversations": None, "weight": None}
    assert recognise([row]).name == "messages"


# Malformed rows


def own(function_body: str) -> Form:
    """A form of a function that fails in some way, with the row's text in its words."""

    def raises(row: Mapping[str, object]) -> object:
        raise KeyError(row["x"])

    def gives_none(row: Mapping[str, object]) -> object:
        return None

    def gives_no_messages(row: Mapping[str, object]) -> object:
        return row

    functions = {"raises": raises, "none": gives_none, "row": gives_no_messages}
    return form_of(functions[function_body])


def turns_of_sharegpt(*turns: object) -> Row:
    """A row of FastChat's."""
    return {"conversations": list(turns)}


ASKED = {"from": "human", "value": SECRET}
MALFORMED: list[tuple[FormName | str, object, str, str | None]] = [
    ("messages", SECRET, "not-an-object", None),
    ("messages", {"text": SECRET}, "no-messages", None),
    ("messages", {"messages": SECRET}, "messages-not-a-list", "messages"),
    ("messages", {"messages": []}, "empty-messages", "messages"),
    ("messages", {"messages": [SECRET]}, "message-not-an-object", "messages[0]"),
    ("messages", {"messages": messages((SECRET, "a"))}, "unknown-role", "messages[0].role"),
    ("messages", {"messages": [{"content": SECRET}]}, "missing-role", "messages[0].role"),
    (
        "messages",
        {"messages": messages(("user", [{"type": "image_url", "image_url": SECRET}]))},
        "content-part-not-text",
        "messages[0].content[0]",
    ),
    (
        "messages",
        {"messages": messages(("user", [{"type": "text", "text": 3}, SECRET]))},
        "content-part-not-text",
        "messages[0].content[0]",
    ),
    ("messages", {"messages": messages(("user", [])), "x": SECRET}, "blank-content", "messages[0].content"),
    ("prompt_messages", {"prompt": SECRET}, "no-messages", None),
    ("openai", {"tools": [SECRET], "messages": []}, "tools", "tools"),
    ("openai", {"functions": [SECRET], "messages": []}, "tools", "functions"),
    ("openai", {"messages": [{"role": "tool", "content": SECRET}]}, "tools", "messages[0].role"),
    ("openai", {"messages": [{"role": "function", "content": SECRET}]}, "tools", "messages[0].role"),
    (
        "openai",
        {"messages": [{"role": "assistant", "tool_calls": [SECRET]}]},
        "tools",
        "messages[0].tool_calls",
    ),
    (
        "openai",
        {"messages": [{"role": "assistant", "function_call": {"name": SECRET}}]},
        "tools",
        "messages[0].function_call",
    ),
    (
        "openai",
        {"messages": [{"role": "assistant", "content": None, "refusal": SECRET}]},
        "refusal",
        "messages[0].refusal",
    ),
    (
        "openai",
        {"messages": [{"role": "assistant", "content": SECRET, "weight": 0.5}]},
        "unknown-weight",
        "messages[0].weight",
    ),
    (
        "openai",
        {"messages": [{"role": "assistant", "content": SECRET, "weight": False}]},
        "unknown-weight",
        "messages[0].weight",
    ),
    ("sharegpt", {"conversation": SECRET}, "missing-key", "conversations"),
    ("sharegpt", {"conversations": SECRET}, "messages-not-a-list", "conversations"),
    ("sharegpt", {"conversations": [], "system": SECRET}, "empty-messages", "conversations"),
    ("sharegpt", turns_of_sharegpt(ASKED, SECRET), "message-not-an-object", "conversations[1]"),
    (
        "sharegpt",
        turns_of_sharegpt(ASKED, {"from": SECRET, "value": "a"}),
        "unknown-role",
        "conversations[1].from",
    ),
    ("sharegpt", turns_of_sharegpt({"value": SECRET}), "missing-role", "conversations[0].from"),
    (
        "sharegpt",
        turns_of_sharegpt({"from": ["human"], "value": SECRET}),
        "unknown-role",
        "conversations[0].from",
    ),
    (
        "sharegpt",
        turns_of_sharegpt(ASKED, {"from": "gpt", "value": [SECRET]}),
        "content-not-text",
        "conversations[1].value",
    ),
    (
        "sharegpt",
        turns_of_sharegpt(ASKED, {"from": "observation", "value": "a"}),
        "tools",
        "conversations[1].from",
    ),
    ("sharegpt", turns_of_sharegpt(ASKED, ASKED), "roles-not-alternating", "conversations[1].from"),
    (
        "sharegpt",
        turns_of_sharegpt({"from": "gpt", "value": SECRET}),
        "user-not-first",
        "conversations[0].from",
    ),
    (
        "sharegpt",
        {"system": SECRET, **turns_of_sharegpt({"from": "system", "value": "a"}, ASKED)},
        "second-system",
        "conversations[0].from",
    ),
    ("sharegpt", {"system": 3, **turns_of_sharegpt(ASKED)}, "content-not-text", "system"),
    ("sharegpt", turns_of_sharegpt(ASKED), "no-assistant-turn", "conversations"),
    ("alpaca", {"output": SECRET}, "missing-key", "instruction"),
    ("alpaca", {"instruction": SECRET, "output": ""}, "blank-content", "output"),
    ("alpaca", {"instruction": SECRET, "output": None}, "no-assistant-turn", "output"),
    ("alpaca", {"instruction": [SECRET], "output": "a"}, "content-not-text", "instruction"),
    ("alpaca", {"instruction": "a", "input": [SECRET], "output": "b"}, "content-not-text", "input"),
    ("alpaca", {"instruction": "a", "output": SECRET, "history": SECRET}, "history-not-pairs", "history"),
    (
        "alpaca",
        {"instruction": "a", "output": "b", "history": [["c", "d"], [SECRET]]},
        "history-not-pairs",
        "history[1]",
    ),
    (
        "alpaca",
        {"instruction": "a", "output": "b", "history": [[SECRET, " "]]},
        "blank-content",
        "history[0][1]",
    ),
    (
        "alpaca",
        {"instruction": SECRET, "history": [["a", "b"]]},
        "last-not-assistant",
        "output",
    ),
    ("prompt_completion", {"completion": SECRET}, "missing-key", "prompt"),
    ("prompt_completion", {"prompt": SECRET, "completion": 4}, "content-not-text", "completion"),
    ("prompt_completion", {"prompt": SECRET}, "no-assistant-turn", "completion"),
    (
        "prompt_completion",
        {"prompt": messages(("user", "a")), "completion": messages(("user", SECRET))},
        "roles-not-alternating",
        "completion[0].role",
    ),
    (
        "prompt_completion",
        {"prompt": messages(("user", " ")), "completion": SECRET},
        "blank-content",
        "prompt[0].content",
    ),
    ("preference", {"rejected": SECRET}, "missing-key", "chosen"),
    ("preference", {"chosen": SECRET, "rejected": "a"}, "missing-key", "prompt"),
    (
        "preference",
        {"prompt": "a", "chosen": [SECRET], "rejected": "b"},
        "message-not-an-object",
        "chosen[0]",
    ),
    ("raises", {"x": SECRET}, "form-raised", None),
    ("none", {"x": SECRET}, "form-gave-no-object", None),
    ("row", {"x": SECRET}, "no-messages", None),
]


def fault_of(form: Form, row: object, *, answered: bool = False) -> Fault:
    """The rule that a row breaks, and where."""
    with pytest.raises(BrokenRule) as caught:
        conversation_of(form, row, must_end_answered=answered)
    assert SECRET not in " ".join(str(error) for error in chain(caught.value))
    return caught.value.fault


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(("name", "row", "rule", "path"), MALFORMED)
def test_a_malformed_row_has_one_clear_fault(name: str, row: object, rule: str, path: str | None) -> None:
    """It names the rule and the place in the row's own words, and quotes nothing of the row."""
    form = own(name) if name in ("raises", "none", "row") else form_of(name)  # type: ignore[arg-type]
    fault = fault_of(form, row, answered=True)
    assert fault.rule == rule
    assert rule in RULES
    if name != "raises":
        assert fault.path == path
    error = fault.error("rows.json", 3)
    assert "Row 3 of rows.json" in str(error)
    assert SECRET not in str(error)


def test_an_error_of_the_users_function_is_told_by_its_class_and_line() -> None:
    """That is enough to find it, and holds nothing of the row."""
    path = fault_of(own("raises"), {"x": SECRET}).path
    assert path is not None
    assert path.startswith("KeyError in test_chat_dataset_forms.py, line ")


@pytest.mark.parametrize("name", get_args(FormName))
@given(
    row=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *("messages", "role", "content", "conversations", "from", "value", "prompt"),
                        *("completion", "chosen", "rejected", "instruction", "input", "output", "history"),
                        *("system", "weight", "tools", "prompt_id", "type", "text"),
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_row_is_read_or_breaks_a_rule(name: FormName, row: object) -> None:
    """Nothing else is ever raised."""
    form = form_of(name)
    fault = None
    try:
        conversation_of(form, row)
    except BrokenRule as broken:
        fault = broken.fault
    assert fault is None or fault.rule in RULES
    if isinstance(row, Mapping):
        assert form.recognises(row) in (True, False)


def test_every_form_says_what_it_reads_and_drops() -> None:
    """A report can name it."""
    for name in get_args(FormName):
        form = form_of(name)
        assert form.name == name
        assert form.keys
        assert form.drops
        assert type(form).__doc__
