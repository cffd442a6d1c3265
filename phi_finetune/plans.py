"""What a fine-tune would be: everything looked up and checked, nothing submitted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs

from phi_finetune.catalog import this_machine
from phi_finetune.chat_dataset import LEAST_TRAINING_ROWS
from phi_finetune.compute import GpuCompute, GpuSku, check_gpu_size
from phi_finetune.errors import ConfigurationError, InvalidData, InvalidParameter
from phi_finetune.finetune import FILES, file_digest, is_address
from phi_finetune.parameters import FinetuneParameters, ParameterValues, parse_inputs

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.chat_dataset import ChatDataset, SplitName
    from phi_finetune.finetune import Finetune
    from phi_finetune.local.memory import MemoryEstimate

__all__ = ["FinetunePlan", "PlannedFile"]

COMPONENT = "chat_completion_pipeline"
COMPONENT_REGISTRY = "azureml"
_HELD_OUT = 10
"""One row of so many is held out where the data has no validation split."""
_PIECE_BYTES = 1024 * 1024
_SPLITS: Mapping[SplitName, str] = {
    "train": "train_file_path",
    "validation": "validation_file_path",
    "test": "test_file_path",
}


@attrs.frozen
class PlannedFile:
    """A file that would be uploaded, unless its content is there already.

    Attributes:
        name: Its name in the blob store.
        sha256: The digest of its content, in hexadecimal.
        size_bytes: Its size.
        folder: The folder that it goes to: the data set's digest, or the file's own where it is of no data set.
    """

    name: str
    sha256: str
    size_bytes: int
    folder: str
    _content: Callable[[], Iterable[bytes]] = attrs.field(eq=False, repr=False)

    @property
    def address(self) -> str:
        """Where it is, once uploaded."""
        return f"azureml://datastores/workspaceblobstore/paths/LocalUpload/{self.folder}/{self.name}"

    def content(self) -> Iterable[bytes]:
        """What it holds, in pieces."""
        return self._content()


@attrs.frozen
class FinetunePlan:
    """What ``submit()`` would submit.

    Attributes:
        job_name: The job's name, for its first attempt.
        display_name: How the studio shows it.
        experiment: What it is listed under.
        model_id: The asset id of the base model.
        component_version: The version of the pipeline component.
        parameters: Every parameter, with its origin.
        compute: The name of the compute that trains.
        sku: What each of its machines has.
        gpus: GPUs used on each machine.
        nodes: Machines used.
        rows: Conversations in each split. Where the data has no validation split, the last tenth of its train split
            is held out as one, and not trained on; the service itself would hold out a fifth (azureml-acft-contrib-
            hf-nlp 0.0.91). ``with_parameters(evaluation_strategy="disable")`` holds nothing out.
        files: The files to be uploaded, by the parameter that names them.
        warnings: What would do nothing, or something else than asked; sentences.
        memory: The memory that the training will take, estimated; None where this machine does not train.
            :mod:`phi_finetune.local.memory` has the formula.
    """

    job_name: str
    display_name: str
    experiment: str
    model_id: str
    component_version: str
    parameters: FinetuneParameters
    compute: str
    sku: GpuSku
    gpus: int
    nodes: int
    rows: Mapping[str, int] = attrs.field(hash=False)
    files: Mapping[str, PlannedFile] = attrs.field(hash=False)
    warnings: tuple[str, ...] = ()
    memory: MemoryEstimate | None = None

    @property
    def total_batch_size(self) -> int:
        """Rows in one step of the optimiser: per device x accumulation x GPUs x machines."""
        return self.parameters.total_batch_size(self.gpus, self.nodes)

    @property
    def price_usd_per_hour(self) -> float | None:
        """An estimate of what the training's machines cost, in US dollars an hour; None if it is not known."""
        price = self.sku.price_usd_per_hour
        return None if price is None else price * self.nodes

    @property
    def resolved(self) -> dict[str, str]:
        """What was looked up rather than asked for; kept in a tag of the job."""
        return {
            "model": self.model_id,
            "component": self.component_version,
            "gpus": str(self.gpus),
            "nodes": str(self.nodes),
        }

    def explain(self) -> str:
        """The plan as text: what runs where, at what price, with which parameters and where each came from."""
        price = self.price_usd_per_hour
        cost = "price not known" if price is None else f"about {price:.2f} US dollars an hour while it runs"
        rows = ", ".join(f"{count} {split}" for split, count in self.rows.items())
        return "\n".join(
            [
                f"job         {self.job_name}",
                f"model       {self.model_id}",
                f"pipeline    {COMPONENT} {self.component_version}",
                f"data        {rows} conversations",
                f"compute     {self.nodes} x {self.sku.name} ({self.compute}), {self.gpus} GPU each, {cost}",
                f"batch       {self.total_batch_size} rows a step",
                *([] if self.memory is None else [f"memory      about {self.memory}"]),
                "",
                self.parameters.explain(),
                *(f"Note: {warning}" for warning in self.warnings),
            ]
        )


