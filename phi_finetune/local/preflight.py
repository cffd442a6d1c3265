"""What this machine can be known to refuse of a fine-tune, found before anything is submitted.

The steps of a job check the same once more, with exact lengths and with the memory that is free then. Nothing here
loads torch or transformers, nor any weights: a check takes a second or two.

The disk is asked for, in bytes, with S the model's files, P its weights, T those that are trained and D the data:

- the job's copy of the model: ``S``;
- the tuned model, once as Hugging Face's and once as MLflow's: ``2 x 4 P``; on a GPU, with adapters and 16 bits,
  ``2 x 2 P``;
- checkpoints: ``12 T`` (the weights and two moments of AdamW; Adafactor's are next to nothing: ``4 T``), as many as
  ``save_total_limit`` says, and one more while it is written; two where there is no limit, so many steps may take more;
- the data: ``5 D``, for the rows as they are sent and copied, and as tokens and labels.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from phi_finetune.errors import ConfigurationError
from phi_finetune.local import machine
from phi_finetune.local._needs import require
from phi_finetune.local.folder import Folder
from phi_finetune.local.hardware import Hardware, processor
from phi_finetune.local.light_tokenizer import LightTokenizer
from phi_finetune.local.memory import MemoryEstimate, check_fits, settle_to_fit, shown, trained_weights
from phi_finetune.local.model import ModelFacts, facts_of, find_model
from phi_finetune.local.parameters import Settled, settle
from phi_finetune.local.preprocess import Counts, encode, nothing_left, row_limit
from phi_finetune.local.templates import Form, form_of

if TYPE_CHECKING:
    from phi_finetune.chat_dataset import ChatDataset, Conversation
    from phi_finetune.parameters import FinetuneParameters, Value

__all__ = ["LocalPreflight"]

_NEEDED: Final = ("torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "mlflow")
_ROWS: Final = 2000
_TOKENS: Final = 500_000
"""No more is read for the longest row: that many tokens take about a second."""
_BATCH: Final = 100
_GIB: Final = 1024**3
_SPARE_BYTES: Final = 50_000_000
"""What logs and metrics may take of the disk."""


@attrs.frozen
class LocalPreflight:
    """The checks of a local workspace that really trains.

    Args:
        folder: The workspace's folder.
    """

    _folder: Folder

    def check_model(self, model_id: str) -> None:
        """Refuse a model that can never be trained on this machine: not even adapters, a short row at a time.

        Args:
            model_id: The model's asset id.

        Raises:
            ConfigurationError: Its files are not on this machine, are incomplete or broken, or it takes more memory
                than the machine has.
            InvalidParameter: Its architecture is not one that is trained here, or it has no chat template.
            UntrustedModel: Its weights are a pickle.
            MissingDependency: The extra ``local`` is not installed.
        """
        require(*_NEEDED)
        model, hardware = self._model(model_id), _this_machine(whole=True)
        half = 16 if hardware.device == "cuda" or hardware.bf16 else 32
        least = settle({"apply_lora": True, "lora_r": 1, "precision": half}, hardware, checkpointing=True)
        check_fits(model.facts, least, hardware, longest_row=1)

    def check_finetune(
        self, model_id: str, parameters: Mapping[str, Value | None], data: ChatDataset
    ) -> MemoryEstimate:
        """Refuse a fine-tune that would fail on this machine as it is now, and say what memory it takes.

        The longest row is that of the first 2,000.

        Args:
            model_id: The model's asset id.
            parameters: Every parameter of the pipeline.
            data: The rows.

        Raises:
            ConfigurationError: As :meth:`check_model` does; or the memory or the disk that is free does not suffice.
            InvalidParameter: A parameter cannot be honoured on this machine, or ``max_seq_length`` is longer than the
                model's context; or as :meth:`check_model` does.
            InvalidData: The template refuses a row, or the cut leaves no row with an answer to train on.
            UntrustedModel: The model's weights are a pickle.
            MissingDependency: The extra ``local`` is not installed.
        """
        require(*_NEEDED)
        model, hardware = self._model(model_id), _this_machine()
        settled = settle(parameters, hardware)
        settled.check()
        limit = row_limit(int(settled.values["max_seq_length"] or -1), model.facts.context_length)
        longest, share = model.longest_row(data, limit)
        settled, need = settle_to_fit(
            parameters,
            model.facts,
            hardware,
            train_rows=data.describe("train").rows,
            longest_row=limit if settled.values["pad_to_max_length"] else longest,
            trained_share=share,
        )
        self._check_disk(_disk(model, settled, hardware, data))
        return need

    def notes_on(self, parameters: FinetuneParameters) -> tuple[str, ...]:
        """What this machine makes of parameters that the user gave, where it is not what they say; sentences."""
        settled = settle(parameters, _this_machine())
        given = (one for one in settled.outcomes if parameters.origin(one.name) == "user")
        return attrs.evolve(settled, outcomes=tuple(given)).notes

    def _model(self, model_id: str) -> _Model:
        files = self._folder.model_files(model_id)
        if "config.json" not in files:
            raise ConfigurationError(
                "The weights of the model are not on this machine",
                resource=f"model {model_id}",
                next_call="model = pf.local.add_model(ws, folder, name=...), with a folder that has them, or a hub id",
            )
        return _Model.of(files)

    def _check_disk(self, needs: Mapping[str, int]) -> None:
        need, free = sum(needs.values()), shutil.disk_usage(self._folder.path).free
        if need <= free:
            return
        raise ConfigurationError(
            f"The fine-tune does not fit onto the disk, of which {shown(free)} are free",
            resource=f"folder {self._folder.path}",
            why=f"it would take about {shown(need)}: "
            + ", ".join(f"{name} {shown(value)}" for name, value in needs.items()),
            next_call="free space, or open the workspace in a folder of another disk",
        )


@attrs.frozen
class _Model:
    """A model whose files are on this machine, looked at."""

    facts: ModelFacts
    size: int
    tokenizer: LightTokenizer | None
    form: Form | None

    @classmethod
    def of(cls, files: Mapping[str, Path]) -> _Model:
        folder = find_model(files["config.json"].parent)
        facts, tokenizer = facts_of(folder), LightTokenizer.find(folder)
        missing = sorted(name for name, path in files.items() if not path.is_file())
        if missing:
            raise ConfigurationError(
                f"The model in {folder} is not the one that was added",
                why=f"it lacks {', '.join(missing[:3])}, {len(missing)} in all",
                next_call="put back what is missing, or add the folder under another name",
            )
        size = sum(path.stat().st_size for path in files.values())
        return cls(facts, size, tokenizer, None if tokenizer is None else form_of(tokenizer))

    def longest_row(self, data: ChatDataset, limit: int) -> tuple[int, float]:
        """Tokens of the longest row to train on, and the share of tokens that are trained on.

        Raises:
            InvalidData: No row of a split has an answer that the cut leaves something of.
        """
        if self.tokenizer is None or self.form is None:
            return 1, 1.0
        longest, seen = 1, Counts()
        for split in data.splits:
            most, counts, rows = 0, Counts(), data.rows(split)
            for batch in _batches(rows):
                for ids, _ in encode(batch, self.tokenizer, self.form, limit, counts):
                    most = max(most, len(ids))
                enough = split != "train" or counts.rows >= _ROWS or counts.tokens >= _TOKENS
                if counts.kept and enough:
                    break
            if not counts.kept:
                raise nothing_left(counts, split)
            if split == "train":
                longest, seen = most, counts
        return longest, seen.trained_tokens / max(seen.tokens, 1)


def _batches(rows: Iterator[Conversation]) -> Iterator[list[Conversation]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _this_machine(*, whole: bool = False) -> Hardware:
    """What a step will find that it trains on, told without torch.

    Args:
        whole: Whether to give all the memory, in place of what is free.
    """
    size = machine.this_machine()
    # A torch for processors sees no GPU, nor does one whose environment hides them.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not size.gpus or size.gpu_memory_gib is None or hidden or version("torch").endswith("+cpu"):
        return processor(whole=whole)
    deepspeed = find_spec("deepspeed") is not None
    memory = int(size.gpu_memory_gib * _GIB)
    return Hardware("cuda", "the GPU", size.gpus, memory, bf16=True, deepspeed=deepspeed)


def _disk(model: _Model, settled: Settled, hardware: Hardware, data: ChatDataset) -> dict[str, int]:
    half = settled.values["precision"] == 16 and settled.lora is not None and hardware.device == "cuda"
    kept = int(settled.values["save_total_limit"] or -1)
    each = (12 if settled.values["optim"] == "adamw_torch" else 4) * trained_weights(model.facts, settled)
    return {
        "the copy of the model": model.size,
        "the tuned model, twice": 2 * model.facts.parameters * (2 if half else 4),
        "checkpoints": each * (kept + 1 if kept > 0 else 2),
        "data and logs": 5 * sum(data.describe(split).size_bytes for split in data.splits) + _SPARE_BYTES,
    }
