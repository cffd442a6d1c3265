"""What the emulated registries and regions hold from the start: models, the pipeline, machine sizes.

The facts lie in the JSON files of this folder, each with its source; nothing here is shared with the library
that is tested against the emulator, so that a mistake in one shows against the other.
"""

from __future__ import annotations

from phi_finetune.emulator.catalogue.components import CatalogueComponent, Step, pipeline_components
from phi_finetune.emulator.catalogue.models import CatalogueModel, Generation, registry_models
from phi_finetune.emulator.catalogue.vm_sizes import VmSize, vm_sizes

__all__ = [
    "CatalogueComponent",
    "CatalogueModel",
    "Generation",
    "Step",
    "VmSize",
    "pipeline_components",
    "registry_models",
    "vm_sizes",
]