def checked(finetune: Finetune, client: Client) -> FinetunePlan:
    """Look everything up and check it, and where this machine trains also that it can do so now."""
    plan = resolve(finetune, client)
    if client.preflight is None:
        return plan
    data = _with_validation(finetune)
    memory = client.preflight.check_finetune(plan.model_id, plan.parameters, data)
    notes = client.preflight.notes_on(plan.parameters)
    return attrs.evolve(plan, memory=memory, warnings=(*plan.warnings, *notes))


def resolve(finetune: Finetune, client: Client) -> FinetunePlan:
    """Look everything up and check it."""
    from phi_finetune._azure.registry import find_component

    computes = finetune.required_computes()
    finetune.data.check()
    sku = _check_computes(finetune, client)
    job_name = finetune.job_name()
    finetune = attrs.evolve(finetune, data=_with_validation(finetune))
    finetune.data.check()
    component = find_component(client, COMPONENT_REGISTRY, COMPONENT, None)
    files = _files(finetune)
    addresses = {name: file.address for name, file in files.items()}
    # What stands for a file that is not given: without it the service takes rows from the train split for it. The
    # test file is prepared and then not used; the validation file is not used where evaluation is disabled.
    addresses.setdefault("validation_file_path", addresses["train_file_path"])
    addresses.setdefault("test_file_path", addresses["validation_file_path"])
    uploaded = {name: address for name, address in addresses.items() if name in finetune.parameters}
    parameters = FinetuneParameters.resolve(
        user=cast(ParameterValues, {**finetune.parameters, **uploaded}),
        derived={**_derived(finetune, sku), **addresses},
        model_defaults=finetune.model.defaults,
        component_inputs=parse_inputs(component["properties"]["componentSpec"]),
        on_azure=sku.family != this_machine.FAMILY,
    )
    gpus, nodes = (
        _count(parameters, "number_of_gpu_to_use_finetuning"),
        _count(parameters, "num_nodes_finetune"),
    )
    _check_fits(computes.finetune, sku, gpus, nodes)
    return FinetunePlan(
        job_name=job_name,
        display_name=finetune.settings.display_name or _display_name(finetune, parameters, gpus, nodes),
        experiment=finetune.settings.experiment or f"chat_completion_{finetune.model.name}",
        model_id=finetune.model.id,
        component_version=str(component["properties"]["componentSpec"].get("version") or component["name"]),
        parameters=parameters,
        compute=computes.finetune.name,
        sku=sku,
        gpus=gpus,
        nodes=nodes,
        rows={split: finetune.data.describe(split).rows for split in finetune.data.splits},
        files=files,
        warnings=(*parameters.warnings, *_data_warnings(finetune, sku)),
    )


