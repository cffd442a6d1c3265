"""The chat templates: each family's text as typed by hand, and what is known of each model."""

from __future__ import annotations

import sys

import attrs
import pytest

from phi_finetune import Message
from phi_finetune.catalog import chat_templates
from phi_finetune.errors import InvalidParameter, MissingDependency

TALK = (
    Message("system", "Be brief."),
    Message("user", "Hello"),
    Message("assistant", " Hi "),
    Message("user", "1\n2"),
    Message("assistant", "{{ 3 }} <&>"),
)
PHI_3 = """\
<|system|>
Be brief.<|end|>
<|user|>
Hello<|end|>
<|assistant|>
 Hi <|end|>
<|user|>
1
2<|end|>
<|assistant|>
{{ 3 }} <&><|end|>
"""
PHI_3_MEDIUM = """\
<|user|>
Hello<|end|>
<|assistant|>
 Hi <|end|>
<|user|>
1
2<|end|>
<|assistant|>
{{ 3 }} <&><|end|>
"""
PHI_4 = (
    "<|im_start|>system<|im_sep|>Be brief.<|im_end|>"
    "<|im_start|>user<|im_sep|>Hello<|im_end|>"
    "<|im_start|>assistant<|im_sep|> Hi <|im_end|>"
    "<|im_start|>user<|im_sep|>1\n2<|im_end|>"
    "<|im_start|>assistant<|im_sep|>{{ 3 }} <&><|im_end|>"
)
PHI_4_MINI = (
    "<|system|>Be brief.<|end|><|user|>Hello<|end|><|assistant|> Hi <|end|>"
    "<|user|>1\n2<|end|><|assistant|>{{ 3 }} <&><|end|>"
)
REASONING = PHI_4_MINI.replace(
    "<|system|>", "<|system|>Your name is Phi, an AI math expert developed by Microsoft. "
)

# What is trained on; and how it goes on where the first four turns are asked to be answered.
GOLDEN = {
    "Phi-3-mini-4k-instruct": (PHI_3 + "<|endoftext|>", "<|assistant|>\n"),
    "Phi-3-mini-128k-instruct": (PHI_3 + "<|endoftext|>", "<|assistant|>\n"),
    "Phi-3-small-8k-instruct": ("<|endoftext|>" + PHI_3 + "<|endoftext|>", "<|assistant|>\n"),
    "Phi-3-small-128k-instruct": ("<|endoftext|>" + PHI_3 + "<|endoftext|>", "<|assistant|>\n"),
    "Phi-3-medium-4k-instruct": (PHI_3_MEDIUM, "<|assistant|>\n"),
    "Phi-3-medium-128k-instruct": (PHI_3_MEDIUM, "<|assistant|>\n"),
    "Phi-3-vision-128k-instruct": (PHI_3, "<|assistant|>\n"),
    "Phi-3.5-mini-instruct": (PHI_3 + "<|endoftext|>", "<|assistant|>\n"),
    "Phi-3.5-MoE-instruct": (PHI_3 + "<|endoftext|>", "<|assistant|>\n"),
    "Phi-3.5-vision-instruct": (PHI_3, "<|assistant|>\n"),
    "Phi-4": (PHI_4, "<|im_start|>assistant<|im_sep|>"),
    "Phi-4-mini-instruct": (PHI_4_MINI + "<|endoftext|>", "<|assistant|>"),
    "Phi-4-mini-reasoning": (REASONING + "<|endoftext|>", "<|assistant|>"),
}


@pytest.mark.parametrize("model", GOLDEN)
def test_a_conversation_is_written_as_published(model: str) -> None:
    """To the character, contents as they are, and the end of the text where the model's template writes it."""
    assert chat_templates.get(model).render(TALK) == GOLDEN[model][0]


@pytest.mark.parametrize("model", GOLDEN)
def test_a_question_ends_with_the_assistants_opening(model: str) -> None:
    """What an endpoint is asked is what was trained, up to the answer."""
    trained, opening = GOLDEN[model]
    asked = chat_templates.get(model).render(TALK[:-1], add_generation_prompt=True)
    assert asked.endswith(opening)
    assert trained.startswith(asked)


