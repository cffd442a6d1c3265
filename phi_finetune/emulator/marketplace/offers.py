"""What the Azure Marketplace offers: models of other publishers than Microsoft."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Offer", "known_offers", "offer"]

_MODEL_ID = re.compile(r"azureml://registries/azureml-(?P<publisher>[^/]+)/models/(?P<model>[^/]+)")

_KNOWN = (
    # Azure's page on deploying models as serverless APIs.
    ("meta", "Meta-Llama-3-8B-Instruct"),
    # Public templates and samples.
    ("meta", "Meta-Llama-3.1-8B-Instruct"),
    ("meta", "Llama-3.3-70B-Instruct"),
    ("cohere", "Cohere-command-r-08-2024"),
    ("mistral", "Mistral-large"),
    # pulumi/pulumi-azure-native#3687.
    ("mistral", "Mistral-large-2407"),
    ("ai21", "AI21-Jamba-Instruct"),
)
"""A few, for tests; :meth:`Marketplace.publish` adds others."""


@dataclass(frozen=True)
class Offer:
    """A third-party model in the Azure Marketplace.

    Attributes:
        model_id: The model, without a version.
        model: Its name.
        publisher: Who made it, as its registry is called.
    """

    model_id: str
    model: str
    publisher: str

    @property
    def plan(self) -> dict[str, str]:
        """The plan that is subscribed to. That all are named after one of Mistral's is assumed."""
        name = self.model.lower()
        return {"publisherId": "000-000", "offerId": f"{name}-offer", "planId": f"{name}-plan"}


def offer(model_id: str) -> Offer:
    """The offer of a model.

    Raises:
        ValueError: It is no model of a third party's registry, or names a version.
    """
    found = _MODEL_ID.fullmatch(model_id)
    if found is None or found["publisher"] == "phi":
        form = "azureml://registries/azureml-PUBLISHER/models/NAME"
        raise ValueError(f"{model_id!r} is not the id of a third party's model, which has the form {form}")
    return Offer(model_id, found["model"], found["publisher"])


def known_offers() -> dict[str, Offer]:
    """The offers that are there from the start, by model id."""
    ids = [f"azureml://registries/azureml-{publisher}/models/{model}" for publisher, model in _KNOWN]
    return {model_id: offer(model_id) for model_id in ids}
