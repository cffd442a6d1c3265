"""How long it takes, and how much memory, to find the one fault of a large file, in its last row.

    python benchmarks/large_file.py [--size-mb N] [--json]

Prints the speed at which a file of ultrachat's shape is looked through, beside that of msgspec's decoding of the same
lines alone, and the process's highest memory. Each is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["validation_of_a_large_file"]

_MEASURE = """
import json, resource, sys, time
{imports}
def rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, wall, cpu = rss(), time.perf_counter(), time.process_time()
{work}
print(json.dumps({{"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu,
    "peak_mb": rss(), "growth_mb": rss() - before, "found": found}}))
"""
_VALIDATE = (
    "report = ChatDataset.from_jsonl(sys.argv[1]).validate(); found = [str(p) for p in report.problems]"
)
_CHECK = """
try: ChatDataset.from_jsonl(sys.argv[1]).check()
except ValueError as error: found = [str(problem) for problem in error.faults]
"""
_DECODE = """
decode, found = msgspec.json.Decoder().decode, []
with open(sys.argv[1], "rb", buffering=1 << 20) as file:
    for line in file: decode(line)
"""
_IMPORTS = "from phi_finetune.chat_dataset import ChatDataset"


def validation_of_a_large_file(size_mb: int) -> dict[str, float]:
    """Make a file of this size whose last row alone is broken, and measure.

    Returns:
        ``rows``; ``validate_mb_per_s``, ``check_mb_per_s`` and ``decode_mb_per_s`` by the processor's time;
        ``validate_peak_mb`` and ``check_peak_mb``, and by how much each grew over what the imports took.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl"
        with path.open("w", encoding="ascii") as file:
            rows = 0
            for rows, line in enumerate(_lines(size_mb * 1_000_000), start=1):  # noqa: B007 - the last is told
                file.write(line)
            file.write('{"messages": [{"role": "user", "content": "And?"}]}\n')
        size = path.stat().st_size / 1e6
        validated, checked = _measured(path, _IMPORTS, _VALIDATE), _measured(path, _IMPORTS, _CHECK)
        decoded = _measured(path, "import msgspec", _DECODE)
    expected = f"{path}, row {rows + 1}, messages: "
    for found in (validated["found"], checked["found"]):
        assert len(found) == 1
        assert found[0].startswith(expected), found
    return {
        "size_mb": size,
        "rows": rows,
        "validate_mb_per_s": size / validated["cpu_s"],
        "check_mb_per_s": size / checked["cpu_s"],
        "decode_mb_per_s": size / decoded["cpu_s"],
        "validate_peak_mb": validated["peak_mb"],
        "validate_growth_mb": validated["growth_mb"],
        "check_peak_mb": checked["peak_mb"],
        "check_growth_mb": checked["growth_mb"],
    }


def _lines(size: int) -> Iterator[str]:
    """Rows of two to ten turns, until they come to so many bytes."""
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(2000)]
    sentences = [
        " ".join(rng.choices(words, k=rng.randint(6, 18))) + rng.choice([". ", ".\n", '? "So" '])
        for _ in range(2000)
    ]
    while size > 0:
        turns = [
            {
                "content": "".join(rng.choices(sentences, k=rng.randint(4, 26))),
                "role": ("user", "assistant")[turn % 2],
            }
            for turn in range(rng.choice([2, 4, 6, 8, 10]))
        ]
        line = json.dumps({"messages": turns}) + "\n"
        size -= len(line)
        yield line


def _measured(path: Path, imports: str, work: str) -> dict[str, Any]:
    code = _MEASURE.format(imports=imports, work=work)
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--size-mb", type=int, default=1000, help="the file's size in megabytes; 1000 unless given"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures = validation_of_a_large_file(options.size_mb)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<20} {value:>10,.0f}")


if __name__ == "__main__":
    main()
