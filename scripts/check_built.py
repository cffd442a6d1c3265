"""Checks what is about to be released: ``python scripts/check_built.py FOLDER OTHER``, each with one build's files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from email.parser import Parser
from hashlib import sha256
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from packaging.requirements import Requirement

AGREED: Final = frozenset(
    {
        *("attrs", "azure-ai-ml", "azure-identity", "datasets", "mlflow-skinny", "pandas", "tenacity"),
        "msgspec",
        # azure-ai-ml and datasets bring these in any case.
        *("azure-core", "huggingface-hub", "pyarrow", "requests", "urllib3"),
    }
)
"""What the library may need to run."""
LISTED: Final = re.compile(
    r"phi_finetune/([a-z_]+/)*(\w+\.py|[\w.-]+\.(csv|jinja|json|jsonl)|py\.typed)"
    r"|phi_finetune-[\w.]+\.dist-info/(METADATA|RECORD|WHEEL|entry_points\.txt|licenses/LICENSE)"
)
"""The kinds of files that a wheel may hold."""
TESTS: Final = re.compile(r"(^|/)(tests?/|test_|conftest)")


def differing(folder: Path, other: Path) -> Iterator[str]:
    """The files of two builds that are not the same, byte by byte."""
    built = [
        {file.name: sha256(file.read_bytes()).hexdigest() for file in one.iterdir()}
        for one in (folder, other)
    ]
    if sorted(Path(name).suffix for name in built[0]) != [".gz", ".whl"]:
        yield f"not one source distribution and one wheel: {sorted(built[0])}"
    for name in sorted({*built[0], *built[1]}):
        if built[0].get(name) != built[1].get(name):
            yield f"{name} is not the same in both builds"


def unlisted(wheel: ZipFile) -> Iterator[str]:
    """What is in a wheel and should not be."""
    for name in wheel.namelist():
        if not LISTED.fullmatch(name) or TESTS.search(name):
            yield f"the wheel holds {name}"


def not_agreed(wheel: ZipFile) -> Iterator[str]:
    """What a wheel needs to run, beyond what was agreed."""
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    told = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist", [])
    for needed in map(Requirement, told):
        if "extra ==" not in str(needed.marker) and needed.name not in AGREED:
            yield f"{needed.name} is not among the dependencies that were agreed"


def main(folder: Path, other: Path) -> int:
    """Tell what is wrong; 1 where something is."""
    faults = list(differing(folder, other))
    for file in folder.glob("*.whl"):
        with ZipFile(file) as wheel:
            faults += [*unlisted(wheel), *not_agreed(wheel)]
            print(
                f"{file.name}: {len(wheel.namelist())} files, sha256 {sha256(file.read_bytes()).hexdigest()}"
            )
    print(*faults or ("two builds are the same, and hold what they should",), sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
