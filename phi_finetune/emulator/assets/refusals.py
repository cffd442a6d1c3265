"""What the service refuses about assets."""

from __future__ import annotations

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["immutable", "invalid", "not_emulated", "not_found", "unknown_reference"]


def invalid(why: str) -> ServiceError:
    """A body that is not valid, in the service's envelope (service.md); the wording of the detail is ours."""
    message = "Request is invalid and/or missing fields."
    return ServiceError(400, "UserError", message, details=[("RequestInvalid", why)])


def not_found(asset_id: str) -> ServiceError:
    """Something that is not there, in the words of the asset store (service.md)."""
    return ServiceError(
        404, "UserError", f"Could not find asset with ID: {asset_id}", inner=("NotFoundError",)
    )


def unknown_reference(what: str, error: ServiceError) -> ServiceError:
    """Something that names what is not there; that this is a 400 is assumed, as for a compute (service.md)."""
    return ServiceError(
        400, "UserError", f"{what}: {error.message}", inner=("BadArgument", "ArgumentInvalid")
    )


def immutable(component: str, field: str) -> ServiceError:
    """A component that would change under its version (service.md)."""
    message = (
        f'Failed to update component {component} since field "{field}" is immutable, try specifying a new '
        "version."
    )
    inner = ("BadArgument", "ArgumentInvalid", "UpdateComponentFailed")
    return ServiceError(400, "UserError", message, inner=inner)


def not_emulated(what: str) -> ServiceError:
    """Something that Azure has and the emulator has not."""
    return ServiceError(501, "NotImplemented", f"The emulator has no {what}.")
