"""What the service's preprocessing does to a chat data set, with its rules and its words.

The rules are those of the package that runs there, azureml-acft-contrib-hf-nlp 0.0.91 (pain.md G1): its
``preprocess.py``, ``chat_completion/preprocess/base.py`` and ``validation_utils.py``. Tokens are counted by
:func:`~phi_finetune.emulator.runners.ngram.tokenize`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi_finetune.emulator.runners.ngram import Row, tokenize

__all__ = ["ChatRows", "DataRefused", "prepare"]

_LEAST_ROWS = 10
_ROLES = ("system", "user", "assistant")
_NO_ASSISTANT = (
    "Unable to continue finetuning. No assistant tokens found after preprocessing.\n"
    "1. Please increase the :param `max_seq_len` to higher value and try again.\n"
    "2. This could also be an issue with ChatSpecialTokens. Please report the issue for resolution.\n"
)


class DataRefused(Exception):
    """The data set cannot be trained on; the message is the package's."""


@dataclass
class ChatRows:
    """What is left to train on and to evaluate with, and what preprocessing logged."""

    train: list[Row] = field(default_factory=list)
    validation: list[Row] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


def prepare(files: Mapping[str, bytes], max_seq_length: int) -> ChatRows:
    """Read the data set, drop and cut rows, and split what was not given.

    Args:
        files: ``train_file_path`` and, where given, ``validation_file_path`` and ``test_file_path``; each is
            JSON Lines or one JSON array.
        max_seq_length: The tokens that are kept of each row; -1 keeps all.

    Raises:
        DataRefused: As the package would fail the step.
    """
    if "train_file_path" not in files:
        raise DataRefused("train_file_path or train_mltable_path need to be passed.")
    rows = ChatRows()
    raw = {name: _read(name, data) for name, data in files.items() if name.endswith("_file_path")}
    splits = _split(raw)
    for name, items in splits.items():
        kept = list(_filtered(name, items, rows.log))
        encoded = [row for row in (_cut(row, max_seq_length) for row in kept) if _has_assistant(row)]
        if name == "train_file_path":
            rows.train = encoded
        elif name == "validation_file_path":
            rows.validation = encoded
    if not rows.train or not rows.validation:
        raise DataRefused(_NO_ASSISTANT)
    return rows


def _read(name: str, data: bytes) -> list[Any]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataRefused(
            f"An error occurred while generating the dataset: {name} is not UTF-8 ({error.reason})."
        ) from None
    if text.lstrip().startswith("["):
        return list(_parsed(name, "1", text))
    lines = enumerate(text.splitlines(), start=1)
    return [_parsed(name, str(number), line) for number, line in lines if line.strip()]


def _parsed(name: str, line: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        message = f"An error occurred while generating the dataset: JSON parse error in {name}, line {line}."
        raise DataRefused(message) from None


def _split(given: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Parts of the training rows stand in for files that were not given; they are then not trained on."""
    train = given["train_file_path"]
    has_validation, has_test = "validation_file_path" in given, "test_file_path" in given
    if has_validation and has_test:
        return dict(given)
    end = round(len(train) * 0.8)
    validation_end = len(train) if has_test else round(len(train) * 0.9)
    return {
        "train_file_path": train[:end],
        "validation_file_path": given.get("validation_file_path", train[end:validation_end]),
        "test_file_path": given.get("test_file_path", train[end if has_validation else validation_end :]),
    }


def _filtered(name: str, items: Sequence[Any], log: list[str]) -> Iterator[Row]:
    columns = sorted({str(key) for item in items if isinstance(item, dict) for key in item})
    if items and "messages" not in columns:
        raise DataRefused(
            f"Path or dict: {name}.Dataset Columns: {columns}.User Passed Columns: ['messages']."
        )
    messages = [item.get("messages") if isinstance(item, dict) else None for item in items]
    present = [value for value in messages if value is not None]
    _check_least(name, len(present), log)
    # A row of one message or none has nobody who answers; it is dropped, and only this line says so.
    kept = [value for value in present if value != "" and not (isinstance(value, list) and len(value) < 2)]
    counts = f"before example count: {len(present)} | after example count: {len(kept)}"
    log.append(f"Chat completion data filter | {counts}")
    if not kept:
        raise DataRefused(f"Found no examples after data preprocessing for {name}")
    _check_least(name, len(kept), log)
    return map(_templated, kept)


def _check_least(name: str, rows: int, log: list[str]) -> None:
    if name != "train_file_path":
        return
    log.append(f"Number of training samples post filtration: {rows}")
    if rows < _LEAST_ROWS:
        raise DataRefused(
            f"Training dataset has {rows} non-null samples, which is fewer than {_LEAST_ROWS} samples, "
            "which is the min required to finetune. Please check your training dataset or provide a "
            "validation dataset(training dataset will be split if no validation dataset)."
        )


def _templated(messages: Any) -> Row:
    """The messages that a Phi chat template renders; it passes over roles that it does not know."""
    problem = _problem(messages)
    if problem is not None:
        raise DataRefused(f"Failure while applying chat template to dataset: {problem}")
    return [{"role": one["role"], "content": one["content"]} for one in messages if one["role"] in _ROLES]


def _problem(messages: Any) -> str | None:
    if not isinstance(messages, list):
        return f"'{type(messages).__name__}' object is not a list of messages"
    for message in messages:
        if not isinstance(message, dict):
            return f"'{type(message).__name__}' object has no attribute 'role'"
        for key in ("role", "content"):
            value = message.get(key)
            if value is None:
                return f"'dict object' has no attribute '{key}'"
            if not isinstance(value, str):
                return f'can only concatenate str (not "{type(value).__name__}") to str'
    return None


def _cut(row: Row, limit: int) -> Row:
    if limit < 0:
        return row
    left, kept = limit, []
    for message in row:
        tokens = tokenize(message["content"])[:left]
        kept.append({"role": message["role"], "content": "".join(tokens)})
        left -= len(tokens)
    return kept


def _has_assistant(row: Row) -> bool:
    return any(message["role"] == "assistant" and message["content"] for message in row)
