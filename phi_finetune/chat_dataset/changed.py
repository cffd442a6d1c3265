"""A source's rows, each changed by a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from phi_finetune.chat_dataset.canonical import blocks_of
from phi_finetune.chat_dataset.conversation import Conversation, parse_conversation
from phi_finetune.chat_dataset.derived import Derived, Mended
from phi_finetune.chat_dataset.forms.messages import Messages
from phi_finetune.chat_dataset.found import Broken, Found, Mend, Source
from phi_finetune.chat_dataset.rules import BrokenRule, Fault

__all__ = ["Changed"]

_MESSAGES: Final = Messages()


@attrs.frozen
class Changed(Derived):
    """Each row as a function makes it.

    Attributes:
        change: Makes of a row another one.
        must_end_answered: Whether each row's last turn must still be the assistant's.
    """

    change: Callable[[Conversation], Conversation]
    must_end_answered: bool

    @property
    def label(self) -> str:
        """The whole's, so that errors lead there."""
        return f"{self.whole.label} (mapped)"

    def rows(self) -> Iterator[Conversation]:
        """Read the whole, and give what the function makes of each row.

        Raises:
            InvalidData: What it made breaks a rule, or is no conversation.
            Exception: Whatever the function raises.
        """
        for number, row in enumerate(self.whole.rows(), start=1):
            changed = self.change(row)
            if not isinstance(changed, Conversation):
                raise Fault("not-a-conversation").error(self.label, number)
            try:
                yield parse_conversation(changed.as_dict(), must_end_answered=self.must_end_answered)
            except BrokenRule as broken:
                raise broken.fault.error(self.label, number) from None

    def blocks(self) -> Iterator[bytes]:
        """The same as lines."""
        return blocks_of(self.rows())

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """What the function makes of each good row, whatever it is, and the whole's broken ones.

        Raises:
            Exception: Whatever the function raises.
        """
        for label, number, found in self.whole.examine():
            yield label, number, self._judged(found) if isinstance(found, Conversation) else found

    def mended(self, mend: Mend) -> Source:
        """The same of the mended whole, and what the function made of it mended in turn."""
        return Mended(attrs.evolve(self, whole=self.whole.mended(mend)), mend)

    def _judged(self, row: Conversation) -> Conversation | Broken | Fault:
        changed: object = self.change(row)
        if not isinstance(changed, Conversation):
            return Fault("not-a-conversation")
        record = changed.as_dict()
        try:
            return parse_conversation(record, must_end_answered=self.must_end_answered)
        except BrokenRule:
            return Broken(record, self.must_end_answered, _MESSAGES)
