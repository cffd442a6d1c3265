"""Preparing chat data, this library's way beside the tutorial's, on parquet shaped as ultrachat_200k's.

    python benchmarks/dataset.py [--rows N] [--runs N] [--json]

``--rows`` is how many rows the training split has (207,865 in the real one). The tutorial's way is ``load_dataset`` on
the parquet files, ``to_json``, and ``pandas.read_json(...).head()``; it checks nothing. This library's way is
``ChatDataset.from_hub`` on the same folder and ``write``: reading, the structural checks, the digest, and writing.
Each run is a process of its own; its time begins after the imports. Runs of the two take turns, and medians are shown.

- ``speedup_5_percent``, ``speedup_100_percent``: the tutorial's time over ours, for 5 % of the rows and for all.
- ``speedup_100_percent_without_preview``: the same, with the tutorial's pandas preview left out.
- ``peak_mb``: our highest resident memory for all rows, in MB; ``peak_growth``: over that for 5 %.
- ``peak_one_group_mb``: the same for all rows where each file is one row group.
- ``read_limit_ratio``: our time for all rows over that of decoding the columns on one thread and writing as many bytes.
- ``written_ratio``: bytes that our process wrote over the bytes of its output; null where the system does not count.
- ``validate_mb_per_s``: ``validate()`` of our output, megabytes a second of one core.
- ``json_mb_per_s``: ``json.loads`` of the same lines, which checks nothing. It tells how fast the machine is: 467 where
  the goals were set (data.md 3). ``validate_over_json``: the one over the other; 800 MB a second there are 1.71.
- ``preview_ms``: ``preview()`` of the parquet files and of our output, the longer one.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

ALL_ROWS: Final = 207_865
_KIB = 1024 if sys.platform != "darwin" else 1


def ours(folder: Path, out: Path, percent: int) -> float:
    """This library's way; seconds."""
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401

    import phi_finetune as pf

    data = pf.ChatDataset.from_hub(str(folder), percent=percent, splits={"train": "train_sft"})
    return timed(lambda: data.write(out))


def tutorial(folder: Path, out: Path, percent: int, *, with_preview: bool = True) -> float:
    """The tutorial's way; seconds."""
    import pandas
    from datasets import load_dataset

    files = sorted(str(path) for path in (folder / "data").glob("train_sft-*"))
    cache = out / "cache"

    def run() -> None:
        split = f"train[:{percent}%]" if percent < 100 else "train"
        rows = load_dataset("parquet", data_files=files, split=split, cache_dir=str(cache))
        rows.to_json(out / "train.jsonl")
        if with_preview:
            pandas.read_json(out / "train.jsonl", lines=True).head()

    try:
        return timed(run)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def without_preview(folder: Path, out: Path, percent: int) -> float:
    """The tutorial's way, but for what it shows."""
    return tutorial(folder, out, percent, with_preview=False)


