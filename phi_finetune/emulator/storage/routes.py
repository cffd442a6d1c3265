"""The routes about datastores and blobs (wire.md 5 and 13.5)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import ARM, BLOB, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.storage import handlers, handlers_blob

__all__ = ["ROUTES"]

_BLOB = "/{container}/{blob:path}"

ROUTES = (
    Route("GET", ARM, f"{WORKSPACE}/datastores", handlers.list_datastores),
    Route("GET", ARM, f"{WORKSPACE}/datastores/{{datastore}}", handlers.get_datastore),
    Route("POST", ARM, f"{WORKSPACE}/datastores/{{datastore}}/listSecrets", handlers.list_secrets),
    Route("GET", BLOB, "/{container}", handlers_blob.list_blobs, audience="sas", errors="blob"),
    Route("HEAD", BLOB, _BLOB, handlers_blob.head, audience="sas", errors="blob"),
    Route("GET", BLOB, _BLOB, handlers_blob.get, audience="sas", errors="blob"),
    Route("PUT", BLOB, _BLOB, handlers_blob.put, audience="sas", errors="blob"),
    Route("DELETE", BLOB, _BLOB, handlers_blob.delete, audience="sas", errors="blob"),
)
