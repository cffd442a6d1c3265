"""A tuned model as the two folders that the pipeline gives: Hugging Face's, and MLflow's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from phi_finetune.local._needs import require

__all__ = ["save_mlflow", "save_pytorch"]

_MODEL: Final = Path("data/model")
_ANSWERING: Final = ("caches.py", "generate.py")
_GLUE: Final = """

import mlflow


class ChatModel(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self._generator = Generator.load(context.artifacts["model"])

    def predict(self, context, model_input, params=None):
        return answer_rows(self._generator, model_input, params or {})


mlflow.models.set_model(ChatModel())
"""
"""What makes a model of MLflow of the code that answers."""

_PACKAGES: Final = ("torch", "transformers", "safetensors")


def save_pytorch(
    model: Any, tokenizer: Any, folder: Path, *, base: Path, merged: bool, weights: Any = None
) -> None:
    """Write a tuned model as Hugging Face's transformers loads it: weights in safetensors, settings, tokenizer.

    Args:
        model: The tuned model, already merged where ``merged`` says so.
        tokenizer: Its tokenizer.
        folder: Where it goes.
        base: The model that it was made from; without merging, its weights are linked and the adapter is put beside
            them, in a folder ``adapter``.
        merged: Whether the model has no adapters, or no more.
        weights: The weights by name, where the model itself does not hold them whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if merged:
        model.config.use_cache = True
        model.save_pretrained(folder, state_dict=weights)
        _copy_generation(base, folder)
    else:
        shutil.copytree(base, folder, dirs_exist_ok=True)
        model.save_pretrained(folder / "adapter")
    tokenizer.save_pretrained(folder)


def _copy_generation(base: Path, folder: Path) -> None:
    """Keep what the base says of generation, such as the tokens that end an answer."""
    if (base / "generation_config.json").is_file():
        shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")


def save_mlflow(pytorch_folder: Path, folder: Path, *, metadata: Mapping[str, Any]) -> None:
    """Write a model as an MLflow folder that plain ``mlflow.pyfunc.load_model`` loads.

    Its ``predict`` takes rows with ``messages`` and gives a text for each. The code that answers comes along, so
    loading it needs torch, transformers (and peft for an adapter), and not this library.

    Args:
        pytorch_folder: What :func:`save_pytorch` wrote.
        folder: Where the MLflow model goes; it must not be there.
        metadata: What is said of the model in its ``MLmodel``.
    """
    require("mlflow", "pandas")
    import mlflow

    packages = [*_PACKAGES, *(["peft"] if (pytorch_folder / "adapter").is_dir() else [])]
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch) / "chat_model.py"
        code.write_text(_code(), encoding="utf-8")
        mlflow.pyfunc.save_model(
            folder,
            python_model=code,
            artifacts={"model": str(pytorch_folder)},
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in ["mlflow", *packages]],
            signature=_signature(),
            metadata={"task": "chat-completion", "base_model_task": "chat-completion", **metadata},
        )
    _as_azure_lays_it_out(folder)


def _code() -> str:
    """The code that answers, as one file that needs nothing of this library."""
    first = "from __future__ import annotations"
    texts = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _ANSWERING]
    lines = [line for text in texts for line in text.splitlines()]
    kept = [line for line in lines if line != first and not line.startswith("from phi_finetune.")]
    return "\n".join([first, *kept, _GLUE])


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    turn = Object([Property("role", DataType.string), Property("content", DataType.string)])
    params = [
        ParamSpec("max_new_tokens", DataType.long, 200),
        ParamSpec("temperature", DataType.double, 0.6),
        ParamSpec("top_p", DataType.double, 0.9),
        ParamSpec("do_sample", DataType.boolean, True),
        ParamSpec("repetition_penalty", DataType.double, 1.0),
        ParamSpec("seed", DataType.long, 0),
    ]
    return ModelSignature(
        inputs=Schema([ColSpec(Array(turn), "messages")]),
        outputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(params),
    )


def _as_azure_lays_it_out(folder: Path) -> None:
    """Move the model to where the pipeline's own output has it, and say so in the ``MLmodel``."""
    from mlflow.models import Model

    (found,) = (folder / "artifacts").iterdir()
    (folder / _MODEL).parent.mkdir(parents=True, exist_ok=True)
    found.rename(folder / _MODEL)
    (folder / "artifacts").rmdir()
    (folder / "data" / "config").mkdir()
    shutil.copyfile(folder / _MODEL / "config.json", folder / "data" / "config" / "config.json")
    described = Model.load(folder)
    described.flavors["python_function"]["artifacts"]["model"] |= {"path": str(_MODEL.as_posix()), "uri": ""}
    described.flavors["python_function"]["model_code_path"] = "chat_model.py"
    described.save(folder / "MLmodel")