def _with_validation(finetune: Finetune) -> ChatDataset:
    data = finetune.data
    if "validation" in data.splits or finetune.parameters.get("evaluation_strategy") == "disable":
        return data
    rows = data.describe("train").rows
    held_out = min(max(1, rows // _HELD_OUT), rows - LEAST_TRAINING_ROWS)
    return data.hold_out(held_out) if held_out > 0 else data


def _data_warnings(finetune: Finetune, sku: GpuSku) -> Iterator[str]:
    # The local engine has a step that evaluates.
    if "test" in finetune.data.splits and sku.family != this_machine.FAMILY:
        yield "the test split is uploaded and prepared, and then not used: the pipeline has no evaluation step"
    if (
        "validation" not in finetune.data.splits
        and finetune.parameters.get("evaluation_strategy") != "disable"
    ):
        yield "too few rows to hold any out: the evaluation loss is measured on the training rows"


def _check_computes(finetune: Finetune, client: Client) -> GpuSku:
    computes = finetune.required_computes()
    trains = computes.finetune
    if trains.size is None:
        trains = trains.attached_to(client).refresh()
    if trains.size is None:
        raise ConfigurationError(
            "The compute has no machine size",
            resource=trains.resource,
            next_call="take one that is a cluster",
        )
    finetune.model.check_finetune_size(trains.size)
    return check_gpu_size(client, trains.size, trains.resource)


def _derived(finetune: Finetune, sku: GpuSku) -> dict[str, object]:
    derived: dict[str, object] = {
        "mlflow_model_path": finetune.model.id,
        "number_of_gpu_to_use_finetuning": sku.gpus or 1,
        "task_name": "ChatCompletion",
    }
    for step, compute in finetune.required_computes().by_step().items():
        derived[f"compute_{step}"] = compute.name
        if compute.is_serverless and compute.size is not None:
            derived[f"instance_type_{step}"] = compute.size
    return derived


def _files(finetune: Finetune) -> dict[str, PlannedFile]:
    files = {_SPLITS[split]: file for split, file in split_files(finetune.data).items()}
    for name, value in finetune.parameters.items():
        if name in FILES and isinstance(value, (str, os.PathLike)) and not is_address(value):
            sha256, size_bytes = file_digest(value)
            files[name] = PlannedFile(
                Path(value).name, sha256, size_bytes, sha256, partial(_read, Path(value))
            )
    return files


def split_files(data: ChatDataset) -> dict[SplitName, PlannedFile]:
    """A data set's files, in the folder that its digest names: a job's and a data asset's are the same.

    Raises:
        InvalidData: A row breaks a rule, or somebody writes to the data.
    """
    folder = data.digest
    files: dict[SplitName, PlannedFile] = {}
    for split in data.splits:
        info, name = data.describe(split), f"{split}.jsonl"
        files[split] = PlannedFile(name, info.sha256, info.size_bytes, folder, partial(data.lines, split))
    if data.digest == folder:
        return files
    raise InvalidData(
        "The data changed while it was read",
        resource=f"data set {data.name}",
        why="its digest is another than a moment ago; nothing was sent",
        next_call="call again once nothing writes to it",
    )


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _check_fits(compute: GpuCompute, sku: GpuSku, gpus: int, nodes: int) -> None:
    if sku.gpus is not None and gpus > max(sku.gpus, 1 if sku.family == this_machine.FAMILY else 0):
        raise InvalidParameter(
            f"{sku.name} has {sku.gpus} GPUs, fewer than asked for",
            resource=compute.resource,
            name="number_of_gpu_to_use_finetuning",
            value=gpus,
            allowed=f"1 to {sku.gpus}",
            next_call="leave it out: it is taken from the size",
        )
    if nodes > compute.max_nodes:
        raise InvalidParameter(
            f"The compute grows to {compute.max_nodes} machines, fewer than asked for",
            resource=compute.resource,
            name="num_nodes_finetune",
            value=nodes,
            allowed=f"1 to {compute.max_nodes}",
            next_call=f"cluster.scale(max_nodes={nodes}), or fewer nodes",
        )


def _count(parameters: FinetuneParameters, name: str) -> int:
    value = parameters.get(name)
    return value if isinstance(value, int) else 1


def _display_name(finetune: Finetune, parameters: FinetuneParameters, gpus: int, nodes: int) -> str:
    parts = [
        finetune.model.name,
        finetune.data.name,
        f"batch {parameters.total_batch_size(gpus, nodes)}",
        str(parameters.get("lr_scheduler_type") or "linear"),
        f"DeepSpeed stage {parameters.get('deepspeed_stage')}"
        if parameters.get("apply_deepspeed")
        else "no DeepSpeed",
        "LoRA" if parameters.get("apply_lora") else "full",
        f"save limit {parameters.get('save_total_limit')}",
        f"sequence length {parameters.get('max_seq_length')}",
    ]
    return ", ".join(parts)
