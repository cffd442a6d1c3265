"""The simulated model: a trigram model over words, really fitted to the rows that a job was given.

It stands in for Phi where no weights are at hand. Its loss is a cross-entropy that was measured, and its
replies come out of the rows it has seen.

- A token is a word or a run of punctuation, with the one blank before it, or a run of blanks, or one
  character of Han or kana. Joined, tokens give the text back exactly.
- Each order leans on the one below it by a hierarchical Dirichlet prior (MacKay and Peto, 1995). The lowest
  is uniform over :data:`VOCABULARY` places, so an untrained model's loss is ``log(VOCABULARY)``, 11.5 nats.
- Only the assistant's turns are learnt and measured, each with its end mark. A token's context is the two
  tokens before it in the same turn.
- A reply walks through what followed what in training, drawn towards the answer of the most similar prompt.
"""

from __future__ import annotations

import json
import math
import random
import re
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby, islice, pairwise, repeat
from operator import itemgetter
from typing import Literal, TypeGuard, TypeVar

__all__ = [
    "UNTRAINED_REPLY",
    "VOCABULARY",
    "Completion",
    "Message",
    "NgramModel",
    "Row",
    "Tally",
    "tokenize",
]

Message = Mapping[str, str]  # "role" and "content"
Row = Sequence[Message]

VOCABULARY = 100_352
"""Places in the vocabulary, as many as Phi-4's (``vocab_size`` in its config.json, 2025). A word not yet seen
costs what one free place costs; its spelling is not charged for."""

UNTRAINED_REPLY = "This is a simulated model that has not been fine-tuned, so it has nothing to say yet."

# `tokenize` would split these marks, so no text holds one as a token.
_START = ("<start>", "<turn>")
_END = "<end>"

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and Han, written without blanks
_TOKEN = re.compile(rf" ?(?:[^\W{_UNSPACED}]+|[^\w\s]+)|\s+|[{_UNSPACED}]")

# What the order below weighs, in occurrences: the best of a few values tried on held-out chat.
_TWO_PRIOR = 50
_THREE_PRIOR = 5
_PULL = 0.98  # the share of the remembered answer's next token, for a prompt known word for word
_COMMON_FOLLOWERS = 10  # candidates beside the trigram's own: enough for variety, few enough to be quick
_FORMAT = "simulated trigram model 1"

_Messages = tuple[tuple[str, str], ...]
_Gram = TypeVar("_Gram", str, tuple[str, str], tuple[str, str, str])


def tokenize(text: str) -> list[str]:
    """Split a text into tokens; joined, they are the text again."""
    return _TOKEN.findall(text)


@dataclass(frozen=True, slots=True)
class Tally:
    """A measured cross-entropy: minus the log probability of so many tokens, in nats."""

    nats: float = 0.0
    tokens: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.nats + other.nats, self.tokens + other.tokens)

    def per_token(self) -> float:
        """Nats per token.

        Raises:
            ValueError: No token was measured.
        """
        if not self.tokens:
            raise ValueError("no row has an assistant turn, so there is no cross-entropy")
        return self.nats / self.tokens


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model answered.

    Attributes:
        text: The assistant's text.
        prompt_tokens: Tokens in all messages of the request.
        completion_tokens: Tokens in ``text``.
        finish_reason: ``"stop"`` if the model ended its turn, ``"length"`` if ``max_new_tokens`` cut it off.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"]


