from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from azure.ai.ml.entities import BuildContext, Environment
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from watched_client import WatchedClient

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
CONDA = {"name": "tools", "dependencies": ["python=3.11"]}

Make = Callable[..., Environment]


@pytest.fixture
def make(ml: WatchedClient, unique: Callable[[str], str], afterwards: ExitStack) -> Make:
    """Register versions of one environment, which is archived in the end."""
    name = unique("env")
    afterwards.callback(lambda: ml.environments.archive(name))

    def make(version: str | None = None, **fields: object) -> Environment:
        given = fields if "build" in fields else {"image": IMAGE, **fields}
        return ml.environments.create_or_update(Environment(name=name, version=version, **given))

    return make


@pytest.mark.operation("environments.create_or_update", "environments.get")
def test_create_and_get(ml: WatchedClient, make: Make, tmp_path: Path) -> None:
    """An environment of an image and a conda file is found by version and as the latest."""
    conda = tmp_path / "conda.yml"
    conda.write_text("name: tools\ndependencies: [python=3.11]\n")
    made = make("1", conda_file=conda, description="a test", tags={"who": "contract"})
    assert (made.image, made.conda_file) == (IMAGE, CONDA)
    for found in (ml.environments.get(made.name, "1"), ml.environments.get(made.name, label="latest")):
        assert (found.id, found.image, found.conda_file) == (made.id, IMAGE, CONDA)
        assert (found.description, found.tags) == ("a test", {"who": "contract"})


@pytest.mark.operation("environments.create_or_update")
def test_a_build_context_is_uploaded(make: Make, tmp_path: Path) -> None:
    """The folder of a Dockerfile goes to the workspace's storage, and the environment says where."""
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\n")
    made = make("1", build=BuildContext(path=tmp_path))
    assert made.build.dockerfile_path == "Dockerfile"
    assert made.build.path.startswith("https://")


@pytest.mark.operation("environments.create_or_update")
def test_an_environment_does_not_change(make: Make) -> None:
    """Under a version, another definition is a conflict, and another description is not."""
    make("1")
    assert make("1", description="better").description == "better"
    with pytest.raises(ResourceExistsError):
        make("1", image="python:3.12")


@pytest.mark.operation("environments.list")
def test_list(ml: WatchedClient, make: Make) -> None:
    """Versions are listed with the newest first, and the name is among all."""
    name = make("1").name
    make("2", image="python:3.12")
    assert [one.version for one in ml.environments.list(name)] == ["2", "1"]
    assert name in [one.name for one in ml.environments.list()]


@pytest.mark.operation("environments.archive", "environments.restore")
def test_archive_and_restore(ml: WatchedClient, make: Make) -> None:
    """An archived version is in no list until it is restored, and can be got all the while."""
    name = make("1").name
    make("2", image="python:3.12")
    ml.environments.archive(name, version="2")
    assert [one.version for one in ml.environments.list(name)] == ["1"]
    assert ml.environments.get(name, "2").image == "python:3.12"
    ml.environments.restore(name, version="2")
    assert [one.version for one in ml.environments.list(name)] == ["2", "1"]


@pytest.mark.operation("environments.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.environments.get(unique("env"), "1")
