"""A form whose values stand under other names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from phi_finetune.chat_dataset.forms.form import Form, Turn
from phi_finetune.chat_dataset.rules import BrokenRule, Fault
from phi_finetune.errors import InvalidParameter

__all__ = ["Renamed"]

_NAME = re.compile("[a-z_]+")


def _check_columns(renamed: Renamed, _attribute: object, columns: Mapping[str, str]) -> None:
    unknown = [name for name in columns if name not in renamed.form.keys]
    if unknown or len(set(columns.values())) != len(columns):
        raise InvalidParameter(
            f"The form {renamed.form.name} has no such columns, or two of them are read from one",
            name="columns",
            value=dict(columns),
            allowed=f"a mapping of {', '.join(renamed.form.keys)} to the names in the rows",
        )


@attrs.frozen
class Renamed(Form):
    """Rows of a form with other names for its keys, those of the row and those of its messages.

    A key that has one of the form's own names, but is not named here, keeps its meaning.

    Attributes:
        form: The form.
        columns: The name in the rows for each of the form's names that differs:
            ``{"messages": "dialog", "role": "speaker"}``.
    """

    form: Form
    columns: Mapping[str, str] = attrs.field(validator=_check_columns)
    name: str = attrs.field(init=False, default=attrs.Factory(lambda own: own.form.name, takes_self=True))
    keys: tuple[str, ...] = attrs.field(
        init=False, default=attrs.Factory(lambda own: own.form.keys, takes_self=True)
    )
    drops: tuple[str, ...] = attrs.field(
        init=False, default=attrs.Factory(lambda own: own.form.drops, takes_self=True)
    )
    whole: str = attrs.field(
        init=False, default=attrs.Factory(lambda own: own._own(own.form.whole), takes_self=True)
    )

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it looks like a row of the form, once it is renamed."""
        return self.form.recognises(self._canonical(record))

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the form's turns, with places under the names in the row."""
        try:
            turns = self.form.turns(self._canonical(record))
        except BrokenRule as broken:
            fault = self._own_fault(broken.fault)
        else:
            return [
                turn._replace(role_at=self._own(turn.role_at), content_at=self._own(turn.content_at))
                for turn in turns
            ]
        raise BrokenRule(fault.rule, fault.path)

    def messages_of(self, record: object) -> dict[str, object]:
        """Give what the form gives; the path of what is broken is under the names in the row."""
        try:
            return self.form.messages_of(self._canonical(record) if isinstance(record, Mapping) else record)
        except BrokenRule as broken:
            fault = self._own_fault(broken.fault)
        raise BrokenRule(fault.rule, fault.path)

    def remarks(self, record: Mapping[str, object]) -> tuple[Fault, ...]:
        """Give the form's remarks, with places under the names in the row."""
        return tuple(self._own_fault(fault) for fault in self.form.remarks(self._canonical(record)))

    def _canonical(self, record: Mapping[str, object]) -> Mapping[str, object]:
        return {key: self._canonical_items(value) for key, value in self._with_names(record).items()}

    def _canonical_items(self, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        return [self._with_names(item) if isinstance(item, Mapping) else item for item in value]

    def _with_names(self, holder: Mapping[str, object]) -> dict[str, object]:
        taken = {own: name for name, own in self.columns.items() if own in holder}
        kept = {key: value for key, value in holder.items() if key not in taken}
        return {**kept, **{name: holder[own] for own, name in taken.items()}}

    def _own_fault(self, fault: Fault) -> Fault:
        return fault if fault.path is None else Fault(fault.rule, self._own(fault.path))

    def _own(self, path: str) -> str:
        return _NAME.sub(lambda name: self.columns.get(name[0], name[0]), path)
