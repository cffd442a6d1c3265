"""What the emulated registries and regions hold from the start: models, the pipeline, environments, machine sizes.

The facts lie in the JSON files of this folder, each with its source; nothing here is shared with the library
that is tested against the emulator, so that a mistake in one shows against the other.
"""

from __future__ import annotations

from phi_finetune.emulator.catalogue.components import CatalogueComponent, Step, pipeline_components
from phi_finetune.emulator.catalogue.environments import CatalogueEnvironment, curated_environments
from phi_finetune.emulator.catalogue.models import CatalogueModel, Generation, registry_models
from phi_finetune.emulator.catalogue.vm_sizes import VmSize, vm_sizes

__all__ = [
    "CatalogueComponent",
    "CatalogueEnvironment",
    "CatalogueModel",
    "Generation",
    "Step",
    "VmSize",
    "curated_environments",
    "pipeline_components",
    "registry_models",
    "vm_sizes",
]
