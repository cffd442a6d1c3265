"""Every check of this project as one command: ``python -m nox -s NAME``; ``--list`` shows them."""

from __future__ import annotations

import os

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typing", "tests", "examples", "docs"]


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
    session.run("pytest", *session.posargs)


@nox.session(name="tests-local", venv_backend="venv")
def tests_local(session: nox.Session) -> None:
    """Run the tests that train and answer for real; the variable TORCH names another torch to do it with.

    It is pip that installs, since its settings say where torch's builds for processors are; where they say nothing,
    Linux gets the build for CUDA, which works too and is gigabytes larger.
    """
    torch = os.environ.get("TORCH", "torch==2.13.0")
    _install(session, torch)  # alone and first, so that nothing else decides which
    _install(session, "--group", "test", ".[local,plot]", torch, "trl>=1.16,<2")
    session.run("pytest", "tests/local", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and layout of the code."""
    _install(session, "--group", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types with two checkers, since users have either."""
    _install(session, "--group", "typing", ".[plot]")
    session.run("mypy")
    session.run("pyright")


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example, and the tests that are one."""
    _install(session, "--group", "test", ".")
    session.run("pytest", "tests/test_examples.py", "tests/test_nightly_run.py", "examples", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, a warning being an error, and run its tutorial."""
    _install(session, "--group", "test", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("pytest", "tests/test_tutorial.py", *session.posargs)