# What Hugging Face's code rendered, as microsoft/onnxruntime-extensions keeps it in test_tokenizer_chat.cc
ASKED = (
    Message("system", "You are a helpful assistant."),
    Message("user", "How should I explain the Internet?"),
)
ANSWERED = (
    Message("system", "System message"),
    Message("user", "Hello, can you call some tools for me?"),
    Message("assistant", "Sure, I can calculate the sum for you!"),
)
PUBLISHED = [
    (
        "Phi-4",
        ASKED,
        "<|im_start|>system<|im_sep|>You are a helpful assistant.<|im_end|><|im_start|>user<|im_sep|>"
        "How should I explain the Internet?<|im_end|><|im_start|>assistant<|im_sep|>",
    ),
    (
        "Phi-4-mini-reasoning",
        ASKED,
        "<|system|>Your name is Phi, an AI math expert developed by Microsoft. You are a helpful assistant.<|end|>"
        "<|user|>How should I explain the Internet?<|end|><|assistant|>",
    ),
    (
        "Phi-3-medium-4k-instruct",
        ANSWERED,
        "<|user|>\nHello, can you call some tools for me?<|end|>\n<|assistant|>\n"
        "Sure, I can calculate the sum for you!<|end|>\n",
    ),
    (
        "Phi-3-mini-4k-instruct",
        ANSWERED,
        "<|system|>\nSystem message<|end|>\n<|user|>\nHello, can you call some tools for me?<|end|>\n"
        "<|assistant|>\nSure, I can calculate the sum for you!<|end|>\n<|assistant|>\n",
    ),
    (
        "Phi-3-vision-128k-instruct",
        ANSWERED,
        "<|system|>\nSystem message<|end|>\n<|user|>\nHello, can you call some tools for me?<|end|>\n"
        "<|assistant|>\nSure, I can calculate the sum for you!<|end|>\n",
    ),
]


@pytest.mark.parametrize(("model", "messages", "expected"), PUBLISHED)
def test_what_hugging_face_rendered(model: str, messages: tuple[Message, ...], expected: str) -> None:
    """The same question gives the same text, also after an answer, where the families differ most."""
    assert chat_templates.get(model).render(messages, add_generation_prompt=True) == expected


def test_every_model_is_tested() -> None:
    """No template without a text typed by hand."""
    assert [each.model for each in chat_templates.all_templates()] == list(GOLDEN)


@pytest.mark.parametrize("model", GOLDEN)
def test_what_is_known_fits_the_template(model: str) -> None:
    """The system turn is written where it is said to be, and each turn of the assistant ends with its token."""
    template = chat_templates.get(model)
    text = template.render(TALK)
    assert ("Be brief." in text) == template.supports_system
    assert "<&>" + template.end_of_turn in text
    assert template.context_length in (4096, 8192, 16384, 131072)
    assert template.source is not None
    assert template.source.title
    assert template.source.observed_on == "2026-11"


@pytest.mark.parametrize(
    "name",
    [
        " phi-3.5-MINI-instruct",
        "microsoft/Phi-3.5-mini-instruct",
        "azureml://registries/azureml/models/Phi-3.5-mini-instruct/versions/6",
    ],
)
def test_a_model_goes_by_several_names(name: str) -> None:
    """Its name in any case, Hugging Face's and Azure's find one template."""
    found = chat_templates.find(name)
    assert found is not None
    assert found.family == "Phi-3.5"


def test_an_unknown_model_is_refused_with_those_known() -> None:
    """Nothing is guessed from a name that begins alike: Phi-4-reasoning has a template of its own."""
    assert chat_templates.find("Phi-4-reasoning") is None
    with pytest.raises(InvalidParameter, match="The chat template of Phi-4-reasoning is not known") as caught:
        chat_templates.get("Phi-4-reasoning")
    assert caught.value.allowed == ", ".join(GOLDEN)


@pytest.mark.parametrize(
    "text",
    [
        "{% for turn in messages %}",
        "{{ raise_exception(messages[0].content) }}",
        "{{ ''.__class__ }}{{ a.b }}",
    ],
)
def test_a_template_that_fails_is_refused_without_quoting(text: str) -> None:
    """One with a fault, one that refuses the conversation and one that reaches out of its sandbox."""
    template = attrs.evolve(chat_templates.get("Phi-4"), text=text)
    with pytest.raises(InvalidParameter, match="cannot write out this conversation") as caught:
        template.render(TALK)
    assert "brief" not in str(caught.value)


def test_without_jinja_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template's facts need nothing; writing out says what to install."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    template = attrs.evolve(chat_templates.get("Phi-4"), text="not compiled before")
    with pytest.raises(MissingDependency, match=r"phi-finetune\[tokens\]"):
        template.render(TALK)
