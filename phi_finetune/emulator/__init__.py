"""Azure Machine Learning on the wire: the REST services that the Azure clients talk to, in memory.

This package knows nothing of Azure's Python libraries or of the rest of this one. It takes requests and gives
answers (:class:`~phi_finetune.emulator.cloud.Cloud`); its ``doors`` bring a client's requests to it.
"""

from __future__ import annotations

from phi_finetune.emulator.cloud import Cloud, Settings

__all__ = ["Cloud", "Settings"]
