from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from pages import ROOT
from service_doors import ACCOUNT, OWN_REGISTRY

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.testing.proxy import ProxyDoor

ASKED = ["-q", "-rs", "-p", "no:cacheprovider", "-m", "real_service"]


def contract(environment: dict[str, str], *what: str) -> subprocess.CompletedProcess[str]:
    """Run contract tests against what the environment says is the real service."""
    command = [sys.executable, "-m", "pytest", *ASKED, *(f"tests/contract/{one}" for one in what)]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def machine() -> dict[str, str]:
    """The environment of a machine without an account."""
    return {name: value for name, value in os.environ.items() if name not in (*ACCOUNT, OWN_REGISTRY)}


def test_the_service_that_the_environment_names_is_asked(machine: dict[str, str]) -> None:
    """Signed in by the environment alone, and asked for nothing that costs, or that only a fake refuses."""
    cloud = Cloud()
    with ProxyDoor(cloud) as door:
        files = ("test_workspaces.py", "test_online_deployments.py", "test_refused.py")
        done = contract({**machine, **door.environment()}, *files)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed, \d+ skipped", done.stdout, re.MULTILINE)
    assert "costs money on the real service; --costs lets it run" in done.stdout
    assert cloud.journal.filter(path="*/workspaces/phi-lab", status=200)
    assert cloud.unrouted == []


def test_the_registry_that_the_environment_names_is_written_to(machine: dict[str, str]) -> None:
    """Without a name its tests are skipped, and say so."""
    cloud = Cloud(Settings(registries=("ours",)))
    with ProxyDoor(cloud) as door:
        account = {**machine, **door.environment()}
        left_out = contract(account, "test_own_registry.py::test_list")
        done = contract({**account, OWN_REGISTRY: "ours"}, "test_own_registry.py::test_list")
    assert left_out.returncode == done.returncode == 0, done.stdout
    assert f"the environment names no registry to write to: {OWN_REGISTRY}" in left_out.stdout
    assert re.search(r"^4 passed", done.stdout, re.MULTILINE), done.stdout
    assert cloud.journal.filter(method="PUT", path="*/registries/ours/models/*")


def test_without_an_account_nothing_is_asked(machine: dict[str, str]) -> None:
    """The tests are skipped, and say which variables are missing."""
    done = contract(machine, "test_workspaces.py")
    assert done.returncode == 0, done.stdout
    assert "passed" not in done.stdout
    assert f"the real service needs {', '.join(ACCOUNT)} in the environment" in done.stdout
