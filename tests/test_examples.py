from __future__ import annotations

import re
import runpy
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from phi_finetune.testing import FakeAzure

EXAMPLES = Path(__file__).parent.parent / "examples"
MODULE, ITS_TESTS = "nightly", "test_nightly"
"""What a team's own module and its tests look like: longer than a script, and no script of the fake's."""

TRAINS = "quickstart_local"
"""Needs torch: tests/local runs it."""

SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if path.stem not in (MODULE, ITS_TESTS, TRAINS))
MOST_SCRIPTS, MOST_LINES = 10, 40

TAIL = """

if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
"""

PRINTS = {
    "another_process": [
        r"by name:    (Preparing|Running)",
        r"submitted:  True True",
        r"unpickled:  Completed",
        r"jobs paid:  1",
    ],
    "blue_green": [
        r"traffic: \{'blue': 100\}",
        r"tried:   green",
        r"of 20:   \{'blue': 18, 'green': 2\}",
        r"green: 100 %, 1 machine billed",
        r"left:    0 endpoints",
    ],
    "chat_data": [
        r"rows: \{'train': 9, 'validation': 3\}",
        r"What is \d+ times \d+\? +It is \d+\. +2",
        r"the same from files: True",
        r"refused: row 13 of frame \(train\), empty-messages",
        r"requests sent: 0",
    ],
    "chat_forms": [
        r"text:      \S.*",
        r"messages:  \S.*",
        r"row:       True by deployment default",
        r"many:      True",
        r"file:      \['output'\]",
    ],
    "failed_job": [
        r"status: Failed",
        r"step:   chat_completion_finetune",
        r"why:    UserError: CUDA out of memory\. .*",
        r"log:    torch\.OutOfMemoryError: .*",
        r"next:   use less memory: .*",
        r"found:  use less memory",
        r"the next attempt: 2 Completed",
    ],
    "job_events": [
        r"0:00:30  job phi-4-sample-\w+: Running",
        r"0:00:30  step ft_nlp_common_validation: Queued",
        r"  log \[.*\] Submitting 1 runs, .*",
        r"\d:\d\d:\d\d\S*  step chat_completion_finetune: Completed",
        r"\d:\d\d:\d\d\S*  job phi-4-sample-\w+: Completed",
        r"Training completed\. The simulated model was saved\.",
        r" +loss +eval_loss",
    ],
    "own_policies": [
        r"found:   Phi-4",
        r"answers: \[503, 503, 200, 200\]",
    ],
    "plain_azure_ai_ml": [
        r"clusters:  gpu endpoints: phi-support",
        r"writes:    2",
        r"refused:   True",
    ],
    "quickstart": [
        r"model     Phi-4 8, 16384 tokens of context",
        r"    cluster gpu-cluster-big: Created",
        r"compute   gpu-cluster-big: up to 2 x Standard_NC24ads_A100_v4, 0 running",
        r"plan      280 conversations, about \$\d\.\d\d an hour",
        r"    job phi-4-sample-\w+: JobMoved \(status='Completed', .*\)",
        r"job       Completed, loss( \d+\.\d\d)+",
        r"    endpoint phi-4-sample-\w+: TrafficMoved \(traffic=\{'default': 100\}\)",
        r"asked     What should I ask at the end of a job interview\?",
        r"answered  Questions whose answers would change your mind:",
        r"    endpoint phi-4-sample-\w+: Deleted",
        r"left      0 endpoints, 0 machines of gpu-cluster-big",
    ],
    "training_parameters": [
        r"num_train_epochs = 3, from user",
        r"number_of_gpu_to_use_finetuning = 8, from compute and data",
        r"learning_rate = 5e-06, from model",
        r"lora_dropout = 0\.0, from pipeline",
        r"16 rows a step on 8 GPUs, \$\d+\.\d\d an hour",
        r"num_train_epochs=0 refused, allowed is from 1",
        r"Standard_NC4as_T4_v3 refused, 8 sizes are permitted",
        r"jobs submitted: 0",
    ],
}
"""What each script promises to print: these lines, in this order, others between them."""


def bills(azure: FakeAzure) -> list[str]:
    """What costs money now, or still would an hour after the script ended."""
    jobs = [name for name, job in azure.jobs.items() if job.status not in ("Completed", "Failed", "Canceled")]
    azure.clock.advance(timedelta(hours=1))
    clusters = [name for name, cluster in azure.computes.items() if cluster.nodes.current]
    return [*jobs, *clusters, *azure.endpoints]


def test_there_are_few_examples_and_each_is_short() -> None:
    """Ten scripts can be looked through, and forty lines read at once."""
    lengths = {script.stem: len(script.read_text(encoding="utf-8").splitlines()) for script in SCRIPTS}
    assert 1 <= len(lengths) <= MOST_SCRIPTS
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}
    assert lengths.keys() == PRINTS.keys()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_does_what_it_promises(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints its lines in order, and leaves nothing that costs money."""
    main = runpy.run_path(str(script))["main"]
    with FakeAzure() as azure:
        main(azure)
        assert bills(azure) == []
    lines = iter(capsys.readouterr().out.splitlines())
    missing = [
        line for line in PRINTS[script.stem] if not any(re.fullmatch(line, printed) for printed in lines)
    ]
    assert missing == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_runs_by_itself(script: Path) -> None:
    """Each script ends in the lines that open an Azure of its own; these are what the quickstart is run with."""
    assert script.read_text(encoding="utf-8").endswith(TAIL)


def test_the_quickstart_is_a_script() -> None:
    """``python examples/quickstart.py`` prints each step and, last, that nothing is left."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart.py"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "left      0 endpoints, 0 machines of gpu-cluster-big"
    assert done.stderr == ""
