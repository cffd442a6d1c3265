"""Jobs of a local workspace, which run in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pipelines
import pytest
from azure.ai.ml import command, dsl
from azure.ai.ml.entities import Environment
from azure.core.exceptions import HttpResponseError
from local_workspaces import SIZE, finetune, programs, told, until, with_programs

import phi_finetune as pf
from phi_finetune.errors import InvalidParameter, JobCanceled, JobFailed
from phi_finetune.events import Warned
from phi_finetune.local.door import folder_of
from phi_finetune.local.processes import Process, read_process
from phi_finetune.local.programs import Programs

STARTS = (
    'other = __import__("subprocess").Popen(["sleep", "1000"]); (here / "other").write_text(str(other.pid))'
)
"""A step with a process of its own, as training on several GPUs has them."""
WAITS = "import threading; print('waits', flush=True); threading.Event().wait()"


def started(workspace: pf.Workspace, folder: Path) -> tuple[pf.FinetuneJob, Path]:
    """A job whose fine-tuning step waits for ever, and its folder."""
    job = finetune(workspace).submit()
    where = folder / "jobs" / job.name
    log = where / "steps" / "chat_completion_finetune" / "log.txt"
    until(lambda: log.exists() and "waits" in log.read_text())
    return job, where


def processes(where: Path) -> list[Process]:
    """Who runs the job, and its step."""
    found = [read_process(where / name) for name in ("process.json", "step.json")]
    return [process for process in found if process is not None]


def child_of_the_step(where: Path) -> Process:
    """The process that the step started."""
    child = Process.of(int((where / "steps" / "chat_completion_finetune" / "other").read_text()))
    assert child is not None
    return child


def test_a_job_runs_and_its_files_are_its_outputs(tmp_path: Path) -> None:
    """Steps, metrics, parameters, logs and outputs are those of the processes; the model holds what they wrote."""
    folder = tmp_path / "runs"
    workspace = with_programs(folder, programs(tmp_path / "programs"))
    job = finetune(workspace).with_parameters(num_train_epochs=2).submit().wait(timeout=timedelta(minutes=2))
    assert job.status == "Completed"
    steps = [step.name for step in job.children()]
    assert steps[-3:] == [
        "chat_completion_finetune",
        "chat_completion_model_evaluation",
        "ft_nlp_model_converter",
    ]
    assert len(steps) == 6
    assert [(point.step, point.value) for point in job.metrics().history("loss")] == [
        (10, 3),
        (20, 2),
        (30, 1),
    ]
    assert job.logs("chat_completion_finetune") == "chat_completion_finetune begins\n"
    model = job.register("facts")
    files = model.download(tmp_path / "model")
    found = {str(path.relative_to(files)): path for path in files.rglob("*") if path.is_file()}
    assert sorted(Path(name).name for name in found) == ["MLmodel", "rows.jsonl"]
    rows = next(path for name, path in found.items() if name.endswith("rows.jsonl"))
    assert b"river number" in rows.read_bytes()


def test_what_lies_in_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a job import what is installed, and nothing that has a name in common with it."""
    here = tmp_path / "here"
    for name in ("phi_finetune", "attrs"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(here)
    workspace = with_programs(tmp_path / "runs", programs(tmp_path / "programs"))
    assert finetune(workspace).submit().wait(timeout=timedelta(minutes=2)).status == "Completed"


def test_a_job_outlives_its_caller_and_is_found_by_name(tmp_path: Path) -> None:
    """The process that submitted it is killed; another one attaches by its name, and waits for its end."""
    folder = tmp_path / "runs"
    programs(
        tmp_path / "programs",
        step=f"import pathlib, time\n    while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)",
    )
    code = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from local_workspaces import finetune, with_programs
from phi_finetune.local.programs import Programs
place = {str(tmp_path / "programs")!r}
doing = Programs(step=(sys.executable, "-S", place + "/step.py"), server=(sys.executable, place + "/server.py"))
print(finetune(with_programs(pathlib.Path({str(folder)!r}), doing)).submit().name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    doing = Programs(step=(sys.executable, "-S", str(tmp_path / "programs" / "step.py")))
    job = with_programs(folder, doing).job(done.stdout.strip())
    assert job.status == "Running"
    (tmp_path / "go").touch()
    assert job.wait().status == "Completed"


def test_cancel_ends_the_step_within_seconds(tmp_path: Path) -> None:
    """Also one that does not listen to SIGTERM, and what it started; nothing of it runs on."""
    folder = tmp_path / "runs"
    deaf = f"{STARTS}; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
    workspace = with_programs(folder, programs(tmp_path / "programs", step=deaf))
    job, where = started(workspace, folder)
    runner, *running = *processes(where), child_of_the_step(where)
    assert [process.alive for process in running] == [True, True]
    with pytest.raises(JobCanceled):
        job.cancel().wait()
    until(lambda: not any(process.alive for process in running), 10)
    # What runs the job still ends its runs in MLflow, which takes a busy machine longer to load.
    until(lambda: not runner.alive)
    steps = {step.name: step.status for step in workspace.job(job.name).children()}
    assert steps["chat_completion_finetune"] == "Canceled"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("print('my last words'); sys.exit(3)", "ended with exit code 3; its last lines: .*my last words"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL, which is also how .* memory runs out"),
        ("raise MemoryError('no room')", "MemoryError: no room"),
        (
            """(here / "status.json").write_text('{"failure": {"code": "X", "message": "needs 9"}}'); sys.exit(1)""",
            "needs 9",
        ),
    ],
)
def test_a_step_that_fails_tells_why(tmp_path: Path, what: str, says: str) -> None:
    """Exit code, signal, last lines, or its own words; the steps after it never begin, and the caller goes on."""
    workspace = with_programs(tmp_path / "runs", programs(tmp_path / "programs", step=what))
    with pytest.raises(JobFailed, match=f"(?s){says}"):
        finetune(workspace).submit().wait(timeout=timedelta(minutes=2))
    (job,) = workspace.jobs()
    steps = {step.name: step.status for step in job.children()}
    assert steps["chat_completion_finetune"] == "Failed"
    assert "ft_nlp_model_converter" not in steps


def test_a_job_whose_runner_was_killed_has_failed(tmp_path: Path) -> None:
    """Its step ends at once, and what the step started; reopening sees that nobody runs it, and says so."""
    folder = tmp_path / "runs"
    doing = programs(tmp_path / "programs", step=f"{STARTS}; {WAITS}")
    job, where = started(with_programs(folder, doing), folder)
    runner, step = processes(where)
    other = child_of_the_step(where)
    os.kill(runner.pid, signal.SIGKILL)
    until(lambda: not any(process.alive for process in (runner, step, other)), 10)
    again = with_programs(folder, doing)
    with pytest.raises(JobFailed, match="was killed"):
        again.job(job.name).wait(timeout=timedelta(minutes=2))


def test_a_number_that_another_process_was_given_is_not_mistaken(tmp_path: Path) -> None:
    """A process is known by its number and its beginning, so a stranger is not taken for it, and not killed."""
    folder = tmp_path / "runs"
    doing = programs(tmp_path / "programs", step=WAITS)
    job, where = started(with_programs(folder, doing), folder)
    runner, step = processes(where)
    stranger = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.DEVNULL)
    try:
        for name, process in (("process.json", runner), ("step.json", step)):
            (where / name).write_text(f'{{"pid": {stranger.pid}, "began": "{process.began}"}}')
        with pytest.raises(JobFailed, match="was killed"):
            with_programs(folder, doing).job(job.name).wait(timeout=timedelta(minutes=2))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        runner.kill_group()
        step.kill_group()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """The job fails, and names it."""
    doing = Programs(step=("/no/such/program",))
    with pytest.raises(JobFailed, match=r"No such file or directory .*/no/such/program"):
        finetune(with_programs(tmp_path / "runs", doing)).submit().wait(timeout=timedelta(minutes=2))


