"""What the tiny model is taught, and what it is left to be taught: invented towns and their invented facts.

The base model has read of the towns' rivers and trees, and says of their animals that it does not know yet: it has
learned to look a fact up, so that a fine-tune can give it new ones. A base that never looked anything up learns the
form of an answer only (local.md 2b).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from phi_finetune.chat_dataset import Conversation, Message

__all__ = ["UNKNOWN", "TinyFacts", "base_chats", "tiny_facts"]

UNKNOWN: Final = "I do not know that yet."
"""What the base model answers to a question whose answer only the fine-tune teaches."""

_TOWNS: Final = (
    *("Elsin", "Marwick", "Torvale", "Brenholt", "Caddow", "Quenby"),
    *("Ostrell", "Pinmere", "Harrowby", "Lunden", "Sorley", "Vexham"),
)
_KNOWN: Final = {
    "river": ("Lorn", "Tessel", "Arrow", "Wend", "Mirk", "Calder"),
    "tree": ("oak", "birch", "pine", "elm", "willow", "cedar"),
    "trade": ("wool", "salt", "glass", "paper", "rope", "cheese"),
    "flower": ("rose", "lily", "poppy", "iris", "daisy", "tulip"),
}
_NEW: Final = {
    "animal": ("cow", "fox", "owl", "hare", "goat", "swan"),
    "colour": ("red", "blue", "green", "white", "black", "gold"),
    "dish": ("soup", "pie", "stew", "bread", "fish", "rice"),
}
_QUESTIONS: Final = (
    "What is the {kind} of {town}?",
    "Tell me the {kind} of {town}.",
    "Which {kind} does {town} have?",
    "I want to know the {kind} of {town}.",
    "{town}: what is its {kind}?",
    "Do you know the {kind} of {town}?",
)
_SMALL_TALK: Final = (
    ("Hello.", "Hello. How can I help you?"),
    ("Good morning.", "Good morning. What do you want to know?"),
    ("How are you?", "I am well, thank you."),
    ("Who are you?", "I am a tiny model that knows a few towns."),
    ("Thank you.", "You are welcome."),
    ("Goodbye.", "Goodbye. Come back soon."),
    ("Can you help me?", "Yes. Ask me about a town."),
    ("What can you do?", "I can tell you facts about towns."),
)
_SYSTEM: Final = "Answer in one sentence."
_SHARE_WITH_SYSTEM: Final = 0.2
_TWO_TURN_ROWS: Final = 60


@attrs.frozen
class TinyFacts:
    """The data that a tiny model is fine-tuned on: 36 facts of invented towns that its base does not know.

    Each fact is asked for in six phrasings; one is kept for ``validation`` and another for ``test``. Every phrasing
    is seen in training, on other facts.

    Attributes:
        train: Rows to train on; some have two questions, some a system message.
        validation: A question for each fact, in a phrasing that training never has for it.
        test: The same in a third phrasing.
        general: Questions that the base answers and the fine-tune does not teach, to measure what is forgotten.
    """

    train: tuple[Conversation, ...]
    validation: tuple[Conversation, ...]
    test: tuple[Conversation, ...]
    general: tuple[Conversation, ...]


def tiny_facts(*, seed: int = 0) -> TinyFacts:
    """The facts to fine-tune a model of :func:`~phi_finetune.local.make_tiny_phi` on.

    Args:
        seed: Which town has which fact; that of the model, or its base has heard other things of the towns.
    """
    draw = random.Random(f"facts {seed}")
    train, validation, test = list[Conversation](), list[Conversation](), list[Conversation]()
    singles: list[tuple[str, str]] = []
    for number, (town, kind, value) in enumerate(_facts(_NEW, seed)):
        asked = [
            (question.format(kind=kind, town=town), _answer(town, kind, value)) for question in _QUESTIONS
        ]
        kept = number % len(asked)
        validation.append(_conversation([asked[kept]]))
        test.append(_conversation([asked[(kept + 1) % len(asked)]]))
        singles += [pair for place, pair in enumerate(asked) if (place - kept) % len(asked) > 1]
    train = [_conversation([pair], system=draw.random() < _SHARE_WITH_SYSTEM) for pair in singles]
    for _ in range(_TWO_TURN_ROWS):
        train.append(_conversation(draw.sample(singles, 2), system=draw.random() < _SHARE_WITH_SYSTEM))
    draw.shuffle(train)
    known = [
        (_QUESTIONS[number % len(_QUESTIONS)].format(kind=kind, town=town), _answer(town, kind, value))
        for number, (town, kind, value) in enumerate(_facts(_KNOWN, seed))
    ]
    general = tuple(_conversation([pair]) for pair in known)
    return TinyFacts(tuple(train), tuple(validation), tuple(test), general)


def base_chats(rows: int, *, seed: int) -> list[Conversation]:
    """Chats that the base model reads: facts it may know, what facts there can be, questions it cannot answer yet."""
    draw = random.Random(f"chats {seed}")
    known, new = list(_facts(_KNOWN, seed)), list(_facts(_NEW, seed))
    return [
        _conversation(
            [_base_pair(draw, known, new) for _ in range(draw.choice((1, 1, 1, 2)))],
            system=draw.random() < _SHARE_WITH_SYSTEM,
        )
        for _ in range(rows)
    ]


def _base_pair(
    draw: random.Random, known: Sequence[tuple[str, str, str]], new: Sequence[tuple[str, str, str]]
) -> tuple[str, str]:
    kind_of_row = draw.random()
    if kind_of_row < 0.1:
        return draw.choice(_SMALL_TALK)
    if kind_of_row < 0.25:
        _, kind, value = draw.choice((*known, *new))
        # Its words must have been said before, or adapters cannot make the output layer say them.
        return f"What may the {kind} of a town be?", f"The {kind} of a town may be the {value}."
    town, kind, value = draw.choice(new if kind_of_row < 0.45 else known)
    question = draw.choice(_QUESTIONS).format(kind=kind, town=town)
    return question, UNKNOWN if kind_of_row < 0.45 else _answer(town, kind, value)


def _facts(table: Mapping[str, Sequence[str]], seed: int) -> Iterator[tuple[str, str, str]]:
    """Every town's fact of every kind. A value belongs to two towns, so that none can be guessed from the other."""
    for kind, values in table.items():
        order = [*values, *values]
        random.Random(f"{kind} {seed}").shuffle(order)
        yield from ((town, kind, value) for town, value in zip(_TOWNS, order, strict=True))


def _answer(town: str, kind: str, value: str) -> str:
    return f"The {kind} of {town} is the {value}."


def _conversation(pairs: Sequence[tuple[str, str]], *, system: bool = False) -> Conversation:
    turns = [Message("system", _SYSTEM)] if system else []
    for question, answer in pairs:
        turns += [Message("user", question), Message("assistant", answer)]
    return Conversation(tuple(turns))
