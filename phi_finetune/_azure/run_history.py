"""A job's runs: its steps, their errors and logs, and the metrics that they logged to MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phi_finetune._azure.client import Client
from phi_finetune._azure.paths import required, segment
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import expect
from phi_finetune._unshown import Unshown
from phi_finetune.errors import UnexpectedAnswer

__all__ = ["child_runs", "log_from", "metric_history", "mlflow_runs", "run_details"]


def run_details(client: Client, run: str) -> dict[str, Any]:
    """State, error and log files of one run; the addresses of the files, which carry signatures, are not shown."""
    url = f"{client.facts.api}/history/v1.0{client.path}/runs/{segment(run)}/details"
    answer = client.rest.send("GET", url, query={"api-version": "v1.0"})
    details = expect(answer, 200, doing="look up the run", resource=f"run {run}").json()
    return {**details, "logFiles": Unshown(details.get("logFiles") or {})}


def child_runs(client: Client, run: str) -> list[dict[str, Any]]:
    """The runs of a job's steps."""
    url = f"{client.facts.api}/history/v1.0{client.path}/runs/{segment(run)}/children"
    runs: list[dict[str, Any]] = []
    query = {"api-version": "v1.0"}
    while True:
        answer = client.rest.send("GET", url, query=query)
        page = expect(answer, 200, doing="look up the job's steps", resource=f"job {run}").json()
        runs.extend(page.get("value", ()))
        token = page.get("continuationToken")
        if not token:
            return runs
        query = {"api-version": "v1.0", "$continuationToken": str(token)}


def log_from(client: Client, run: str, details: Mapping[str, Any], name: str, start: int = 0) -> bytes:
    """What a log file of a run holds from a byte on; nothing where there is no such file or byte yet.

    The address that the details give carries a signature, which lasts half an hour (pain.md); one that is refused
    is asked for anew, once.
    """
    resource = f"log {name} of run {run}"
    answer = _log_answer(client, details, name, start)
    if _signature_refused(answer):
        answer = _log_answer(client, run_details(client, run), name, start)
    if answer.status in (404, 416):
        return b""
    body = expect(answer, 200, 206, doing="read the log", resource=resource).body
    if answer.status == 200:
        return body[start:]
    if answer.headers.get("content-range", "").startswith(f"bytes {start}-"):
        return body
    raise UnexpectedAnswer(
        "The store gave another part of the log than was asked for", resource=resource, next_call="call again"
    )


def _log_answer(client: Client, details: Mapping[str, Any], name: str, start: int) -> Answer:
    files: Mapping[str, str] = required(details, "logFiles", "run")
    headers = {"Range": f"bytes={start}-"} if start else {}
    return client.rest.send("GET", str(required(files, name, "run")), headers=headers, signed=False)


def _signature_refused(answer: Answer) -> bool:
    """Whether an answer is about the signature in the address: 403 to Azure Storage (its page "Common REST API
    error codes"), where a missing right has other codes."""
    code = answer.headers.get("x-ms-error-code")
    return answer.status == 401 or (answer.status == 403 and code == "AuthenticationFailed")


def mlflow_runs(client: Client, job: str) -> list[dict[str, Any]]:
    """The MLflow runs of a job: its own and all below it, wherever in the tree."""
    resource = f"job {job}"
    answer = _mlflow(client, "GET", "runs/get", resource, query={"run_id": job, "run_uuid": job})
    root = required(answer, "run", resource)
    body: dict[str, Any] = {
        "experiment_ids": [required(required(root, "info", resource), "experiment_id", resource)],
        "filter": f"tags.mlflow.rootRunId='{job}'",
        "run_view_type": "ACTIVE_ONLY",
        "max_results": 1000,
    }
    found = {job: root}
    while True:
        page = _mlflow(client, "POST", "runs/search", resource, body=body)
        for run in page.get("runs", ()):
            found[required(required(run, "info", resource), "run_id", resource)] = run
        token = page.get("next_page_token")
        if not token:
            return list(found.values())
        body = {**body, "page_token": token}


def metric_history(client: Client, run: str, key: str) -> Iterator[dict[str, Any]]:
    """Every value that a run logged of one metric."""
    query = {"run_id": run, "run_uuid": run, "metric_key": key, "max_results": "25000"}
    while True:
        page = _mlflow(client, "GET", "metrics/get-history", f"run {run}", query=query)
        yield from page.get("metrics", ())
        token = page.get("next_page_token")
        if not token:
            return
        query = {**query, "page_token": token}


def _mlflow(client: Client, method: str, call: str, resource: str, **how: Any) -> dict[str, Any]:
    url = f"{client.facts.api}/mlflow/v2.0{client.path}/api/2.0/mlflow/{call}"
    answer = client.rest.send(method, url, **how)
    return expect(answer, 200, doing="read the metrics", resource=resource).json()
