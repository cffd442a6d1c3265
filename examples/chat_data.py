"""Chat data of your own: from records, pandas or files; looked at, split, and checked before it costs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pandas as pd

import phi_finetune as pf
from phi_finetune.errors import InvalidData
from phi_finetune.testing import FakeAzure


def ask(river: str) -> dict[str, list[dict[str, str]]]:
    question = {"role": "user", "content": f"What is the {river}?"}
    return {"messages": [question, {"role": "assistant", "content": f"The {river} is a river."}]}


def main(azure: FakeAzure) -> None:
    rows = [
        ask(river) for river in "Danube Rhine Volga Elbe Loire Tagus Ebro Oder Seine Po Rhone Tiber".split()
    ]
    data = pf.ChatDataset.from_records(rows, name="rivers")
    print("one digest:", data.digest == pf.ChatDataset.from_pandas(pd.DataFrame(rows)).digest)
    data = data.split(validation=0.3, seed=1)
    print("rows:", {name: data.describe(name).rows for name in data.splits})
    print(data.preview(2)[["prompt", "answer", "turns"]].to_string(index=False))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "broken.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"messages": []}]))
        try:
            pf.ChatDataset.from_jsonl(file).check()
        except InvalidData as error:
            print(f"refused: row {error.row}, {error.rule}")
    print("requests sent:", len(azure.journal))


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
