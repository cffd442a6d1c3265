"""Rows as OpenAI's fine-tuning takes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.forms.form import ReversibleForm, Turn, is_said, objects_of, text_of
from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["Droppable", "OpenAi", "uses_openai"]

Droppable: TypeAlias = Literal["weights", "tools"]

_TOOL_ROLES = ("tool", "function")
_CALLS = ("tool_calls", "function_call")
_OFFERS = ("tools", "functions", "function_call", "tool_choice")


@attrs.frozen
class OpenAi(ReversibleForm):
    """``{"messages": [{"role": "assistant", "content": "...", "weight": 0}, ...], "tools": [...]}``.

    OpenAI, "Supervised fine-tuning" (weights), "Fine-tuning: function calling examples" (tools) and the API
    reference of chat messages (``name``, ``refusal``, the roles ``developer``, ``tool`` and ``function``).
    The developer's message is the system's.

    A weight of 0 and anything of tools is refused, as training reads neither, unless it is dropped. Not
    reversible: weights, tools, names and the word ``developer`` are gone.

    Attributes:
        drop: What is left out in place of being refused. ``"weights"``: the messages stay and are learnt.
            ``"tools"``: what is offered, the calls, the tools' answers, and turns that do nothing but call.
    """

    drop: frozenset[Droppable] = frozenset()

    name = "openai"
    keys = (
        *("messages", "role", "content", "prompt_id", "weight", "name", "refusal", "audio"),
        *("tools", "functions", "tool_calls", "function_call", "tool_choice", "parallel_tool_calls"),
        "tool_call_id",
    )
    drops = (
        *("messages[].weight", "messages[].name", "messages[].refusal", "messages[].audio"),
        *("messages[].tool_calls", "messages[].function_call", "messages[].tool_call_id"),
        *("tools", "functions", "function_call", "tool_choice", "parallel_tool_calls"),
    )
    whole = "messages"

    def recognises(self, record: Mapping[str, object]) -> bool:
        """Whether it has messages, and no system text beside them; rows may lack anything of OpenAI's."""
        return record.get("messages") is not None and not is_said(record.get("system"))

    def turns(self, record: Mapping[str, object]) -> list[Turn]:
        """Give the messages, or say which of them training could not read."""
        if "tools" not in self.drop:
            _refuse(record, _OFFERS, "")
        items = record.get("messages")
        if items is None:
            raise BrokenRule("no-messages")
        turns: list[Turn] = []
        for index, item in enumerate(objects_of(items, "messages")):
            at = f"messages[{index}]"
            if self._is_only_of_tools(item, at):
                continue
            self._check_weight(item, at)
            if item.get("content") is None and item.get("refusal") is not None:
                raise BrokenRule("refusal", f"{at}.refusal")
            role = "system" if item.get("role") == "developer" else item.get("role")
            content = text_of(item.get("content"), f"{at}.content")
            turns.append(Turn(role, content, f"{at}.role", f"{at}.content"))
        return turns

    def _is_only_of_tools(self, item: Mapping[str, object], at: str) -> bool:
        if "tools" not in self.drop:
            if item.get("role") in _TOOL_ROLES:
                raise BrokenRule("tools", f"{at}.role")
            _refuse(item, _CALLS, f"{at}.")
        is_call = any(item.get(key) for key in _CALLS)
        return item.get("role") in _TOOL_ROLES or (is_call and not item.get("content"))

    def _check_weight(self, item: Mapping[str, object], at: str) -> None:
        weight = item.get("weight")
        if weight is None or "weights" in self.drop:
            return
        if isinstance(weight, bool) or weight not in (0, 1):
            raise BrokenRule("unknown-weight", f"{at}.weight")
        if weight == 0:
            raise BrokenRule("weight-zero", f"{at}.weight")

    def record_of(self, conversation: Conversation) -> dict[str, object]:
        """Write a conversation as a row that fine-tuning there takes."""
        return {"messages": conversation.as_dict()["messages"]}


def _refuse(holder: Mapping[str, object], keys: Collection[str], at: str) -> None:
    for key in keys:
        if holder.get(key):
            raise BrokenRule("tools", f"{at}{key}")


def uses_openai(record: Mapping[str, object]) -> bool:
    """Whether a row with messages says something that only OpenAI's fine-tuning reads."""
    items = record.get("messages")
    return any(record.get(key) for key in _OFFERS) or (
        isinstance(items, list | tuple) and any(_is_openai(item) for item in items)
    )


def _is_openai(item: object) -> bool:
    return isinstance(item, Mapping) and (
        item.get("role") in ("developer", *_TOOL_ROLES)
        or any(item.get(key) is not None for key in ("weight", "refusal", "audio"))
        or any(item.get(key) for key in _CALLS)
    )
