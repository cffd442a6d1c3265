"""Chat data of your own: from records, pandas or files; looked at, split, and checked before it costs."""

from __future__ import annotations

import tempfile

import pandas as pd

import phi_finetune as pf
from phi_finetune.errors import InvalidData
from phi_finetune.testing import FakeAzure


def row(number: int) -> dict[str, list[dict[str, str]]]:
    """One conversation."""
    question = {"role": "user", "content": f"What is {number} times {number}?"}
    return {"messages": [question, {"role": "assistant", "content": f"It is {number * number}."}]}


def main(azure: FakeAzure) -> None:
    """Take the same rows from three places, and one that is broken."""
    rows = [row(number) for number in range(12)]
    data = pf.ChatDataset.from_records(rows, name="squares").split(validation=0.3, seed=2)
    print("rows:", {name: data.describe(name).rows for name in data.splits})
    print(data.preview(2)[["prompt", "answer", "turns"]].to_string(index=False))
    with tempfile.TemporaryDirectory() as folder:
        files = data.write(folder)
        again = pf.ChatDataset.from_jsonl(files["train"], files["validation"])
        print("the same from files:", again.digest == data.digest)
    try:
        pf.ChatDataset.from_pandas(pd.DataFrame([*rows, {"messages": []}])).check()
    except InvalidData as error:
        print(f"refused: row {error.row} of {error.file}, {error.rule}")
    print("requests sent:", len(azure.journal))


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
