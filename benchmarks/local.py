"""The local engine beside what one would use without it: TRL's ``SFTTrainer``, and ``mlflow models serve``.

    python benchmarks/local.py [--runs N] [--epochs N] [--parts training learning memory serving real] [--json]

It needs the extra ``local``, trl and psutil. All of it is on the processor, on one thread, and but for the part
``real`` with the tiny model of ``make_tiny_phi``. Every run is a process of its own; those that are compared take
turns, and medians are shown. Speeds of training are tokens for each second of the processor, so that other work on
the machine distorts them less; ``wall`` has them by the clock on the wall. ``local_training.py``,
``local_learning.py`` and ``local_serving.py`` say what exactly is run.

- ``speed_vs_trl_default``: our tokens a second over TRL's with its defaults. Those calculate in 16 bits, which is slow
  where the processor cannot; ``speed_vs_trl_default_float32`` is the same in 32 bits.
- ``speed_vs_trl_matched``: the same where TRL is told to do what ours does; ``speed_vs_trl_mixed``: that for rows of
  20 to 480 tokens; ``..._with_preparing``: with reading and tokenising the rows counted as well.
- ``loss``: the loss on held-out rows after each way's training, all measured by one function.
- ``eval_loss_before``, ``eval_loss_after``, ``held_out_exact``: a whole job on the tiny facts; the last is the share
  of questions in phrasings never trained on that are answered word for word.
- ``memory_estimate_error``: how far the estimate was from the peak of the fine-tune's process, the furthest of all;
  ``memory``: the share of the peak that was estimated, for each.
- ``serve_tokens_per_s_1``, ``_8``: served tokens a second by the clock on the wall, one question at a time and eight;
  ``mlflow_...``: by MLflow's server. ``..._per_cpu_s_...``: for each second of the processor that the server took.
- ``smollm2_...``: the same on a real chat model, by the part ``real`` alone (``local_smollm2.py``). It wants 5 GB,
  a quarter of an hour, and two packages more, which it names where they are missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import local_learning
import local_serving
import local_smollm2
import local_training

PARTS: Final = ("training", "learning", "memory", "serving")
REAL: Final = "real"
"""The part that wants packages of its own, and minutes."""
Runs: TypeAlias = Mapping[str, Sequence[Mapping[str, float]]]


def training(runs: Runs) -> dict[str, Any]:
    """The figures of the trainings that were compared."""

    def speed(name: str, *seconds: str) -> float:
        return statistics.median(run["tokens"] / sum(run[each] for each in seconds) for run in runs[name])

    def ratio(rows: str, way: str, *seconds: str) -> float:
        return round(speed(f"{rows} ours", *seconds) / speed(f"{rows} {way}", *seconds), 2)

    pairs = {
        "default": ("train", "trl_default"),
        "default_float32": ("train", "trl_float32"),
        "matched": ("train", "trl_matched"),
        "mixed": ("mixed", "trl_matched"),
    }
    pairs = {name: pair for name, pair in pairs.items() if " ".join(pair) in runs}
    whole = ("prepare_cpu", "train_cpu")
    return {
        **{f"speed_vs_trl_{name}": ratio(*pair, "train_cpu") for name, pair in pairs.items()},
        **{f"speed_vs_trl_{name}_with_preparing": ratio(*pair, *whole) for name, pair in pairs.items()},
        "wall": {f"speed_vs_trl_{name}": ratio(*pair, "train") for name, pair in pairs.items()},
        "tokens_per_cpu_s": {name: round(speed(name, "train_cpu")) for name in runs},
        "loss": {name: round(statistics.median(run["loss"] for run in runs[name]), 4) for name in runs},
    }


def learning(found: Mapping[str, float]) -> dict[str, Any]:
    """The figures of the whole job."""
    names = ("eval_loss_before", "eval_loss_after", "held_out_exact")
    return {name: round(found[name], 4) for name in names}


def memory(found: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """How good the estimates were."""
    shares = {name: run["estimate"] / run["peak"] for name, run in found.items()}
    return {
        "memory_estimate_error": round(max(abs(share - 1) for share in shares.values()), 3),
        "memory": {name: round(share, 3) for name, share in shares.items()},
        "peak_mb": {name: round(run["peak"] / 1e6) for name, run in found.items()},
    }


def serving(runs: Runs) -> dict[str, Any]:
    """The figures of the servers."""
    found = {}
    for name, seconds in (("tokens_per_s", "seconds"), ("tokens_per_cpu_s", "cpu")):
        for server, prefix in (("ours", "serve"), ("mlflow", "mlflow")):
            for at_once in local_serving.AT_ONCE:
                speeds = [run["tokens"] / run[seconds] for run in runs[f"{server} {at_once}"]]
                found[f"{prefix}_{name}_{at_once}"] = round(statistics.median(speeds), 1)
    return found


def real(folder: Path, *, runs: int) -> dict[str, Any]:
    """The figures of the real model."""
    local_smollm2.make(folder)
    learned = local_smollm2.learned(folder)
    found = learning(learned) | memory({"lora": learned, **local_smollm2.memory(folder)})
    found |= serving(local_smollm2.served(folder, runs=runs))
    found |= training(local_smollm2.compared(folder, runs=runs))
    return {f"smollm2_{name}": value for name, value in found.items()}


def measured(folder: Path, *, parts: Sequence[str], runs: int, epochs: int) -> dict[str, Any]:
    """All figures of these parts."""
    if set(PARTS) & set(parts):
        local_training.make(folder)
    found: dict[str, Any] = {"runs": runs, "epochs": epochs}
    memories = {}
    if "training" in parts:
        found |= training(local_training.compared(folder, epochs=epochs, runs=runs))
    if {"learning", "serving", "memory"} & set(parts):
        learned = local_learning.learned(folder)
        memories["tiny lora"] = learned
        found |= learning(learned)
    if "memory" in parts:
        found |= memory(memories | local_learning.memory(folder))
    if "serving" in parts:
        questions = local_training.questions(folder)
        found |= serving(local_serving.served(folder / "learned", questions, runs=runs))
    if REAL in parts:
        found |= real(folder / "smollm2", runs=runs)
    return found


def show(found: Mapping[str, Any], indent: str = "") -> None:
    """Print the figures for people."""
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            show(value, indent + "    ")
        else:
            print(f"{indent}{name:{46 - len(indent)}} {value}")


def main() -> None:
    """Run it, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--parts", nargs="+", choices=(*PARTS, REAL), default=PARTS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), parts=given.parts, runs=given.runs, epochs=given.epochs)
    print(json.dumps(found, indent=2)) if given.json else show(found)


if __name__ == "__main__":
    main()
