"""Files of chat data, and the rows in them as they are."""

from __future__ import annotations

from phi_finetune.chat_dataset.readers.csv import Csv
from phi_finetune.chat_dataset.readers.globs import DATA_ENDINGS, found_files
from phi_finetune.chat_dataset.readers.json_array import JsonArray

__all__ = ["DATA_ENDINGS", "Csv", "JsonArray", "found_files"]
