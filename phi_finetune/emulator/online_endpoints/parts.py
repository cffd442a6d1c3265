"""What a deployment is made of besides its model: an environment, and code with a scoring script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.state import EnvironmentVersion
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.online_endpoints.deployment import DeploymentSpec
from phi_finetune.emulator.online_endpoints.refusals import bad_request

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["check_parts"]

_NEEDS_NO_CODE = ("mlflow_model", "triton_model")
"""Types of models for which Azure makes environment and scoring script itself (Azure's pages "Guidelines for
deploying MLflow models" and "High-performance model serving with Triton Inference Server")."""


def check_parts(cloud: Cloud, spec: DeploymentSpec) -> None:
    """Refuse a deployment that lacks a part, or names one that is not there.

    A model of one's own format needs a scoring script and an environment (Azure's page "Deploy a model to a
    managed online endpoint"). An environment with an inference configuration brings its own server, and needs
    no script (Azure's page "Use a custom container to deploy a model to an online endpoint"). That all this is
    refused at once, and with 400, is assumed; so is the wording.

    Raises:
        ServiceError: 400; 404, where the model is not there.
    """
    environment = _environment(cloud, spec.more.get("environmentId"))
    scripted = _check_code(cloud, spec.more.get("codeConfiguration"))
    if spec.model is not None and cloud.assets.model_type(spec.model) in _NEEDS_NO_CODE:
        return
    if environment is None:
        raise bad_request("A deployment without an MLflow or Triton model needs an environment.")
    if spec.model is not None and not scripted and not environment.content.get("inferenceConfig"):
        raise bad_request(
            "A deployment of a model that is neither MLflow nor Triton needs a scoring script, or an environment "
            "with an inference configuration."
        )


def _environment(cloud: Cloud, reference: str | None) -> EnvironmentVersion | None:
    if not reference:
        return None
    try:
        return cloud.assets.environment(reference)
    except ServiceError as error:
        raise bad_request(f"The environment {reference} is not valid: {error.message}") from error


def _check_code(cloud: Cloud, configuration: Mapping[str, Any] | None) -> bool:
    """Whether there is a scoring script."""
    if not configuration:
        return False
    if not configuration.get("scoringScript"):
        raise bad_request("codeConfiguration.scoringScript is required.")
    code = configuration.get("codeId")
    try:
        if code:
            cloud.assets.code(code)
    except ServiceError as error:
        raise bad_request(f"The code {code} is not valid: {error.message}") from error
    return True