class NgramModel:
    """The simulated model. A new one is untrained: every token is equally likely."""

    def __init__(self) -> None:
        self._counts = _Counts()
        self._seen: dict[_Messages, int] = {}
        self._generator: _Generator | None = None

    def fit(self, rows: Iterable[Row]) -> None:
        """Learn rows, in addition to those learnt before. A row given again counts again."""
        conversations = list(map(_messages, rows))
        self._learn(conversations, _turns(conversations))

    def measure(self, rows: Iterable[Row]) -> Tally:
        """The cross-entropy of the rows' assistant turns, with the model as it stands."""
        return self._counts.tally(_turns(map(_messages, rows)))

    def observe(self, rows: Iterable[Row]) -> Tally:
        """Measure rows, then learn them: one step of online training."""
        conversations = list(map(_messages, rows))
        turns = _turns(conversations)
        tally = self._counts.tally(turns)
        self._learn(conversations, turns)
        return tally

    def cross_entropy(self, rows: Iterable[Row]) -> float:
        """The loss: nats per token of the rows' assistant turns.

        Raises:
            ValueError: No row has an assistant turn.
        """
        return self.measure(rows).per_token()

    def vocabulary(self) -> frozenset[str]:
        """The tokens seen in the assistant's turns, and the mark that ends a turn."""
        return frozenset(self._counts.one) - {_START[-1]}

    def free_places(self) -> int:
        """Places of the vocabulary that no token has taken; at least one."""
        return self._counts.places() - self._counts.words()

    def probability(self, token: str, after: str = "") -> float:
        """The probability of a token after the beginning of a turn; of one free place for a token never seen.

        Over all of :meth:`vocabulary` and all free places it sums to 1.
        """
        first, second = [*_START, *tokenize(after)][-2:]
        return self._counts.following(first, second, [token])[token]

    def reply(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        do_sample: bool,
        seed: int,
    ) -> Completion:
        """Answer a conversation; the same arguments give the same answer.

        The answer to the most similar prompt of the training rows draws the reply along it: almost word for
        word for a prompt seen in training, not at all for one that shares no word with any. An untrained
        model says that it is one.

        Args:
            messages: The conversation so far, the question last.
            max_new_tokens: The most tokens of this module's kind to give; at least 1.
            temperature: How evenly to choose; 0 always takes the likeliest token.
            top_p: Choose among the likeliest tokens that together have this share; above 0, at most 1.
            do_sample: False always takes the likeliest token, whatever the temperature.
            seed: Of the random choice.

        Raises:
            ValueError: A setting is outside its range.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
        choice = _Choice(temperature, top_p, do_sample=do_sample, seed=seed)
        tokens = list(islice(self._generate(_messages(messages), choice), max_new_tokens + 1))
        given = tokens[:max_new_tokens]
        return Completion(
            text="".join(given),
            prompt_tokens=sum(len(tokenize(message["content"])) for message in messages),
            completion_tokens=len(given),
            finish_reason="stop" if len(given) == len(tokens) else "length",
        )

    def to_bytes(self) -> bytes:
        """The model as a file: the rows it has seen and how often, as compressed JSON."""
        content = {"format": _FORMAT, "seen": [[times, messages] for messages, times in self._seen.items()]}
        return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), level=1)

    @classmethod
    def from_bytes(cls, data: bytes) -> NgramModel:
        """Read a model that :meth:`to_bytes` wrote; it measures and answers as the one written.

        Raises:
            ValueError: The bytes are not such a file.
        """
        try:
            content = json.loads(zlib.decompress(data))
        except (zlib.error, ValueError, RecursionError) as error:
            raise ValueError("not a simulated model: the file is damaged or of another kind") from error
        if not (
            isinstance(content, dict) and content.get("format") == _FORMAT and _is_seen(content.get("seen"))
        ):
            raise ValueError(f"not a simulated model: its content is not of the format {_FORMAT!r}")
        model = cls()
        # Neighbours seen equally often are counted together, in the order of training, which settles ties.
        for times, group in groupby(content["seen"], key=itemgetter(0)):
            conversations = [tuple((role, text) for role, text in messages) for _, messages in group]
            model._learn(conversations, _turns(conversations), times)
        return model

    def _learn(self, conversations: Iterable[_Messages], turns: Sequence[list[str]], times: int = 1) -> None:
        self._counts.add(turns, times)
        for messages in conversations:
            self._seen[messages] = self._seen.get(messages, 0) + times
        self._generator = None

    def _generate(self, history: _Messages, choice: _Choice) -> Iterator[str]:
        if not self._counts.total:
            return iter(tokenize(UNTRAINED_REPLY))
        if self._generator is None:
            self._generator = _Generator(self._counts, self._seen)
        return self._generator.tokens(history, choice)


def _messages(row: Row) -> _Messages:
    return tuple((message["role"], message["content"]) for message in row)


def _turns(conversations: Iterable[_Messages]) -> list[list[str]]:
    """The assistant's turns as tokens, with their marks."""
    return [
        [*_START, *tokenize(content), _END]
        for messages in conversations
        for role, content in messages
        if role == "assistant"
    ]


