"""Make the sample conversations that the library ships: ``python scripts/make_sample_data.py [OUTPUT]``.

They come from two kinds of source in ``sample_texts``: conversations written by hand (``*.txt``), and facts
(``facts.toml``) that the functions below put into question and answer, each in several ways. Every result of
a calculation, a date or a run of Python code in the latter is computed here. The same sources give the same
bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

Turns: TypeAlias = list[tuple[str, str]]
Fact: TypeAlias = dict[str, object]

TEXTS = Path(__file__).parent / "sample_texts"
OUTPUT = Path(__file__).parent.parent / "phi_finetune" / "samples" / "conversations.jsonl"

TIMES = "\N{MULTIPLICATION SIGN}"
FACTORS = {
    "mile-kilometre": "1.609344",
    "kilometre-mile": "0.621371",
    "nautical mile-kilometre": "1.852",
    "inch-centimetre": "2.54",
    "centimetre-inch": "0.393701",
    "kilogram-pound": "2.204623",
    "stone-kilogram": "6.350293",
    "ounce-gram": "28.349523",
    "us pint-millilitre": "473.176473",
    "us gallon-litre": "3.785412",
    "millilitre-us cup": "0.00422675",
    "acre-hectare": "0.404686",
    "bar-psi": "14.503774",
    "square foot-square metre": "0.092903",
}
UNITS = {
    "mile": "miles",
    "kilometre": "km",
    "nautical mile": "nautical miles",
    "inch": "inches",
    "centimetre": "cm",
    "kilogram": "kg",
    "pound": "pounds",
    "stone": "stone",
    "ounce": "ounces",
    "gram": "g",
    "us pint": "US pint",
    "millilitre": "ml",
    "us gallon": "US gallons",
    "litre": "litres",
    "us cup": "US cups",
    "acre": "acres",
    "hectare": "hectares",
    "bar": "bar",
    "psi": "psi",
    "square foot": "square feet",
    "square metre": "square metres",
}


def main() -> None:
    """Write the file that is named on the command line, or the one in the package."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    conversations = sorted([*_written(), *_generated()], key=_place)
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", encoding="ascii", newline="\n") as file:
        for turns in conversations:
            messages = [{"role": role, "content": content} for role, content in turns]
            file.write(json.dumps({"messages": messages}) + "\n")


def _place(turns: Turns) -> str:
    """Give a key that mixes the kinds of conversation, and stays the same when others are added."""
    return hashlib.sha256(f"order 21 {turns}".encode()).hexdigest()


def _written() -> Iterator[Turns]:
    """Read what was written by hand: a line ``@role`` before each turn, ``----`` between conversations."""
    for path in sorted(TEXTS.glob("*.txt")):
        for block in path.read_text(encoding="utf-8").split("\n----\n"):
            parts = re.split(r"^@(system|user|assistant)\n", block, flags=re.MULTILINE)
            yield [(role, content.strip()) for role, content in zip(parts[1::2], parts[2::2], strict=True)]


def _generated() -> Iterator[Turns]:
    facts = tomllib.loads((TEXTS / "facts.toml").read_text(encoding="utf-8"))
    makers: dict[str, Callable[[int, Fact], Iterator[Turns]]] = {
        "conversions": _conversions,
        "places": _places,
        "snippets": _snippets,
        "words": _words,
        "phrases": _phrases,
        "dishes": _dishes,
        "events": _events,
        "elements": _elements,
        "dates": _dates,
        "chores": _chores,
    }
    for kind, make in makers.items():
        for index, fact in enumerate(facts[kind]):
            yield from make(index, fact)


def _talk(*contents: str, system: str | None = None) -> Turns:
    """Give the turns of a conversation in which user and assistant alternate."""
    turns = [(("user", "assistant")[index % 2], content) for index, content in enumerate(contents)]
    return turns if system is None else [("system", system), *turns]


