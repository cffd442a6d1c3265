"""Names and digests: what things are called before anybody is asked."""

from __future__ import annotations

import hashlib
import json
import re

__all__ = ["digest", "slug"]


def slug(text: str, longest: int) -> str:
    """Letters, digits and single dashes, in lower case, with a letter first and at most ``longest`` characters."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"m-{plain}".rstrip("-")
    return plain[:longest].rstrip("-")


def digest(value: object) -> str:
    """The SHA-256 of a value's JSON in one canonical form, in hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
