"""Base models that this machine has the weights of."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from phi_finetune.chat_dataset import ChatDataset, Conversation
from phi_finetune.errors import ConfigurationError, InvalidData, InvalidParameter
from phi_finetune.local._needs import require
from phi_finetune.local.door import folder_of
from phi_finetune.local.hub import files_of, from_hub, is_hub_id
from phi_finetune.local.job_folder import GENERAL_CHATS
from phi_finetune.local.model import model_folders
from phi_finetune.local.quiet import without_progress_bars

if TYPE_CHECKING:
    from phi_finetune.models import FoundationModel
    from phi_finetune.workspace import Workspace

__all__ = ["add_model", "answer"]


def add_model(
    workspace: Workspace, folder: str | os.PathLike[str], *, name: str, revision: str | None = None
) -> FoundationModel:
    """Let a local workspace know a model whose weights lie on this machine, or on the Hugging Face hub.

    From now on, and in every process that opens the workspace, ``workspace.foundation_model(name)`` gives it. Its files
    stay where they are. A job takes them in as it begins: it links the weights where the disk allows it, so that they
    take no room and no time, and copies the rest. Whoever changes the weights later writes new files in the place of
    the old ones, not into them. The same again changes nothing.

    A file ``general_chats.jsonl`` beside the weights has conversations that the model should still manage after a
    fine-tune on something else, in the form of training rows: jobs measure its loss on them before and after, in place
    of some that this library ships. None is fetched from the hub, and what was tuned has none until you put it there.

    Args:
        workspace: A local workspace.
        folder: The model's folder, with its ``config.json``; or one of MLflow's with such a model in it, as
            :meth:`RegisteredModel.download` leaves it, so that what was tuned can be tuned on. A text that is no
            folder here, such as ``"microsoft/Phi-3-mini-4k-instruct"``, names a model of the hub: it is taken from the
            Hugging Face cache, and fetched into it first where it is not there. No pickle and no code is fetched.
        name: What it is called; no model of the registry may have the name.
        revision: A branch, a tag or a commit of the model on the hub.

    Raises:
        ConfigurationError: The workspace is one of Azure's, the folder holds no model, or the name is taken; or the
            model is not in the cache and cannot be fetched: there is no network, no such model or revision, or no
            access to it.
        InvalidData: A row of ``general_chats.jsonl`` is no conversation with an answer, or there is none.
        InvalidParameter: A revision is given for a folder.
        ServiceUnreachable: The hub is busy.
        ServiceError: The hub answered with another error.
        UnexpectedAnswer: What answered is no hub.
    """
    opened = folder_of(workspace._handle().session)
    if opened is None:
        raise ConfigurationError(
            "A model of this machine can be added to a local workspace only",
            resource=f"workspace {workspace.name}",
            next_call="ws = Workspace.local(folder)",
        )
    files = _files(folder, revision)
    if GENERAL_CHATS in files:
        _check_general(files[GENERAL_CHATS])
    opened.add_model(name, files, context_length=_context_length(files["config.json"]))
    return workspace.foundation_model(name)


def _check_general(file: Path) -> None:
    """Refuse chats on which nothing could be measured: the job would fail long after it began."""
    rows = sum(1 for _ in ChatDataset.from_jsonl(file).rows())
    if not rows:
        raise InvalidData(
            "There are no rows to measure what is forgotten on",
            file=file.name,
            rule="no-rows",
            next_call="write some, or take the file away",
        )


def _files(folder: str | os.PathLike[str], revision: str | None) -> dict[str, Path]:
    """The files of a model, by their names in its folder."""
    if is_hub_id(folder):
        return files_of(from_hub(str(folder), revision=revision))
    if revision is not None:
        raise InvalidParameter(
            "A folder has no revisions", name="revision", value=revision, allowed="None, for a folder"
        )
    *beside, model = model_folders(Path(folder).absolute())
    files = {path.name: path for part in beside for path in part.iterdir() if path.is_file()}
    return files | {
        path.relative_to(model).as_posix(): path
        for path in sorted(model.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(model).parts)
    }


def answer(folder: str | os.PathLike[str], conversation: Conversation, *, max_new_tokens: int = 200) -> str:
    """What a model says by itself, in this process and with no server: the likeliest token, again and again.

    It loads the model for one answer. Who wants many deploys it.

    Args:
        folder: The model's folder, in Hugging Face's form with weights in safetensors.
        conversation: What to answer: its last turn is left out where it is the assistant's.
        max_new_tokens: The most tokens that the answer may have.

    Raises:
        MissingDependency: torch or transformers is not installed.
    """
    require("torch", "transformers")
    from phi_finetune.local.generate import Generator, Sampling

    turns = [{"role": turn.role, "content": turn.content} for turn in conversation.prompt]
    way = Sampling(max_new_tokens=max_new_tokens, do_sample=False)
    with without_progress_bars():
        generator = Generator.load(folder)
    (said,) = generator.answer([turns], way)
    return said.text


def _context_length(config: Path) -> int | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads(config.read_bytes())["max_position_embeddings"])
    return None
