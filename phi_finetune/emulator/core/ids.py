"""Owned randomness: every identifier that the emulator hands out."""

from __future__ import annotations

import random
import secrets
import uuid

__all__ = ["Ids"]


class Ids:
    """Identifiers from one seed.

    Args:
        seed: None draws a new one, so that two emulators never share an identifier: the real client keeps
            component ids on disk for a week by workspace id (service.md).

    Attributes:
        seed: The seed.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = secrets.randbits(64) if seed is None else seed
        self._random = random.Random(self.seed)

    def begin(self, number: int) -> None:
        """Begin anew for the request of this number: what is drawn for it depends on no other request."""
        self._random.seed(f"{self.seed}/{number}")

    def guid(self) -> str:
        """A guid."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def hex(self, length: int) -> str:
        """So many hexadecimal digits."""
        return f"{self._random.getrandbits(4 * length):0{length}x}"

    def secret(self, length: int = 40) -> str:
        """A key: letters and digits."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
        return "".join(self._random.choices(alphabet, k=length))
