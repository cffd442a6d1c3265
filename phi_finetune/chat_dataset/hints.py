"""Patterns that hint at secrets and personal data in a text. A hint may be wrong, and none is no proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["hints_in"]

_SECRETS: Final = re.compile(
    r"\bsk-(?:[a-z]+-)?[A-Za-z0-9_-]{20,}"  # OpenAI and those who took its form
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{22,}"
    r"|\bhf_[A-Za-z0-9]{30,}"
    r"|\bxox[baprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\bAIza[0-9A-Za-z_-]{35}"  # Google
    r"|\bAccountKey=[A-Za-z0-9+/]{40,}={0,2}|[?&]sig=[A-Za-z0-9%]{30,}"  # Azure storage
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"  # a JSON web token
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|\bBearer [A-Za-z0-9._~+/-]{20,}"
)
_MARKS: Final = (
    "sk-",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "hf_",
    "xox",
    "AIza",
    "AccountKey=",
    "sig=",
    "eyJ",
    "PRIVATE KEY",
    "Bearer ",
)
"""Without one of them the text holds no secret, and to look for these is several times as fast."""
_DIGITS: Final = re.compile(r"\d\d")
"""Every number looked for has two digits in a row."""
_E_MAIL: Final = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_EXAMPLE_HOSTS: Final = re.compile(
    r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|[\w-]+\.(?:test|invalid|example))$"
)
"""Set apart for examples (RFC 2606)."""
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}-\d{3}-\d{4})(?![\w-])"
)
_CARD: Final = re.compile(
    r"(?<![\w.+-])(?<!\d )(?:[3-6]\d{3}(?:([ -]?)\d{4}\1\d{4}\1\d{4})|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})(?![\w-]| \d)"
)
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")


def hints_in(text: str) -> Iterator[str]:
    """The rules of which the text breaks one, each once."""
    if any(mark in text for mark in _MARKS) and _SECRETS.search(text):
        yield "secret"
    if "@" in text and any(not _EXAMPLE_HOSTS.search(found) for found in _E_MAIL.findall(text)):
        yield "e-mail"
    if _DIGITS.search(text):
        yield from _hints_in_digits(text)


def _hints_in_digits(text: str) -> Iterator[str]:
    if _PHONE.search(text):
        yield "phone-number"
    if any(_is_card(found[0]) for found in _CARD.finditer(text)):
        yield "card-number"
    if any(map(_is_iban, _IBAN.findall(text))):
        yield "bank-account"


def _is_card(found: str) -> bool:
    """Whether the last digit checks (Luhn)."""
    digits = [int(each) for each in found if each.isdigit()]
    doubled = [
        digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits[::-1])
    ]
    return sum(doubled) % 10 == 0


def _is_iban(found: str) -> bool:
    """Whether it is as long as one, and its check digits are right (ISO 13616)."""
    code = found.replace(" ", "")
    if not 15 <= len(code) <= 34:
        return False
    return int("".join(str(int(each, 36)) for each in code[4:] + code[:4])) % 97 == 1
