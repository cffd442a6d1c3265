"""The forms that chat data is published in, and the way from each to messages."""

from __future__ import annotations

from phi_finetune.chat_dataset.forms.form import Form, ReversibleForm, conversation_of
from phi_finetune.chat_dataset.forms.openai import Droppable
from phi_finetune.chat_dataset.forms.own import RowFunction
from phi_finetune.chat_dataset.forms.recognition import RECOGNISED_ROWS, FormName, form_of, recognise

__all__ = [
    "RECOGNISED_ROWS",
    "Droppable",
    "Form",
    "FormName",
    "ReversibleForm",
    "RowFunction",
    "conversation_of",
    "form_of",
    "recognise",
]
