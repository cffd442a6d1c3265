"""A form that the user gives as a function."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import TypeAlias

import attrs

from phi_finetune.chat_dataset.forms.form import Form, Turn
from phi_finetune.chat_dataset.forms.messages import Messages
from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["OwnForm", "RowFunction"]

RowFunction: TypeAlias = Callable[[Mapping[str, object]], object]

_MESSAGES = Messages()


@attrs.frozen
class OwnForm(Form):
    """Rows of any form, and a function that gives ``{"messages": [...]}`` for one.

    Places in errors are those in what the function gave.

    Attributes:
        function: Called with each row. An error that it raises breaks the rule ``form-raised``, which names the
            error's class, file and line, and not its text: that may quote the row.
    """

    function: RowFunction

    name = "own"
    keys = _MESSAGES.keys
    drops = ()
    whole = _MESSAGES.whole

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it is for this row: any."""
        return True

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the messages of what the function gives."""
        return _MESSAGES.turns(self._row(record))

    def messages_of(self, record: object) -> dict[str, object]:
        """Call the function once, and give what it gives with parts of text joined."""
        if not isinstance(record, Mapping):
            raise BrokenRule("not-an-object")
        return _MESSAGES.messages_of(self._row(record))

    def path(self, path: str, record: Mapping[str, object]) -> str:
        """Give the place as it is, without calling the function again."""
        return path

    def _row(self, record: Mapping[str, object]) -> Mapping[str, object]:
        try:
            row = self.function(record)
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises
            place = _place(error)
        else:
            if not isinstance(row, Mapping):
                raise BrokenRule("form-gave-no-object")
            return row
        raise BrokenRule("form-raised", place)  # out here, so that the user's error is not its context


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {PurePath(last.filename).name}, line {last.lineno}"
