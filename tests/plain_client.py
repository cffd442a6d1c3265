"""A program that knows azure-ai-ml, azure-identity and the environment, and neither this library nor a fake.

    python tests/plain_client.py FOLDER

goes the tutorial's way with the files of the folder, and writes what it found into ``found.json`` there.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import tutorial_way
from azure.ai.ml import MLClient

__all__ = ["go"]


def go(workspace: MLClient, registry: MLClient, folder: Path) -> dict[str, Any]:
    """The tutorial's way, and the download of what the job made; gives what can be written as JSON."""
    given = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    found = tutorial_way.lifecycle(
        workspace,
        registry,
        model_name="Phi-4",
        size=given["size"],
        files={f"{split}_file_path": str(folder / f"{split}.jsonl") for split in ("train", "validation")},
        request_file=tutorial_way.request_file(folder, [{"role": "user", "content": given["prompt"]}]),
        endpoint_name=given["endpoint"],
    )
    job = found["job"]
    workspace.jobs.download(job.name, download_path=folder / "got", output_name="trained_model")
    return {
        "status": job.status,
        "metrics": found["metrics"],
        "model": found["model"].type,
        "answers": found["answers"],
        "downloaded": sorted(path.name for path in (folder / "got").rglob("*") if path.is_file()),
    }


def _from_environment(folder: Path) -> dict[str, Any]:
    from azure.identity import ClientSecretCredential

    credential = ClientSecretCredential(
        *(os.environ[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"))
    )
    names = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE_NAME")
    workspace = MLClient(credential, *(os.environ[name] for name in names), enable_telemetry=False)
    return go(workspace, MLClient(credential, registry_name="azureml", enable_telemetry=False), folder)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    (here / "found.json").write_text(json.dumps(_from_environment(here)), encoding="utf-8")
