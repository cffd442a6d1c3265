"""Folders of local workspaces as some version wrote them, kept as text: what each holds, and what is seen in it.

    python tests/golden_folders.py

writes those of this version. An older one is never written anew: whoever has such a folder opens it with the version
of today.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pipelines
from local_workspaces import SIZE, programs, simulated, with_programs

import phi_finetune as pf
from phi_finetune.errors import NotFound
from phi_finetune.local.log import FILE, FORMAT
from phi_finetune.local.models import add_model

__all__ = ["GOLDEN", "KINDS", "listing", "restore"]

GOLDEN = Path(__file__).parent / "golden"
KINDS = ("simulated", "processes")
_HERE, _WORKSPACE = "<HERE>", "<WORKSPACE>"
"""Stand for the place that a folder was in, and for the workspace's id, which is long."""


def opened(kind: str, place: Path) -> pf.Workspace:
    """The workspace in ``place/runs``."""
    folder = place / "runs"
    return simulated(folder) if kind == "simulated" else with_programs(folder, programs(place / "programs"))


def listing(workspace: pf.Workspace) -> dict[str, Any]:
    """What is seen of a workspace."""
    return {
        "clusters": {"gpu": _cluster(workspace, "gpu")},
        "data": {asset.name: [asset.version, asset.digest, dict(asset.rows)] for asset in _data(workspace)},
        "jobs": {job.name: _job(job) for job in workspace.jobs()},
        "models": {model.name: [model.version, model.job, dict(model.tags)] for model in workspace.models()},
        "endpoints": {endpoint.name: _endpoint(endpoint) for endpoint in workspace.endpoints()},
    }


def _data(workspace: pf.Workspace) -> list[pf.DataAsset]:
    with suppress(NotFound):
        return [workspace.data_asset("facts")]
    return []


def _cluster(workspace: pf.Workspace, name: str) -> list[object]:
    cluster = workspace.gpu_compute(name).refresh()
    return [cluster.size, cluster.max_nodes, cluster.provisioning_state]


def _job(job: pf.FinetuneJob) -> dict[str, Any]:
    return {
        "status": job.status,
        "base": job.base_model,
        "tags": dict(job.tags),
        "steps": {
            step.name: [step.status, str(step.started_at), str(step.ended_at)] for step in job.children()
        },
        "metrics": list(job.metrics().keys),
    }


def _endpoint(endpoint: pf.Endpoint) -> dict[str, Any]:
    keys = endpoint.keys()
    return {
        "traffic": dict(endpoint.traffic),
        "deployments": [[one.name, one.model, one.instance_type] for one in endpoint.deployments()],
        "tags": dict(endpoint.tags),
        "keys": sha256(f"{keys.primary} {keys.secondary}".encode()).hexdigest(),
    }


def restore(kept: dict[str, Any], place: Path) -> None:
    """Make ``place/runs`` as it was."""
    folder = place / "runs"
    (folder / "contents").mkdir(parents=True, mode=0o700)
    for name, text in kept["files"].items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    base = sqlite3.connect(folder / FILE)
    for statement in [
        *kept["tables"],
        *(f"PRAGMA {name} = {value}" for name, value in kept["marks"].items()),
    ]:
        base.execute(statement)
    base.executemany("INSERT INTO settings VALUES (?, ?)", kept["settings"].items())
    for number, at, kind, what, body, digest in kept["entries"]:
        told, sent = (
            text.replace(_WORKSPACE, kept["workspace"]).replace(_HERE, str(place))
            for text in (json.dumps(what), body)
        )
        base.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (number, at, kind, told, sent.encode(), digest)
        )
    base.commit()
    base.close()


def _keep(place: Path, workspace: str) -> dict[str, Any]:
    """What ``place/runs`` holds, without what jobs left there."""
    base = sqlite3.connect(place / "runs" / FILE)
    rows = base.execute("SELECT * FROM entries ORDER BY number").fetchall()

    def short(text: str) -> str:
        return text.replace(str(place), _HERE).replace(workspace, _WORKSPACE)

    kept = {
        "workspace": workspace,
        "marks": {
            name: base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        },
        "tables": [sql for (sql,) in base.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")],
        "settings": dict(base.execute("SELECT name, value FROM settings").fetchall()),
        "entries": [
            [number, at, kind, _without_who(json.loads(short(what))), short(body.decode()), digest]
            for number, at, kind, what, body, digest in rows
        ],
        "files": {
            str(path.relative_to(place)): path.read_text(encoding="utf-8")
            for folder in ("runs/contents", "weights")
            for path in sorted((place / folder).rglob("*"))
            if path.is_file()
        },
    }
    base.close()
    return kept


def _without_who(what: dict[str, Any]) -> dict[str, Any]:
    """Without the header that tells of the machine that asked."""
    if "headers" not in what:
        return what
    headers = {name: value for name, value in what["headers"].items() if name != "user-agent"}
    return {**what, "headers": headers}


def _live(kind: str, place: Path) -> str:
    """Do a little of everything; the workspace's id."""
    workspace = opened(kind, place)
    data = pf.ChatDataset.from_records(pipelines.conversations(12), name="facts")
    if kind == "processes":
        workspace.register_data(data)
    cluster = workspace.gpu_compute("gpu", size=SIZE, max_nodes=2).ensure()
    if kind == "processes":
        (place / "weights").mkdir()
        (place / "weights" / "config.json").write_text('{"max_position_embeddings": 512}', encoding="utf-8")
        base = add_model(workspace, place / "weights", name="tiny-phi")
    else:
        base = workspace.foundation_model("Phi-4")
    job = base.finetune(data).on(cluster).submit().wait()
    model = job.register("facts")
    # A server of its own would be started by whoever opens the folder.
    if kind == "simulated":
        model.deploy("answers", instance_type=SIZE)
    return workspace.id


def main() -> None:
    """Write those of this version."""
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            kept = _keep(place, _live(kind, place))
            with tempfile.TemporaryDirectory() as other:
                restore(kept, Path(other))
                seen = listing(opened(kind, Path(other)))
        text = json.dumps({"seen": seen, **kept}, separators=(",", ":"), ensure_ascii=False)
        (GOLDEN / f"format-{FORMAT}-{kind}.json").write_text(text.replace("],[", "],\n[") + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
