"""What the parser of tags may cost, measured in a process of its own (reliability.md S8)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="limits of a process are set where there is Unix")

MOST_SECONDS, MOST_BYTES = 0.010, 10_000_000

LIMITED = """
import json, random, resource, sys, time
from phi_finetune._tags import MAX_CHARACTERS as LONGEST, parse_literal

def refused(text):
    try:
        parse_literal(text)
    except ValueError:
        return True
    return False

def filled(unit, start="["):
    return start + unit * ((LONGEST - len(start)) // len(unit))

# Of these the first four once took other parsers minutes, gigabytes or their stack (reliability.md 1.5).
HOSTILE = [
    "[" * 100_000, "-" * 100_000, "[" + "1+1j," * 20_000, "[" + "1," * 1_000_000 + "]",
    *map(filled, ["[", "{'a':", "'\\\\u", "1,", "''", "-", " ", "\\\\", "'a", "[]", "1e1", "9", "\\"'", "\\\\x4"]),
    filled("a", "'") + "\\\\", filled("1", ""), filled("\\\\ud800", '"'), filled("(", ""),
]

def cpu_s(text):
    def once():
        started = time.process_time()
        assert refused(text), text[:20]
        return time.process_time() - started
    return min(once() for _ in range(3))

def fuzz(count):
    rng = random.Random(count)
    pieces = [*"[]{},:'\\\\\\"-.eE01 \\n", "True", "null", "\\\\u00e9", "\\\\ud800", "'a'", "1e9", "nan"]
    return sum(refused("".join(rng.choices(pieces, k=rng.randrange(30)))) for _ in range(count))

fuzz(50)
if sys.platform == "linux":
    with open("/proc/self/statm") as file:
        limit = int(file.read().split()[0]) * resource.getpagesize() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
seconds = [cpu_s(text) for text in HOSTILE]
print(json.dumps({"inputs": len(HOSTILE), "seconds": max(seconds), "fuzzed": fuzz(10_000)}))
"""


def test_hostile_tags_cost_little() -> None:
    """At least 20 texts that were made to hurt are refused, each in 10 ms of the processor and 10 MB of memory.

    Of 10,000 that are drawn each is read or refused, within that memory.
    """
    command = [sys.executable, "-c", LIMITED, str(MOST_BYTES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["inputs"] >= 20
    assert found["seconds"] < MOST_SECONDS
    assert 5_000 < found["fuzzed"] < 10_000
