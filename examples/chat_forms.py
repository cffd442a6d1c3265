"""Ask an endpoint: a text, messages, a row of the data, many at a time, or a request file for other tools."""

from __future__ import annotations

import tempfile
from pathlib import Path

import phi_finetune as pf
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"


def main(azure: FakeAzure) -> None:
    """Train, deploy, and ask in each way."""
    ws, data = azure.workspace(), pf.ChatDataset.from_sample().split(test=0.1)
    tune = ws.foundation_model("Phi-4").finetune(data).on(pf.GpuCompute.serverless(SIZE))
    with tune.submit().wait().register().deploy(instance_type=SIZE) as endpoint:
        row = data.row(0)
        print("text:     ", endpoint.chat("Name a river.", max_new_tokens=12).text[:60])
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]
        print("messages: ", endpoint.chat(messages, temperature=0.2, top_p=0.8, max_new_tokens=12).text[:60])
        reply = endpoint.chat(row, do_sample=False)
        print("row:      ", reply.text == row.answer, "by deployment", reply.deployment)
        greedy = pf.Sampling(do_sample=False, max_new_tokens=12)
        replies = list(endpoint.chat_many(data.rows("test"), sampling=greedy, concurrency=2))
        print("many:     ", len(replies) == data.describe("test").rows)
        with tempfile.TemporaryDirectory() as folder:
            file = pf.write_request(row, Path(folder) / "request.json", greedy)
            print("file:     ", sorted(endpoint.score(file)))


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
