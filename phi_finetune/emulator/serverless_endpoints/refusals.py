"""What the service refuses about serverless endpoints. Where no source is named, the wording is ours."""

from __future__ import annotations

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.online_endpoints.refusals import bad_request

__all__ = [
    "endpoint_missing",
    "foreign_model",
    "name_unavailable",
    "no_model_id",
    "not_fine_tuned",
    "not_offered",
    "not_subscribed",
    "version_given",
]


def endpoint_missing(name: str, workspace: str) -> ServiceError:
    """404 for an endpoint, worded after that for an online endpoint."""
    return ServiceError(404, "UserError", f"Serverless endpoint {name} not found in workspace {workspace}")


def name_unavailable(name: str) -> ServiceError:
    """The name is in use (Azure-Samples/azureai-foundry-finetuning-raft#45; the status is assumed)."""
    message = f"Serverless endpoint name '{name}' is not available. Please select a different name."
    return ServiceError(400, "UserError", message)


def not_subscribed(model_id: str, workspace: str) -> ServiceError:
    """A third party's model without a marketplace subscription (Azure's page; status and code are assumed)."""
    return bad_request(
        f"The model {model_id} is offered through the Azure Marketplace, and workspace {workspace} is not "
        "subscribed to it. Create a marketplace subscription first."
    )


def not_offered(model_id: str) -> ServiceError:
    """A model that can be served by machines of one's own only, or is archived."""
    return bad_request(f"The model {model_id} is not available for serverless deployment.")


def version_given(model_id: str) -> ServiceError:
    """A registry's model with a version, which the client refuses too (azure-ai-ml 1.35.2)."""
    return bad_request(
        f"The model id {model_id} points to a specific model version, which is not supported. Give it without "
        "the version."
    )


def no_model_id(model_id: str) -> ServiceError:
    """Not the id of a model."""
    return bad_request(f"The model id {model_id} is not valid.")


def foreign_model(model_id: str) -> ServiceError:
    """A model of another workspace."""
    return ServiceError(
        404, "UserError", f"Could not find asset with ID: {model_id}", inner=("NotFoundError",)
    )


def not_fine_tuned(model_id: str, kind: str) -> ServiceError:
    """A model of the workspace that is of another type than fine-tunes are."""
    return bad_request(
        f"The model {model_id} is a {kind}; only fine-tuned models, of type mlflow_model, can be served."
    )