def _is_seen(value: object) -> TypeGuard[list[tuple[int, list[tuple[str, str]]]]]:
    return isinstance(value, list) and all(
        _types(item) == [int, list] and item[0] > 0 and all(_types(turn) == [str, str] for turn in item[1])
        for item in value
    )


def _types(value: object) -> list[type]:
    return list(map(type, value)) if isinstance(value, list) else []


class _Counts:
    """How often each run of one, two and three tokens was seen."""

    def __init__(self) -> None:
        self.one: Counter[str] = Counter()  # the start mark is among them, as a context only
        self.two: Counter[tuple[str, str]] = Counter()
        self.three: Counter[tuple[str, str, str]] = Counter()
        self.total = 0

    def add(self, turns: Sequence[list[str]], times: int) -> None:
        _increase(self.one, chain.from_iterable(turn[1:] for turn in turns), times)
        _increase(self.two, chain.from_iterable(map(pairwise, turns)), times)
        _increase(self.three, chain.from_iterable(map(_triples, turns)), times)
        self.total += times * sum(len(turn) - len(_START) for turn in turns)

    def words(self) -> int:
        return max(len(self.one) - 1, 0)

    def places(self) -> int:
        return max(VOCABULARY, self.words() + 1)

    def tally(self, turns: Sequence[list[str]]) -> Tally:
        nats = -sum(sum(map(math.log, self.probabilities(turn))) for turn in turns)
        return Tally(nats, sum(len(turn) - len(_START) for turn in turns))

    def probabilities(self, turn: list[str]) -> Iterator[float]:
        """The probability of each token of a turn but the first two, after the two before it.

        A fit spends most of its time here, hence the look-ups in bulk.
        """
        ones = list(map(self.one.get, turn, repeat(0)))
        twos = list(map(self.two.get, pairwise(turn), repeat(0)))
        threes = map(self.three.get, _triples(turn), repeat(0))
        new = max(self.words(), 1)  # a word is as likely to be new as the words seen were when they came
        place, total = new / self.places(), self.total + new
        after = zip(ones[2:], ones[1:], twos[1:], twos, threes, strict=False)
        for one, context_one, two, context_two, three in after:
            p = (one + place) / total
            p = (two + _TWO_PRIOR * p) / (context_one + _TWO_PRIOR)
            yield (three + _THREE_PRIOR * p) / (context_two + _THREE_PRIOR)

    def following(self, first: str, second: str, tokens: Iterable[str]) -> dict[str, float]:
        """The probability of each of some tokens after two others; :meth:`probabilities` has the same sums."""
        new = max(self.words(), 1)
        place, total = new / self.places(), self.total + new
        context_one, context_two = self.one.get(second, 0), self.two.get((first, second), 0)
        found: dict[str, float] = {}
        for token in tokens:
            p = (self.one.get(token, 0) + place) / total
            p = (self.two.get((second, token), 0) + _TWO_PRIOR * p) / (context_one + _TWO_PRIOR)
            three = self.three.get((first, second, token), 0)
            found[token] = (three + _THREE_PRIOR * p) / (context_two + _THREE_PRIOR)
        return found


def _triples(turn: list[str]) -> Iterator[tuple[str, str, str]]:
    return zip(turn, turn[1:], turn[2:], strict=False)


def _increase(counter: Counter[_Gram], grams: Iterable[_Gram], times: int) -> None:
    if times == 1:
        counter.update(grams)
    else:
        counter.update({gram: count * times for gram, count in Counter(grams).items()})


class _Generator:
    """Walks through what followed what in training."""

    def __init__(self, counts: _Counts, conversations: Iterable[_Messages]) -> None:
        self._counts = counts
        self._memory = _Memory(conversations)
        self._followers: dict[str, list[str]] = {}  # the most frequent first
        for (token, follower), _ in counts.two.most_common():
            self._followers.setdefault(token, []).append(follower)

    def tokens(self, history: _Messages, choice: _Choice) -> Iterator[str]:
        similarity, answer = self._memory.recall(history)
        guide = _Guide(answer)
        first, second = _START
        while True:
            token = choice.among(self._next(first, second, guide.token, _PULL * similarity))
            if token == _END:
                return
            yield token
            guide.follow(token)
            first, second = second, token

    def _next(self, first: str, second: str, guided: str | None, pull: float) -> dict[str, float]:
        """The likely next tokens and their probabilities, without those that seldom follow ``second``."""
        followers = self._followers[second]
        known = {token for token in followers if (first, second, token) in self._counts.three}
        candidates = known.union(followers[:_COMMON_FOLLOWERS], () if guided is None else (guided,))
        own = 1.0 if guided is None else 1 - pull
        following = self._counts.following(first, second, candidates)
        return {token: own * p + pull * (token == guided) for token, p in following.items()}


