"""What is trained on of a conversation: what the assistant says, with the end of its turn, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_finetune import Message
from phi_finetune.catalog import chat_templates
from phi_finetune.errors import InvalidData, InvalidParameter
from phi_finetune.local.model import load_tokenizer
from phi_finetune.local.templates import form_of

TALK = (
    Message("system", "Be brief."),
    Message("user", "Hello"),
    Message("assistant", "Hi"),
    Message("user", "1\n2"),
    Message("assistant", "{{ 3 }} <&>"),
)
MODELS = [each.model for each in chat_templates.all_templates() if "vision" not in each.model]
WORDS = st.text(alphabet="abc .\n", min_size=1).filter(str.strip)


@pytest.fixture
def tokenizer(random_phi: Path) -> Any:
    """A tokenizer that also knows Phi-4's special tokens."""
    found = load_tokenizer(random_phi)
    found.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_sep|>", "<|im_end|>"]})
    return found


def with_template(tokenizer: Any, model: str) -> Any:
    """The tokenizer with the chat template of a model."""
    known = chat_templates.get(model)
    tokenizer.chat_template, tokenizer.bos_token, tokenizer.eos_token = (
        known.text,
        known.bos,
        known.end_of_text,
    )
    return tokenizer


@pytest.mark.parametrize("model", MODELS)
def test_every_phi_trains_on_the_assistants_words(tokenizer: Any, model: str) -> None:
    """Each answer is marked, up to and with the model's own end of turn."""
    form = form_of(with_template(tokenizer, model))
    end = chat_templates.get(model).end_of_turn
    marked = form.mark(TALK)
    said = [marked.text[span.start : span.end] for span in marked.spans]
    assert form.end_of_turn == end
    assert said == [f"Hi{end}", f"{{{{ 3 }}}} <&>{end}"]
    assert marked.system_left_out is not chat_templates.get(model).supports_system


@pytest.mark.parametrize("model", MODELS)
def test_training_sees_the_prompt_that_serving_writes(tokenizer: Any, model: str) -> None:
    """What stands before an answer is the prompt, to the letter."""
    form = form_of(with_template(tokenizer, model))
    marked = form.mark(TALK)
    assert marked.text[: marked.spans[1].start] == form.render(TALK[:-1], prompt=True)
    assert form.render(TALK) == chat_templates.get(model).render(TALK)


@given(st.lists(WORDS, min_size=2, max_size=8), st.sampled_from(["Phi-3-mini-4k-instruct", "Phi-4"]))
@settings(max_examples=50)
def test_whatever_is_said_is_marked(tiny_tokenizers: dict[str, Any], texts: list[str], model: str) -> None:
    """Any conversation: the marked parts are the answers in order, whatever is repeated in it."""
    roles = ["user", "assistant"] * 4
    talk = [Message(role, text) for role, text in zip(roles, texts, strict=False)]  # type: ignore[arg-type]
    form = form_of(tiny_tokenizers[model])
    marked = form.mark(talk)
    said = [marked.text[span.start : span.end] for span in marked.spans]
    assert said == [turn.content + form.end_of_turn for turn in talk if turn.role == "assistant"]


@pytest.fixture(scope="session")
def tiny_tokenizers(random_phi: Path) -> dict[str, Any]:
    """Tokenizers with Phi-3's and Phi-4's template."""
    found = {}
    for model in ("Phi-3-mini-4k-instruct", "Phi-4"):
        found[model] = load_tokenizer(random_phi)
        found[model].add_special_tokens(
            {"additional_special_tokens": ["<|im_start|>", "<|im_sep|>", "<|im_end|>"]}
        )
        found[model].chat_template = chat_templates.get(model).text
    return found


def test_a_template_that_differs_between_training_and_serving_is_refused(tokenizer: Any) -> None:
    """Such a one would train on prompts that nobody asks."""
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\nThinking: {% endif %}"
    )
    with pytest.raises(InvalidParameter, match="another prompt"):
        form_of(tokenizer)


def test_a_template_that_does_not_end_a_turn_is_refused(tokenizer: Any) -> None:
    """The model would never learn to stop."""
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(InvalidParameter, match="no special token"):
        form_of(tokenizer)


def test_a_model_without_a_template_is_refused(tokenizer: Any) -> None:
    """It is a base model, and not one to chat with."""
    tokenizer.chat_template = None
    with pytest.raises(InvalidParameter, match="chat template"):
        form_of(tokenizer)


def test_a_row_that_the_template_refuses_is_bad_data(tokenizer: Any) -> None:
    """And the error does not tell what was said in it."""
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.content == 'secret' %}{{ raise_exception(m.content) }}{% endif %}"
        "<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    form = form_of(tokenizer)
    with pytest.raises(InvalidData) as caught:
        form.mark([Message("user", "secret"), Message("assistant", "yes")])
    assert "secret" not in str(caught.value)
