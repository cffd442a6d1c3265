"""Facts as data: GPU sizes with their prices, which model follows which, and the models' chat templates.

Each row names its source and the date of it (:class:`Source`). A fact that is not known is None, never 0. The
files are read when first asked for, and nothing is downloaded.
"""

from __future__ import annotations

from phi_finetune.catalog import chat_templates, sizes, successors
from phi_finetune.catalog._rows import Source

__all__ = ["Source", "chat_templates", "sizes", "successors"]