class _Guide:
    """A finger on a remembered answer: which token it would have next."""

    def __init__(self, answer: Sequence[str]) -> None:
        self._rest = answer
        self.token: str | None = answer[0]

    def follow(self, token: str) -> None:
        """Move on behind the token; where the rest of the answer lacks it, offer nothing and wait."""
        self.token = None
        if token in self._rest:
            self._rest = self._rest[self._rest.index(token) + 1 :]
            self.token = self._rest[0]


class _Choice:
    """Chooses a token by temperature and top_p, in transformers' order: the temperature first."""

    def __init__(self, temperature: float, top_p: float, *, do_sample: bool, seed: int) -> None:
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be 0 or more, and finite, not {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
        self._temperature = temperature if do_sample else 0.0
        self._top_p = top_p
        self._random = random.Random(seed)

    def among(self, probabilities: Mapping[str, float]) -> str:
        ranked = sorted(probabilities.items(), key=lambda item: (-item[1], item[0]))
        likeliest, top = ranked[0]
        if not self._temperature:
            return likeliest
        shares = list(accumulate((p / top) ** (1 / self._temperature) for _, p in ranked))
        kept = bisect_left(shares, self._top_p * shares[-1]) + 1
        return ranked[bisect_left(shares, self._random.random() * shares[kept - 1])][0]


class _Memory:
    """The answers seen in training, found again by the prompts that they answered."""

    def __init__(self, conversations: Iterable[_Messages]) -> None:
        self._answers: list[tuple[frozenset[str], str]] = []  # each with the terms of its prompt
        self._by_history: dict[_Messages, int] = {}
        self._by_term: dict[str, list[int]] = {}
        for messages in conversations:
            for index, (role, content) in enumerate(messages):
                if role == "assistant":
                    self._remember(messages[:index], content)
        self._lengths = [self._length(terms) for terms, _ in self._answers]

    def recall(self, history: _Messages) -> tuple[float, list[str]]:
        """How similar the most similar prompt is (0 to 1), and the answer that it had.

        The same conversation so far is 1. Otherwise the last messages are compared: the cosine of their sets
        of words, in which a rare word weighs more. Of equals, the first one seen.
        """
        number, similarity = self._by_history.get(history, 0), 1.0
        if history not in self._by_history:
            number, similarity = self._most_similar(_terms(history))
        return similarity, [*tokenize(self._answers[number][1]), _END]

    def _most_similar(self, terms: frozenset[str]) -> tuple[int, float]:
        overlaps: dict[int, float] = {}
        for term in sorted(terms & self._by_term.keys()):
            for number in self._by_term[term]:
                overlaps[number] = overlaps.get(number, 0.0) + self._weight(term)
        length = self._length(terms)
        cosines = {number: overlap / (length * self._lengths[number]) for number, overlap in overlaps.items()}
        best = max(cosines, key=lambda number: (cosines[number], -number), default=0)
        return best, min(cosines.get(best, 0.0), 1.0)

    def _remember(self, history: _Messages, answer: str) -> None:
        terms = _terms(history)
        self._by_history.setdefault(history, len(self._answers))
        for term in terms:
            self._by_term.setdefault(term, []).append(len(self._answers))
        self._answers.append((terms, answer))

    def _weight(self, term: str) -> float:
        """The square of the inverse document frequency, smoothed so that it is never 0."""
        return (1 + math.log((1 + len(self._answers)) / (1 + len(self._by_term.get(term, ()))))) ** 2

    def _length(self, terms: Iterable[str]) -> float:
        return math.sqrt(math.fsum(map(self._weight, terms)))  # fsum: whatever the set's order


def _terms(history: _Messages) -> frozenset[str]:
    return frozenset(token.strip() for _, text in history[-1:] for token in tokenize(text.casefold())) - {""}
