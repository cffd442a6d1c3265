"""Names of files that come from elsewhere: which of them are safe to write, here and on any other machine."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from phi_finetune.errors import UnexpectedAnswer

__all__ = ["check_names"]

_LONGEST_BYTES = 255
"""What Linux, macOS and Windows take for one part of a path."""
_RESERVED = re.compile(r'[\\:*?"<>|]')
"""Windows takes none of these in a name, or reads them as something else: a drive, a folder, a stream."""
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])(?:\s*\..*)?")
"""Names of devices on Windows, with any ending (Microsoft's page on naming files)."""
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, halves of characters, and ends of lines: they show a name
as another one."""


def check_names(names: Iterable[str], *, resource: str) -> None:
    """Refuse names that lead out of their folder, mean something to a system, or stand for one file on some systems.

    Args:
        names: Paths below one folder, their parts separated by slashes.
        resource: What the files belong to.

    Raises:
        UnexpectedAnswer: One is such a name. All are looked at before anything is written.
    """
    files: set[str] = set()
    spellings: dict[str, str] = {}
    for name in names:
        for part in name.split("/"):
            fault = _fault(part)
            if fault is not None:
                raise _refusal(name, fault, resource)
        if _clashes(name, files, spellings):
            raise _refusal(name, "on some systems it is the name of another file or folder too", resource)


def _fault(part: str) -> str | None:
    """What is wrong with one part of a path; None where nothing is."""
    if part in ("", ".", ".."):
        return "it leads out of its folder"
    if any(unicodedata.category(letter) in _UNSEEN for letter in part):
        return "it has characters that cannot be seen"
    if _RESERVED.search(part) or part.endswith((".", " ")):
        return "some systems read it as another name"
    if len(part.encode()) > _LONGEST_BYTES:
        return "it is too long"
    if _DEVICE.fullmatch(part.casefold()):
        return "it is the name of a device"
    return None


def _clashes(name: str, files: set[str], spellings: dict[str, str]) -> bool:
    """Whether a path cannot be beside those before it, on a system that does not tell upper from lower case."""
    folded = _folded(name)
    if folded in spellings:
        return True
    files.add(folded)
    spellings[folded] = name
    parts = name.split("/")
    for count in range(1, len(parts)):
        folder = "/".join(parts[:count])
        if _folded(folder) in files or spellings.setdefault(_folded(folder), folder) != folder:
            return True
    return False


def _folded(name: str) -> str:
    # macOS holds two ways of writing an accent for one, Windows and macOS two cases of a letter.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _refusal(name: str, why: str, resource: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        "A file has a name that is not safe to write",
        resource=resource,
        why=f"{ascii(name)[:200]}: {why}; no file was downloaded",
        next_call="look at the files in the studio; do not trust them",
    )
