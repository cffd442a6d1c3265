"""Facts as data: GPU sizes with their prices, and which model follows which.

Each row names its source and the date of it (:class:`Source`). A fact that is not known is None, never 0. The
files are read when first asked for, and nothing is downloaded.
"""

from __future__ import annotations

from phi_finetune.catalog import sizes, successors
from phi_finetune.catalog._rows import Source

__all__ = ["Source", "sizes", "successors"]
