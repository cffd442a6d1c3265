"""The version of the interface that a request to Azure Resource Manager names."""

from __future__ import annotations

import re

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request

__all__ = ["require_api_version"]

# Microsoft's guidelines for Azure's REST interfaces: a date, with a suffix for previews. Registries have
# 2021-10-01-dataplanepreview (wire.md 3), so the suffix is any word that ends so.
_FORM = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z]*preview)?", re.IGNORECASE)


def require_api_version(request: Request) -> None:
    """Refuse a request that names no version, or one that has not the form of a version.

    Versions are not told apart: which of them a resource knows cannot be cited, and every one gets the same
    answer. That an empty one counts as none is assumed.

    Raises:
        ServiceError: 400. ``MissingApiVersionParameter`` is worded as in Microsoft's guidelines for Azure's REST
            interfaces. ``InvalidApiVersionParameter`` begins as Azure Resource Manager's does; where Azure then
            lists every version, this names the form.
    """
    version = request.query.get("api-version")
    if not version:
        raise ServiceError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not _FORM.fullmatch(version):
        raise ServiceError(
            400,
            "InvalidApiVersionParameter",
            f"The api-version '{version}' is invalid. The supported versions are dates, such as '2024-10-01', "
            "and previews, such as '2024-10-01-preview'.",
        )
