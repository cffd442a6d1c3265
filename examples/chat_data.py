"""Chat data of your own: from Python, from pandas, from files; looked at, split, and checked before it costs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pandas as pd

import phi_finetune as pf
from phi_finetune.errors import InvalidData
from phi_finetune.testing import FakeAzure

RIVERS = ("Danube", "Rhine", "Volga", "Elbe", "Loire", "Tagus", "Ebro", "Oder", "Seine", "Po", "Rhone", "Tiber")
ROWS = [
    {"messages": [{"role": "user", "content": f"What is the {river}?"}, {"role": "assistant", "content": "A river."}]}
    for river in RIVERS
]


def main(azure: FakeAzure) -> None:
    records = pf.ChatDataset.from_records(ROWS, name="rivers")
    frame = pf.ChatDataset.from_pandas(pd.DataFrame(ROWS), name="rivers")
    print("one digest:", records.digest == frame.digest)
    parts = records.split(validation=0.3, seed=1)
    print("rows:", {name: parts.describe(name).rows for name in parts.splits})
    print(parts.preview(2)[["prompt", "answer", "turns"]].to_string(index=False))
    with tempfile.TemporaryDirectory() as folder:
        broken = Path(folder) / "broken.jsonl"
        broken.write_text("".join(json.dumps(row) + "\n" for row in (*ROWS, {"messages": []})))
        try:
            azure.workspace().foundation_model("Phi-4").finetune(pf.ChatDataset.from_jsonl(broken)).data.check()
        except InvalidData as error:
            print(f"refused: {error.file}, row {error.row}: {error.rule}")


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
