"""The parser of tags: what it reads, and what it refuses."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_finetune import _tags

REASONS = r"at character|nests more|holds more|limit|too large|neither Python nor JSON|surrogate"
STRUCTURES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=200)
@given(STRUCTURES)
def test_json_round_trip(structure: object) -> None:
    """What json writes is read back, with and without escapes for what is not ASCII."""
    assert _tags.parse_literal(json.dumps(structure)) == structure
    assert _tags.parse_literal(json.dumps(structure, ensure_ascii=False, indent=1)) == structure


@settings(max_examples=200)
@given(STRUCTURES)
def test_python_round_trip(structure: object) -> None:
    """What repr writes is read back, types included."""
    value = _tags.parse_literal(repr(structure))
    assert repr(value) == repr(structure)


@settings(max_examples=300)
@given(st.text(alphabet="[]{},:'\"\\ab01.-eExuTrueNon\n ", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text leads to anything but a value or a ValueError."""
    try:
        _tags.parse_literal(text)
    except ValueError:
        return


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1",
        "[1 2]",
        "{'a' 1}",
        "{1: 2}",
        "{'a': 1",
        "(1, 2)",
        "{1, 2}",
        "__import__('os')",
        "1 + 1",
        "'a' 'b'",
        "b'a'",
        "nan",
        "NaN",
        "Infinity",
        "1e999",
        "0x10",
        "1_000",
        "01",
        "'\\q'",
        "'\\ud800'",
        "[,]",
        "[1,,2]",
        "'open",
        "[" * 21 + "]" * 21,
        "[" * 60_000,
        "1" * 5_000,
        "'" + "a" * 70_000 + "'",
        "[" + "1," * 30_000 + "]",
    ],
)
def test_refused(text: str) -> None:
    """Code, incomplete text, numbers that are none, and what exceeds a bound are refused."""
    with pytest.raises(ValueError, match=REASONS):
        _tags.parse_literal(text)


def test_deepest_allowed() -> None:
    """Twenty lists inside each other are still read."""
    assert _tags.parse_literal("[" * 20 + "]" * 20) is not None


def test_comma_before_closing_bracket() -> None:
    """Python's comma after the last item is taken."""
    assert _tags.parse_literal("{'a': [1, 2,], 'b': true,}") == {"a": [1, 2], "b": True}


@pytest.mark.parametrize("unit", ["[", "{'a':", "'\\u", "1,", "''", "-", " ", "\\", "'a", "[]", "1e1", "\"'"])
def test_hostile_text_is_quick(unit: str) -> None:
    """A text of the greatest length is dealt with in a small part of a second."""
    text = "[" + unit * (60_000 // len(unit))
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"nests more|at character|holds more"):
        _tags.parse_literal(text)
    assert time.perf_counter() - started < 0.25


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        (" , ", ()),
        ("Standard_A, Standard_B ,Standard_C", ("Standard_A", "Standard_B", "Standard_C")),
        ("['Standard_A', 'Standard_B']", ("Standard_A", "Standard_B")),
        (' ["Standard_A"]', ("Standard_A",)),
    ],
)
def test_names(text: str, names: tuple[str, ...]) -> None:
    """Names come from a list with commas, and from a literal list."""
    assert _tags.parse_names(text) == names


@pytest.mark.parametrize("text", ["['a', 1]", "['a'", "a," * 40_000])
def test_names_refused(text: str) -> None:
    """A list with other things in it, half a list and an endless list are refused."""
    with pytest.raises(ValueError, match=r"other than texts|at character|limit of"):
        _tags.parse_names(text)