def limit(folder: Path, out: Path, percent: int) -> float:
    """Decoding the columns on one thread, and writing as many bytes as our output has; all rows whatever is asked."""
    from pyarrow.parquet import ParquetFile

    files = sorted((folder / "data").glob("train_sft-*"))
    size, block = (folder / "size").stat().st_size, bytes(1 << 20)

    def run() -> None:
        for path in files:
            with ParquetFile(path) as file:
                for _batch in file.iter_batches(1000, use_threads=False, columns=["messages", "prompt_id"]):
                    pass
        with (out / "limit").open("wb") as written:
            for _ in range(size // len(block)):
                written.write(block)

    return timed(run)


def validating(folder: Path, out: Path, percent: int) -> float:
    """Megabytes that validate() reads in a second of one core."""
    import phi_finetune as pf

    data = pf.ChatDataset.from_jsonl(folder / "ours.jsonl")
    started = time.process_time()
    report = data.validate()
    took = time.process_time() - started
    if not report.ok:
        raise SystemExit(f"the made-up data does not keep the rules: {report}")
    return (folder / "ours.jsonl").stat().st_size / took / 1e6


def parsing(folder: Path, out: Path, percent: int) -> float:
    """Megabytes that the standard library parses in a second of one core."""
    with (folder / "ours.jsonl").open("rb") as file:
        lines = list(islice(file, 20_000))
    started = time.process_time()
    for line in lines:
        json.loads(line)
    return sum(map(len, lines)) / (time.process_time() - started) / 1e6


def previewing(folder: Path, out: Path, percent: int) -> float:
    """Milliseconds of a first look, once pandas and pyarrow's way to it are imported."""
    import pyarrow
    import pyarrow.parquet

    import phi_finetune as pf

    sets = (
        pf.ChatDataset.from_hub(str(folder), splits={"train": "train_sft"}),
        pf.ChatDataset.from_jsonl(folder / "ours.jsonl"),
    )
    pyarrow.table({}).to_pandas()
    return max(timed(data.preview) for data in sets) * 1000


def timed(run: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


WAYS: Final[dict[str, Callable[[Path, Path, int], float]]] = {
    way.__name__: way for way in (ours, tutorial, without_preview, limit, validating, parsing, previewing)
}


def in_a_process(way: str, folder: Path, percent: int = 100) -> dict[str, Any]:
    """One run: its figure, its highest memory in MB, and the bytes written."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        command = [sys.executable, __file__, "--run", way, str(folder), out, str(percent)]
        found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        if way == "ours":
            output = Path(out) / "train.jsonl"
            found["output"] = output.stat().st_size
            if percent == 100:
                output.replace(folder / "ours.jsonl")
        return found


def run_here(way: str, folder: str, out: str, percent: str) -> None:
    """What such a process does."""
    before = bytes_written()
    figure = WAYS[way](Path(folder), Path(out), int(percent))
    after = bytes_written()
    print(
        json.dumps(
            {
                "figure": figure,
                "peak_mb": peak_mb(),
                "written": None if before is None or after is None else after - before,
            }
        )
    )


def peak_mb() -> float:
    """The most memory that this process has had resident, in MB."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    except OSError:
        # Elsewhere than on Linux: a process begins with its parent's peak there, which is small here.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB / 1e6
    return int(fields["VmHWM"].split()[0]) * 1024 / 1e6


def bytes_written() -> int | None:
    """What this process has written so far, where Linux counts it."""
    try:
        fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    except OSError:
        return None
    return int(fields["wchar"])


def measured(rows: int, runs: int, folder: Path) -> dict[str, Any]:
    """All figures."""
    import ultrachat

    many, big = folder / "many", folder / "big"
    ultrachat.make(many, {"train_sft": rows})
    ultrachat.make(big, {"train_sft": rows}, ultrachat.Recipe(one_group=True))
    found: dict[str, list[dict[str, Any]]] = {}

    def keep(name: str, result: dict[str, Any]) -> None:
        found.setdefault(name, []).append(result)

    for _ in range(runs):
        for way in ("ours", "tutorial"):
            keep(f"{way} 5", in_a_process(way, many, 5))
        keep("ours 100", in_a_process("ours", many))
        (many / "size").write_bytes(b"")
        with (many / "size").open("r+b") as file:
            file.truncate(found["ours 100"][0]["output"])  # takes no room: it only has the size
        for way in ("limit", "tutorial", "without_preview", "validating", "parsing", "previewing"):
            keep(f"{way} 100", in_a_process(way, many))
    keep("one group", in_a_process("ours", big))
    return figures(rows, found)


def figures(rows: int, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The figures, from all runs."""

    def median(name: str, field: str = "figure") -> float:
        return statistics.median(run[field] for run in found[name])

    whole = found["ours 100"][0]
    return {
        "rows": rows,
        "output_mb": round(whole["output"] / 1e6, 1),
        "seconds": {name: round(median(name), 3) for name in found if "ing " not in name},
        "speedup_5_percent": round(median("tutorial 5") / median("ours 5"), 2),
        "speedup_100_percent": round(median("tutorial 100") / median("ours 100"), 2),
        "speedup_100_percent_without_preview": round(median("without_preview 100") / median("ours 100"), 2),
        "peak_mb": round(max(run["peak_mb"] for run in found["ours 100"]), 1),
        "peak_growth": round(median("ours 100", "peak_mb") / median("ours 5", "peak_mb"), 2),
        "peak_one_group_mb": round(found["one group"][0]["peak_mb"], 1),
        "tutorial_peak_mb": round(max(run["peak_mb"] for run in found["tutorial 100"]), 1),
        "read_limit_ratio": round(median("ours 100") / median("limit 100"), 2),
        "written_ratio": None if whole["written"] is None else round(whole["written"] / whole["output"], 3),
        "validate_mb_per_s": round(median("validating 100")),
        "json_mb_per_s": round(median("parsing 100")),
        "validate_over_json": round(median("validating 100") / median("parsing 100"), 2),
        "preview_ms": round(median("previewing 100"), 1),
    }


def main() -> None:
    """Run it, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ALL_ROWS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", nargs=4, metavar=("WAY", "FOLDER", "OUT", "PERCENT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run_here(*given.run)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measured(given.rows, given.runs, Path(folder))
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:38} {value}")


if __name__ == "__main__":
    main()
