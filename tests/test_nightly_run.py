from __future__ import annotations

import runpy
from datetime import date
from pathlib import Path

import nightly
import pipelines
import pytest
from azure.ai.ml.entities import ManagedOnlineEndpoint
from azure.core.exceptions import HttpResponseError, ServiceResponseError

from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, JobFails

SCRIPT = Path(__file__).parent.parent / "examples" / "nightly.py"
NIGHT = "nightly-20261124"
SENDINGS = 6 * 4
"""How often a request goes out before the run gives up: the run tries six times, azure-core four times in each."""


@pytest.fixture
def folder(fake_azure: FakeAzure, tmp_path: Path) -> Path:
    """A folder with the day's conversations, on a day that begins with ``blue`` serving."""
    workspace, registry = fake_azure.ml_client(), fake_azure.ml_client("azureml")
    endpoint = ManagedOnlineEndpoint(name=nightly.ENDPOINT)
    nightly.finish(workspace.online_endpoints.begin_create_or_update, endpoint)
    nightly.deploy(workspace, "blue", registry.models.get("Phi-4", label="latest"))
    nightly.shift(workspace, {"blue": 100})
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_bytes(pipelines.jsonl(pipelines.conversations(12)))
    return tmp_path


def run(azure: FakeAzure, folder: Path) -> str:
    """The nightly run of the examples."""
    again = nightly.AGAIN.copy(sleep=azure.clock.sleep)
    return nightly.nightly(azure.ml_client(), azure.ml_client("azureml"), folder, date(2026, 11, 24), again)


def serving(azure: FakeAzure) -> str:
    """The deployment with all traffic, which is all that still costs money."""
    ((name, percent),) = azure.endpoints[nightly.ENDPOINT].traffic.items()
    assert percent == 100
    assert [row.resource for row in azure.billing().leaks] == [f"{nightly.ENDPOINT}/{name}"]
    return name


def test_a_job_that_hangs_is_cancelled(fake_azure: FakeAzure, folder: Path) -> None:
    """It costs no more than the hours that a night may take."""
    fake_azure.faults.next(JobFails(status="Paused"))
    with pytest.raises(nightly.NightFailed, match="took longer than 8 hours"):
        run(fake_azure, folder)
    assert fake_azure.jobs[NIGHT].status == "Canceled"
    assert serving(fake_azure) == "blue"


def test_a_refused_promotion_is_undone(fake_azure: FakeAzure, folder: Path) -> None:
    """Where the traffic cannot be shifted, it stays where it was, and the new deployment goes."""
    fake_azure.faults.next(Answer(f"PUT */onlineEndpoints/{nightly.ENDPOINT}", 403, "AuthorizationFailed"))
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        run(fake_azure, folder)
    assert serving(fake_azure) == "blue"


def test_a_promotion_that_nobody_heard_of_is_undone(fake_azure: FakeAzure, folder: Path) -> None:
    """Whether the traffic was shifted is not known, so it is shifted back before the deployment goes."""
    fake_azure.faults.next(AnswerLost(f"PUT */onlineEndpoints/{nightly.ENDPOINT}"), times=SENDINGS)
    with pytest.raises(ServiceResponseError):
        run(fake_azure, folder)
    assert serving(fake_azure) == "blue"


def test_a_model_that_cannot_answer_is_not_promoted(fake_azure: FakeAzure, folder: Path) -> None:
    """The smoke test fails before anybody else is sent to it."""
    fake_azure.faults.next(Answer("POST */score", 424, "ModelError"))
    with pytest.raises(HttpResponseError, match="ModelError"):
        run(fake_azure, folder)
    assert serving(fake_azure) == "blue"


def test_a_run_that_was_cut_off_after_the_promotion_is_finished(fake_azure: FakeAzure, folder: Path) -> None:
    """What is left to do is the old deployment's deletion."""
    fake_azure.faults.next(Answer("DELETE */deployments/blue", 403, "AuthorizationFailed"))
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        run(fake_azure, folder)
    assert fake_azure.endpoints[nightly.ENDPOINT].traffic == {NIGHT: 100}
    fake_azure.journal.clear()
    assert run(fake_azure, folder) == NIGHT
    assert serving(fake_azure) == NIGHT
    for made in ("jobs", "models", "deployments"):
        assert not fake_azure.journal.filter(method="PUT", path=f"*/{made}/*")


def test_it_runs_as_a_script(
    fake_azure: FakeAzure,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It signs in with what the environment has, finds its workspace in config.json, and prints what serves."""
    fake_azure.config_json(folder)
    monkeypatch.chdir(folder)
    for name in ("tenant_id", "client_id", "client_secret"):
        monkeypatch.setenv(f"AZURE_{name.upper()}", getattr(fake_azure, name))
    monkeypatch.setattr("time.sleep", fake_azure.clock.sleep)
    monkeypatch.setattr("sys.argv", ["nightly.py", str(folder)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    # azure-ai-ml prints a dot for each poll, and no line's end (wire.md 10).
    assert capsys.readouterr().out.strip(".\n") == serving(fake_azure)
