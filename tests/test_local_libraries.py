"""How the programs of a local workspace load libraries; none of them is needed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FORKED = """
import sys
from multiprocessing import get_context

def look(told):
    told.send("phi_finetune.local.step" in sys.modules)

if __name__ == "__main__":
    import phi_finetune.local.preloaded
    print("phi_finetune.local.step" in sys.modules)
    context = get_context("forkserver")
    context.set_forkserver_preload(["phi_finetune.local.preloaded"])
    heard, told = context.Pipe(duplex=False)
    context.Process(target=look, args=(told,)).start()
    print(heard.recv())
"""


def printed(*command: str) -> list[str]:
    """The lines that a program prints."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_goes_on_as_before(collects: bool) -> None:
    """What was loaded it leaves alone; what is not installed is passed over."""
    program = f"""
import gc, sys
from phi_finetune.local.libraries import load
gc.enable() if {collects} else gc.disable()
load(("no_such_library", "wave"))
print(gc.isenabled(), gc.get_freeze_count() > 0, "wave" in sys.modules)
"""
    assert printed("-c", program) == [f"{collects} True True"]


def test_what_is_loaded_is_not_loaded_again() -> None:
    """Nor is anything frozen."""
    program = (
        "import gc; from phi_finetune.local.libraries import load; load(['gc']); print(gc.get_freeze_count())"
    )
    assert printed("-c", program) == ["0"]


def test_only_what_steps_are_forked_from_loads_what_they_begin_with(tmp_path: Path) -> None:
    """Who imports the module otherwise loads nothing more."""
    (tmp_path / "forked.py").write_text(FORKED, encoding="utf-8")
    assert printed(str(tmp_path / "forked.py")) == ["False", "True"]