def _shown(value: Fraction, figures: int = 3) -> str:
    """Give a number rounded to so many significant figures, but never to less than a whole number."""
    if value == 0:
        return "0"
    places = max(0, figures - 1 - math.floor(math.log10(abs(value))))
    text = f"{float(value):,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _conversions(index: int, fact: Fact) -> Iterator[Turns]:
    value, (source, target) = Fraction(str(fact["value"])), str(fact["units"]).split("-")
    note, given = fact["note"], f"{float(value):,.10g}"
    if source == "fahrenheit":
        exact = (value - 32) * 5 / 9
        working = f"Take off 32, then multiply by 5/9: ({given} - 32) {TIMES} 5/9 = {_shown(exact, 4)}."
        left, right = f"{given} °F", f"{_shown(exact)} °C"
    elif source == "celsius":
        exact = value * 9 / 5 + 32
        working = f"Multiply by 1.8 and add 32: {given} {TIMES} 1.8 + 32 = {_shown(exact, 4)}."
        left, right = f"{given} °C", f"{_shown(exact)} °F"
    else:
        factor = Fraction(FACTORS[str(fact["units"])])
        exact = value * factor
        rounded = _shown(factor, 4)
        working = (
            f"Multiply by {rounded}: {given} {TIMES} {rounded} = {_shown(value * Fraction(rounded), 4)}."
        )
        hourly = ("an hour", "/h") if "per_hour" in fact else ("", "")
        left = f"{given} {UNITS[source]} {hourly[0]}".strip()
        right = f"{_shown(exact)} {UNITS[target]}{hourly[1]}"
    answers = (
        f"{left} is about {right}. {note}",
        f"About **{right}**.\n\n{working} {note}",
        f"{working}\n\nSo {left} is roughly {right}. {note}",
        f"That's {right}, rounded. {note}",
    )
    yield _talk(str(fact["ask"]), answers[index % 4])


def _places(index: int, fact: Fact) -> Iterator[Turns]:
    country, capital, money, other = (fact[key] for key in ("country", "capital", "money", "other"))
    about = (
        (f"What is the capital of {country}?", f"The capital of {country} is {capital}. {fact['fact']}"),
        (f"Which country has {capital} as its capital?", f"That's {country}. {fact['fact']}"),
        (f"Tell me something about {country} that most people don't know.", f"{fact['fact']}"),
        (f"I'm preparing a lesson about {country}. One surprising fact?", f"How about this: {fact['fact']}"),
    )
    quiz = (
        (
            f"Is {other} the capital of {country}?",
            f"No, {capital} is. {other} is one of its best-known cities.",
        ),
        (f"What money do I need in {country}?", f"The {money}. Cards are widely taken; carry some cash."),
        (
            f"Make a multiple-choice question on the capital of {country}.",
            f"What is the capital of {country}?\n\nA) {other}\nB) {capital}\nC) Neither\n\nAnswer: B",
        ),
        (
            f"{country}: capital and currency, as JSON",
            json.dumps({"country": country, "capital": capital, "currency": money}, ensure_ascii=False),
        ),
        (
            f"A friend says you can't pay with the {money} in {capital}. Right?",
            f"No, that's wrong: {capital} is the capital of {country}, where the {money} is the money.",
        ),
    )
    yield _talk(*about[index % 4])
    yield _talk(*quiz[index % 5])


def _snippets(index: int, fact: Fact) -> Iterator[Turns]:
    code, note = str(fact["code"]), fact["note"]
    block, printed = f"```python\n{code}\n```", f"```text\n{_output_of(code)}\n```"
    answers = (
        f"{block}\n\nIt prints:\n\n{printed}\n\n{note}",
        f"Like this:\n\n{block}\n\n{note}",
        f"{note}\n\n{block}\n\nThe output:\n\n{printed}",
    )
    tutor = "You are a Python tutor. Keep the code short and explain one thing."
    yield _talk(str(fact["ask"]), answers[index % 3], system=tutor if index % 4 == 1 else None)


