"""One row's text, parsed as JSON and more strictly than the json module does."""

from __future__ import annotations

import json

from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["parse_line"]


class _Refused(ValueError):
    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise _Refused("duplicate-key")
    return unique


def _refuse_constant(name: str) -> object:
    raise _Refused("not-finite")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)


def parse_line(line: bytes) -> object:
    """Parse one line as JSON, and more strictly than the json module does.

    The error is raised after the except blocks, so that the parser's own, which holds the line's text, is not
    kept as its context.

    Raises:
        BrokenRule: It is not UTF-8, not JSON, or ambiguous.
    """
    path = None
    try:
        return _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        rule, path = "not-utf-8", f"byte {error.start + 1}"
    except RecursionError:
        rule = "too-nested"
    except _Refused as refused:
        rule = refused.rule
    except json.JSONDecodeError as error:
        rule, path = "not-json", f"column {error.colno}"
    except ValueError:  # a number with more digits than Python reads
        rule = "not-json"
    if rule in {"not-utf-8", "not-json"} and not line.endswith(b"\n"):
        rule = "truncated-line"
    raise BrokenRule(rule, path)
