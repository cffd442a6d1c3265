"""How many tokens a row comes to, and where training cuts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phi_finetune.catalog.chat_templates import ChatTemplate, Turn
from phi_finetune.chat_dataset.tokens import Counter, Tokenizer, estimator, reader
from phi_finetune.errors import InvalidParameter

__all__ = ["counter_of", "cut_at", "row_counter"]


def cut_at(given: int | None, template: ChatTemplate | None) -> int | None:
    """Where training cuts a row, in tokens: as given, or at the model's context length; None where neither is known.

    Raises:
        InvalidParameter: It is neither -1 nor 1 or more.
    """
    longest = template.context_length if template else None
    if given is None or given == -1:
        return longest
    if given < 1:
        raise InvalidParameter(
            f"A max_seq_length of {given}", name="max_seq_length", value=given, allowed="1 or more, or -1"
        )
    return given if longest is None else min(given, longest)


def counter_of(tokenizer: Tokenizer) -> Counter:
    """Counts tokens as a tokenizer does.

    Raises:
        InvalidParameter: It cannot be used.
        MissingDependency: It is a file, and the extra ``tokens`` is not installed.
    """
    read = reader(tokenizer)
    return lambda text: read(text).count


def row_counter(
    template: ChatTemplate | None, tokenizer: Tokenizer | None
) -> Callable[[Sequence[Turn]], float]:
    """Counts the tokens of a row, as the model's template writes it, or of what is said where there is none.

    Raises:
        InvalidParameter: The tokenizer cannot be used.
        MissingDependency: The extra ``tokens`` is not installed.
    """
    vocabulary = template.vocabulary if template else "cl100k"
    count = estimator(vocabulary) if tokenizer is None else counter_of(tokenizer)
    if template is None:
        return lambda turns: sum(count(turn.content) for turn in turns)
    return lambda turns: count(template.render(turns))