def _output_of(code: str) -> str:
    """Run a snippet of the facts, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], capture_output=True, check=True, encoding="utf-8"
    )
    return done.stdout.strip()


def _words(index: int, fact: Fact) -> Iterator[Turns]:
    word, means, like, example = (str(fact[key]) for key in ("word", "means", "like", "example"))
    first = (
        (f'What does "{word}" mean?', f"It means {means}. For example: {example}"),
        (f"define {word}", f"**{word}**: {means}\n\n*{example}*"),
        (f'I came across "{word}" in a novel. Help?', f"{means.capitalize()}. Think of {like}. {example}"),
    )
    second = (
        (f"Use {word} in a sentence.", example),
        (f"Another word for {word}?", f"{like.capitalize()}. Both mean {means}."),
        (f'Which single word means "{means}"?', f"{word.capitalize()}."),
    )
    question, answer = first[index % 3]
    if index % 2:
        yield _talk(question, answer, *second[1])
    else:
        yield _talk(question, answer)
        yield _talk(*second[index // 2 % 3])


def _phrases(index: int, fact: Fact) -> Iterator[Turns]:
    english = str(fact["english"])
    tongues = ("spanish", "french", "german")
    one, two = tongues[index % 3], tongues[(index + 1) % 3]
    asks = (
        f'How do I say "{english}" in {one.capitalize()}?',
        f"Translate to {one.capitalize()}: {english}",
        f"{english} in {one.capitalize()} please 🙏",
    )
    if index % 2:
        yield _talk(asks[index % 3], str(fact[one]), f"And in {two.capitalize()}?", str(fact[two]))
    else:
        yield _talk(asks[index % 3], f"*{fact[one]}*")
        system = f"You translate whatever the user writes into {two.capitalize()}, and add nothing."
        yield _talk(english, str(fact[two]), system=system)


def _dishes(index: int, fact: Fact) -> Iterator[Turns]:
    serves, want = int(str(fact["serves"])), int(str(fact["want"]))
    amounts = [(name, int(amount), unit) for name, amount, unit in _rows_of(fact["ingredients"])]
    have = ", ".join(f"{amount} {unit} {name}".replace("  ", " ") for name, amount, unit in amounts)
    scaled = [(name, Fraction(amount * want, serves), unit) for name, amount, unit in amounts]
    rows = [f"{_portion(amount, unit)} {name}" for name, amount, unit in scaled]
    asks = (
        f"My {fact['name']} for {serves}: {have}. I need it for {want}.",
        f"Scale this {fact['name']} recipe from {serves} to {want} portions: {have}",
    )
    lists = "\n".join(f"- {row}" for row in rows)
    answers = (
        f"For {want}:\n\n{lists}",
        f"Multiply everything by {_shown(Fraction(want, serves))}:\n\n{lists}",
        f"You need {', '.join(rows[:-1])} and {rows[-1]}.",
    )
    yield _talk(asks[index % 2], answers[index % 3], str(fact["then"]), str(fact["answer"]))


def _rows_of(value: object) -> list[list[str]]:
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return [[str(cell) for cell in row] for row in value]


def _portion(amount: Fraction, unit: str) -> str:
    """Give an amount as a cook would: pieces in halves, the rest in steps of 5."""
    if unit:
        return f"{5 * round(amount / 5):,} {unit}"
    whole, half = divmod(round(amount * 2), 2)
    return f"{whole or ''}{' 1/2' if half else ''}".strip()


def _events(index: int, fact: Fact) -> Iterator[Turns]:
    what, year, more = str(fact["what"]), int(str(fact["year"])), fact["more"]
    before, after = year - 3, year + 4
    when = f"AD {year}" if year < 1000 else f"{year}"
    question = (
        f"When was {what}?",
        f"Tell me briefly about {what}.",
        f"Was {what} in {before}, {year} or {after}?",
        f"{what.removeprefix('the ')}: year?",
    )
    answer = (
        f"In {when}. {more}",
        f"{what[0].upper()}{what[1:]} was in {when}. {more}",
        f"{year}. {more}",
        f"{year}",
    )
    if index % 4 == 3:
        yield _talk(question[3], answer[3], "One more detail?", str(more))
    else:
        yield _talk(question[index % 4], answer[index % 4])


def _elements(index: int, fact: Fact) -> Iterator[Turns]:
    name, symbol, number, latin, use = (
        str(fact[key]) for key in ("name", "symbol", "number", "latin", "use")
    )
    pairs = (
        (f"Why is the symbol for {name} {symbol}?", f"It comes from the older name *{latin}*. {use}"),
        (f"Which element has the number {number}?", f"{name.capitalize()} ({symbol}). {use}"),
        (
            f"Flash card for {name}, please.",
            f"**Front:** {symbol}\n\n**Back:** {name}, number {number}, from *{latin}*. {use}",
        ),
    )
    yield _talk(*pairs[index % 3])


def _dates(_: int, fact: Fact) -> Iterator[Turns]:
    yield _talk(str(fact["ask"]), f"{DATE_ANSWERS[str(fact['kind'])](fact)} {fact['note']}")


def _weekday_answer(fact: Fact) -> str:
    day = _day_of(fact["day"])
    return f"{_said(day)} is a {day:%A}." if day.year > 2025 else f"{_said(day)} was a {day:%A}."


def _between_answer(fact: Fact) -> str:
    return f"{(_day_of(fact['until']) - _day_of(fact['day'])).days} days."


def _after_answer(fact: Fact) -> str:
    day = _day_of(fact["day"]) + timedelta(days=int(str(fact["days"])))
    return f"On {day:%A}, {_said(day)}."


def _leap_answer(fact: Fact) -> str:
    years = fact["years"]
    if not isinstance(years, list):
        raise TypeError("a list was expected")
    parts = [f"{year}: {'yes' if _is_leap(year) else 'no'}" for year in years]
    return f"{', '.join(parts)}."


DATE_ANSWERS: dict[str, Callable[[Fact], str]] = {
    "weekday": _weekday_answer,
    "between": _between_answer,
    "after": _after_answer,
    "leap": _leap_answer,
}


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _day_of(value: object) -> date:
    if not isinstance(value, date):
        raise TypeError("a date was expected")
    return value


def _said(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _chores(_: int, fact: Fact) -> Iterator[Turns]:
    items = fact["items"]
    if not isinstance(items, list):
        raise TypeError("a list was expected")
    answer = CHORE_ANSWERS[str(fact["kind"])](items)
    yield _talk(str(fact["ask"]).format(items=", ".join(items)), answer)


CHORE_ANSWERS: dict[str, Callable[[list[str]], str]] = {
    "sort": lambda items: "\n".join(
        f"{number}. {item}" for number, item in enumerate(sorted(items), start=1)
    ),
    "numbers": lambda items: ", ".join(sorted(items, key=int)),
    "reverse": lambda items: ", ".join(reversed(items)),
    "longest": lambda items: f"{max(items, key=len)}, with {max(map(len, items))} letters.",
    "boxes": lambda items: "\n".join(f"- [ ] {item}" for item in items),
    "json": json.dumps,
    "capitals": lambda items: "\n".join(items).upper(),
    "letters": lambda items: "\n".join(f"- {item}: {len(item)}" for item in items),
    "numbered": lambda items: "\n".join(f"{number}. {item}" for number, item in enumerate(items, start=1)),
    "average": lambda items: (
        f"The sum is {sum(map(int, items))}, and the average {sum(map(int, items)) / len(items):g}."
    ),
    "initials": lambda items: ", ".join("".join(name[0] for name in item.split()) for item in items),
    "hashtags": lambda items: " ".join("#" + item.title().replace(" ", "") for item in items),
    "backwards": lambda items: "\n".join(f"{item} -> {item[::-1]}" for item in items),
}


if __name__ == "__main__":
    main()
