"""Which form rows are of: by its name, or by the look of the first rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from phi_finetune.chat_dataset.forms.alpaca import Alpaca
from phi_finetune.chat_dataset.forms.form import Form
from phi_finetune.chat_dataset.forms.messages import Messages
from phi_finetune.chat_dataset.forms.openai import Droppable, OpenAi
from phi_finetune.chat_dataset.forms.own import OwnForm, RowFunction
from phi_finetune.chat_dataset.forms.preference import Preference
from phi_finetune.chat_dataset.forms.prompt_completion import PromptCompletion
from phi_finetune.chat_dataset.forms.prompt_messages import PromptMessages
from phi_finetune.chat_dataset.forms.renamed import Renamed
from phi_finetune.chat_dataset.forms.sharegpt import ShareGpt
from phi_finetune.chat_dataset.rules import RULES
from phi_finetune.errors import InvalidData, InvalidParameter

__all__ = ["RECOGNISED_ROWS", "FormName", "form_of", "recognise"]

FormName: TypeAlias = Literal[
    "messages", "prompt_messages", "openai", "sharegpt", "alpaca", "prompt_completion", "preference"
]

RECOGNISED_ROWS = 20
"""How many of the first rows are looked at to recognise a form."""

_PREFERENCE = Preference()
_FAMILIES: tuple[tuple[FormName, ...], ...] = (
    ("prompt_messages", "messages", "openai"),  # each reads what the one before it reads
    ("sharegpt",),
    ("alpaca",),
    ("prompt_completion",),
)


def form_of(
    form: FormName | RowFunction,
    *,
    columns: Mapping[str, str] | None = None,
    drop: Collection[Droppable] = (),
) -> Form:
    """Give the form of a name, or that which a function makes of rows.

    Args:
        form: The name, or a function that takes a row and gives ``{"messages": [...]}``.
        columns: The names in the rows, where they differ from the form's:
            ``{"messages": "dialog", "role": "speaker", "content": "text"}``.
        drop: What the form ``openai`` leaves out, where it would refuse the row.

    Raises:
        InvalidParameter: There is no such form, it has no such columns, or nothing of the kind to drop.
    """
    if not isinstance(form, str):
        return _with_columns(OwnForm(form), columns)
    if form not in get_args(FormName):
        allowed = f"{', '.join(get_args(FormName))}, or a function"
        raise InvalidParameter(f"There is no form {form!r}", name="form", value=form, allowed=allowed)
    _check_drop(form, drop)
    return _with_columns(_named(form, drop), columns)


def _named(form: str, drop: Collection[Droppable]) -> Form:
    forms: dict[str, Form] = {
        "messages": Messages(),
        "prompt_messages": PromptMessages(),
        "openai": OpenAi(frozenset(drop)),
        "sharegpt": ShareGpt(),
        "alpaca": Alpaca(),
        "prompt_completion": PromptCompletion(),
        "preference": _PREFERENCE,
    }
    return forms[form]


def _with_columns(form: Form, columns: Mapping[str, str] | None) -> Form:
    return Renamed(form, columns) if columns else form


def _check_drop(form: str, drop: Collection[Droppable]) -> None:
    known = get_args(Droppable) if form == "openai" else ()
    if isinstance(drop, str) or not set(drop) <= set(known):
        raise InvalidParameter(
            f"The form {form} cannot drop these",
            name="drop",
            value=drop,
            allowed=f"a collection of {' and '.join(known)}" if known else "nothing, for this form",
        )


def recognise(
    records: Sequence[object],
    *,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    drop: Collection[Droppable] = (),
) -> Form:
    """Give the form that rows are of, by the keys of the first of them.

    It is the form that fits most of the rows that any form fits: the others are broken rows, which reading tells
    of. ``messages`` is what no rows at all, and empty ones, are taken for. Preference data is never recognised,
    only named.

    Args:
        records: The first rows; :data:`RECOGNISED_ROWS` of them are looked at.
        label: What errors call the file.
        columns: As for :func:`form_of`; only forms that have all of them are tried.
        drop: As for :func:`form_of`, where the form ``openai`` is recognised.

    Raises:
        InvalidData: The rows are of no known form, of several, or preference data. It names the keys seen that
            are those of some form, and no others.
        InvalidParameter: No form has such columns.
    """
    rows = [record for record in records[:RECOGNISED_ROWS] if isinstance(record, Mapping) and record]
    families = _candidates(columns, drop)
    if not rows:
        return families[0][0] if columns else Messages()
    if any(_PREFERENCE.recognises(row) or isinstance(row.get("label"), bool) for row in rows):
        raise _refused("preference-data", label, rows)
    fitting = [[row for row in rows if any(form.recognises(row) for form in family)] for family in families]
    most = max(fitting, key=len)
    if not most:
        raise _refused("unknown-form", label, rows)
    if 2 * len(most) <= sum(map(len, fitting)):
        raise _refused("several-forms", label, rows)
    # The last form of a family reads what any of the others reads.
    family = families[fitting.index(most)]
    return next((form for form in family if all(form.recognises(row) for row in most)), family[-1])


def _candidates(columns: Mapping[str, str] | None, drop: Collection[Droppable]) -> list[list[Form]]:
    _check_drop("openai", drop)
    families = [[_named(name, drop) for name in family] for family in _FAMILIES]
    if not columns:
        return families
    named = [
        [Renamed(form, columns) for form in family if set(columns) <= set(form.keys)] for family in families
    ]
    if not any(named):
        known = {key: None for family in families for form in family for key in form.keys}
        raise InvalidParameter(
            "No form has all of these columns",
            name="columns",
            value=dict(columns),
            allowed=f"a mapping of one form's names, such as {', '.join(known)}, to the names in the rows",
        )
    return [list[Form](family) for family in named if family]


def _refused(rule: str, label: str | None, rows: list[Mapping[str, object]]) -> InvalidData:
    forms = [_named(name, ()) for name in get_args(FormName)]
    known = {key: None for form in forms for key in form.keys} | dict.fromkeys(("label", "tools"))
    seen = [key for key in known if any(row.get(key) is not None for row in rows)]
    others = len({key for row in rows for key in row} - set(seen))
    keys = ", ".join([*seen, f"{others} other keys"] if others else seen)
    return InvalidData(
        f"The form of {label or 'the rows'} is refused ({rule})",
        resource=label,
        why=f"{RULES[rule].why}; the first {len(rows)} have {keys or 'no keys'}",
        next_call=f"{RULES[rule].remedy}; the forms are {', '.join(get_args(FormName))}",
        file=label,
        rule=rule,
    )