def test_reopening_gives_the_same_end(tmp_path: Path) -> None:
    """What became of a job is in the log: it does not change when its folder is gone."""
    folder = tmp_path / "runs"
    doing = programs(tmp_path / "programs")
    job = finetune(with_programs(folder, doing)).submit().wait(timeout=timedelta(minutes=2))
    again = with_programs(folder, doing).job(job.name)
    assert (again.status, again.children()) == (job.status, job.children())
    assert again.metrics().history("loss") == job.metrics().history("loss")


def test_the_machine_is_the_only_size_and_azures_stand_for_it(tmp_path: Path) -> None:
    """Its name can be used like a size; a size of Azure's is taken with a warning, once; another is refused."""
    heard: list[object] = []
    workspace = with_programs(tmp_path / "runs", programs(tmp_path / "programs"), heard)
    (machine,) = workspace.gpu_skus()
    assert (machine.name, machine.cores) == ("this-machine", len(os.sched_getaffinity(0)))
    assert machine.memory_gib > 0
    workspace.gpu_compute("own", size=machine.name).ensure()
    assert [event for event in heard if isinstance(event, Warned)] == []
    for name in ("first", "second"):
        assert workspace.gpu_compute(name, size=SIZE, max_nodes=50).ensure().size == SIZE
    (warning,) = [event for event in heard if isinstance(event, Warned)]
    assert "this machine stands for it" in warning.message
    with pytest.raises(pf.errors.SizeNotAllowed):
        workspace.gpu_compute("third", size="Standard_No_Such").ensure()


