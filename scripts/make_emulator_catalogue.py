"""Transcribes the facts of two reference files into the emulator's own catalogue.

    python scripts/make_emulator_catalogue.py <reference folder>

The folder holds ``phi_models.json`` and ``chat_completion_pipeline.json``: what the specifications in
Azure/azureml-assets say. The result is for a human to review as a diff.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "phi_finetune" / "emulator" / "catalogue"
SOURCE = "Azure/azureml-assets, commit 4b41f8ccb (2026-07-23) and its history"
FORMS = {"tags": "tags", "tags_and_system_metadata": "both", "system_metadata": "system"}
NEW_INPUTS = ("finetune_config_path", "trust_remote_code")


def main() -> None:
    """Writes ``models.json`` and ``components.json``."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("reference", type=Path, help="the folder of the reference files")
    reference: Path = arguments.parse_args().reference
    _write("models.json", {"source": SOURCE}, "models", _models(_read(reference / "phi_models.json")))
    component = _read(reference / "chat_completion_pipeline.json")
    header = {"source": SOURCE, "name": component["name"], "display_name": component["display_name"]}
    header |= {"outputs": component["outputs"], "steps": component["jobs"], "versions": _versions(component)}
    inputs = [{"name": name} | _terse(spec) for name, spec in component["inputs"].items()]
    _write("components.json", header, "inputs", inputs)


def _models(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    models: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        key = (entry["name"], entry["version"])
        model = models.setdefault(key, {"name": key[0], "version": key[1], "forms": {}})
        model["archived"] = entry["archived"]
        facts = {part: entry[part] for part in ("tags", "properties", "system_metadata")}
        model["forms"][FORMS[entry["metadata_generation"]]] = facts
    for model in models.values():
        _state_once(model["forms"])
    archived = {model["name"] for model in models.values() if model["archived"]}
    ordered = [_assumed_phi_4(models["Phi-4", "8"])]
    ordered += sorted(models.values(), key=lambda model: int(model["version"]))
    for model in ordered:
        model["archived"] = model["name"] in archived
        model["served"] = _served(model)
    return ordered


def _state_once(forms: dict[str, Any]) -> None:
    """Leaves out of the newest form the system metadata that the form before it has as well."""
    if "both" not in forms or "system" not in forms:
        return
    known = forms["both"]["system_metadata"]
    also = {key: value for key, value in forms["system"].pop("system_metadata").items() if key not in known}
    forms["system"]["system_metadata_also"] = also


def _assumed_phi_4(newest: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "Phi-4",
        "version": "7",
        "note": "assumed: version 8 as it stood in June 2026, to have a live model in that form",
        "forms": {"both": newest["forms"]["both"]},
    }


def _served(model: dict[str, Any]) -> str:
    forms = model["forms"]
    if model["archived"] and "both" in forms:
        return "both"
    return next(form for form in ("system", "both", "tags") if form in forms)


def _versions(component: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"version": "0.0.80", "lacks": list(NEW_INPUTS)},
        {"version": component["version"], "lacks": []},
    ]


def _terse(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if not (key == "optional" and value)}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(name: str, header: dict[str, Any], key: str, rows: list[dict[str, Any]]) -> None:
    """A line for each row, so that a diff shows which of them changed."""
    head = [f" {json.dumps(field)}: {json.dumps(value)}," for field, value in header.items()]
    body = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    text = "\n".join(["{", *head, f" {json.dumps(key)}: [", body, " ]", "}"]) + "\n"
    (OUT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