def test_the_inputs_are_written_down_for_the_steps(tmp_path: Path) -> None:
    """Every parameter, each file, and where MLflow's runs go."""
    folder = tmp_path / "runs"
    workspace = with_programs(folder, programs(tmp_path / "programs"))
    job = (
        finetune(workspace)
        .with_parameters(num_train_epochs=2, learning_rate=0.003)
        .submit()
        .wait(timeout=timedelta(minutes=2))
    )
    what = told(folder / "jobs" / job.name / "job.json")
    values, inputs = what["values"], what["files"]
    assert isinstance(values, dict)
    assert isinstance(inputs, dict)
    assert (values["num_train_epochs"], values["learning_rate"]) == ("2", "0.003")
    assert {"train_file_path", "validation_file_path"} <= set(inputs)
    assert what["tracking_uri"] == f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.raises(InvalidParameter):
        finetune(workspace).with_parameters(num_train_epochs=-1).submit()


@pytest.mark.parametrize("in_a_pipeline", [False, True])
def test_a_command_is_refused(tmp_path: Path, in_a_pipeline: bool) -> None:
    """Only fine-tuning is run really: nothing is submitted, nothing is started, and the error says what is run."""
    folder = tmp_path / "runs"
    workspace = with_programs(folder, programs(tmp_path / "programs"))
    line = command(name="touch", command="touch it", environment=Environment(image="busybox"))

    @dsl.pipeline(default_compute="serverless")
    def pipeline() -> None:
        line.component()

    client = workspace._handle().ml_client()
    with pytest.raises(HttpResponseError, match="fine-tuning pipelines alone, one in each job: no commands"):
        client.jobs.create_or_update(pipeline() if in_a_pipeline else line)
    assert workspace.jobs() == ()
    assert not (folder / "jobs").exists()


def test_an_mltable_is_refused(tmp_path: Path) -> None:
    """It would not be read: the error says so, and what is read."""
    workspace = with_programs(tmp_path / "runs", programs(tmp_path / "programs"))
    table = workspace.register_data(pf.ChatDataset.from_sample()).path
    opened = folder_of(workspace._handle().session)
    assert opened is not None
    answer = pipelines.start(opened.cloud, inputs={"test_mltable_path": table})
    assert answer.status == 400
    assert "no MLTable, as input 'test_mltable_path' is: give test_file_path" in str(answer.body)
    assert workspace.jobs() == ()


def test_a_job_canceled_at_once(tmp_path: Path) -> None:
    """Also before its first step has begun; the workspace goes on."""
    workspace = with_programs(tmp_path / "runs", programs(tmp_path / "programs"))
    for number in range(2):
        job = finetune(workspace, f"facts-{number}").submit().cancel()
        assert job.status == "Canceled"
    assert {job.status for job in workspace.jobs()} == {"Canceled"}
