"""A fine-tune being put together: which model, which data, on which compute, with which settings."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

import attrs

from phi_finetune._handles import WithoutHandle, kept
from phi_finetune._names import digest, slug
from phi_finetune.compute import GpuCompute
from phi_finetune.errors import ConfigurationError, InvalidParameter
from phi_finetune.parameters import ParameterValues

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.chat_dataset import ChatDataset
    from phi_finetune.jobs import FinetuneJob
    from phi_finetune.models import FoundationModel
    from phi_finetune.plans import FinetunePlan

__all__ = ["Finetune", "FinetuneSettings", "StepComputes"]

INTENT_FORMAT: Final = 1
FILES: Final = frozenset(
    name for name, kind in ParameterValues.__annotations__.items() if "FilePath" in str(kind)
)
"""The parameters that are files."""

_JOB_NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,254}")
_LONGEST_SLUG = 40


@attrs.frozen
class FinetuneSettings:
    """Settings of the pipeline job, none of which changes what is trained.

    Attributes:
        experiment: The experiment that the job is listed under; None is ``chat_completion_<model>``.
        display_name: How the studio shows it; None says model, data, batch size and the like.
        description: A text for people.
        tags: Further tags.
        force_rerun: Run every step again, even where Azure has the result of the same step from before.
        continue_on_step_failure: Go on with steps that do not need one that failed.
    """

    experiment: str | None = None
    display_name: str | None = None
    description: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    force_rerun: bool = False
    continue_on_step_failure: bool = False


@attrs.frozen
class StepComputes:
    """Where each step of the pipeline runs.

    Attributes:
        finetune: The training.
        model_import: Importing the base model; None takes the training's.
        preprocess: Preparing the data; None takes the training's.
        evaluation: Evaluation; None takes the training's. The pipeline has no such step in version 0.0.82.
    """

    finetune: GpuCompute
    model_import: GpuCompute | None = None
    preprocess: GpuCompute | None = None
    evaluation: GpuCompute | None = None

    def by_step(self) -> dict[str, GpuCompute]:
        """The compute of each step, by the name that the pipeline's inputs use."""
        return {
            "model_import": self.model_import or self.finetune,
            "preprocess": self.preprocess or self.finetune,
            "finetune": self.finetune,
            "model_evaluation": self.evaluation or self.finetune,
        }


@attrs.frozen(slots=False)
class Finetune(WithoutHandle):
    """A request for a fine-tune. Every method gives a new one; nothing is sent before ``submit()`` or ``plan()``.

    Attributes:
        model: The base model.
        data: The conversations; the train split is trained on, the validation split measured.
        computes: Where it runs; None until ``on()``.
        parameters: What was set with ``with_parameters()``.
        settings: What was set with ``with_settings()``.
        name: The job's name, where ``named()`` set one.
    """

    model: FoundationModel
    data: ChatDataset
    computes: StepComputes | None = None
    parameters: ParameterValues = attrs.field(factory=lambda: ParameterValues(), hash=False)
    settings: FinetuneSettings = attrs.field(factory=FinetuneSettings, hash=False)
    name: str | None = None
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    def on(
        self,
        cluster: GpuCompute,
        *,
        model_import: GpuCompute | None = None,
        preprocess: GpuCompute | None = None,
        evaluation: GpuCompute | None = None,
    ) -> Finetune:
        """Say where it runs.

        Args:
            cluster: Where the training runs, and every step for which nothing else is said.
            model_import: Where the base model is imported.
            preprocess: Where the data is prepared.
            evaluation: Where an evaluation step would run.
        """
        return attrs.evolve(self, computes=StepComputes(cluster, model_import, preprocess, evaluation))

    def with_parameters(self, **values: Unpack[ParameterValues]) -> Finetune:
        """Set parameters of the pipeline; they win over the model's own. Those set before stay.

        Raises:
            InvalidParameter: It is what model, data or compute say, and would pass by their checks. Of a value
                outside what the pipeline takes, ``plan()`` and ``submit()`` raise it.
        """
        for name, value in values.items():
            elsewhere = _said_elsewhere(name)
            if elsewhere is not None:
                raise InvalidParameter(
                    f"{name} is not set as a parameter", name=name, value=value, next_call=elsewhere
                )
        merged: ParameterValues = {**self.parameters, **values}
        return attrs.evolve(self, parameters=merged)

    def with_settings(
        self,
        *,
        experiment: str | None = None,
        display_name: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        force_rerun: bool | None = None,
        continue_on_step_failure: bool | None = None,
    ) -> Finetune:
        """Set how the pipeline job is listed and run; see :class:`FinetuneSettings`. Those not named stay as they are.

        Raises:
            InvalidParameter: A tag's value is no text.
        """
        for key, value in (tags or {}).items():
            if not isinstance(value, str):
                raise InvalidParameter(
                    "A tag's value is no text", name=f"tags[{key!r}]", value=value, allowed="a text"
                )
        now = self.settings
        settings = FinetuneSettings(
            now.experiment if experiment is None else experiment,
            now.display_name if display_name is None else display_name,
            now.description if description is None else description,
            {**now.tags, **(tags or {})},
            now.force_rerun if force_rerun is None else force_rerun,
            now.continue_on_step_failure if continue_on_step_failure is None else continue_on_step_failure,
        )
        return attrs.evolve(self, settings=settings)

    def named(self, name: str) -> Finetune:
        """Set the job's name, in place of one made from what the job is.

        Raises:
            InvalidParameter: It is no name for a job.
        """
        if not _JOB_NAME.fullmatch(name):
            raise InvalidParameter(
                f"{name!r} is no name for a job",
                name="name",
                value=name,
                allowed="1 to 255 letters, digits, dashes and underscores, a letter or digit first",
            )
        return attrs.evolve(self, name=name)

    def intent(self) -> dict[str, Any]:
        """What the user asked for, as plain values: the job's name is made from the digest of this.

        It holds the model (its version only if one was named), a digest of the conversations, the parameters that
        were set, and the computes; not what Azure makes of them.
        """
        model = {"registry": self.model.registry, "name": self.model.name}
        if self.model.pinned:
            model["version"] = self.model.version
        return {
            "format": INTENT_FORMAT,
            "model": model,
            "data": self.data.digest,
            "parameters": {key: _plain(key, value) for key, value in sorted(self.parameters.items())},
            "compute": self._plain_computes(),
        }

    def job_name(self, attempt: int = 1) -> str:
        """The job's name: model and data for people, a digest of the intent, and the attempt from the second on."""
        base = self.name
        if base is None:
            words = slug(f"{self.model.name} {self.data.name}", _LONGEST_SLUG)
            base = f"{words}-{digest(self.intent())[:10]}"
        return base if attempt == 1 else f"{base}-{attempt}"

    def plan(self) -> FinetunePlan:
        """Check everything and say what would be submitted, with its price an hour, submitting nothing.

        In a local workspace that trains really, it estimates the memory of the training (``plan.memory``) and compares
        it with what is free; a job that runs takes of that.

        Raises:
            InvalidParameter: A parameter is outside what the pipeline takes. In a local workspace: one cannot be
                honoured on this machine, or ``max_seq_length`` is longer than the model's context; or the model's
                architecture or chat template is not one that can be trained there.
            InvalidData: A row that the service would refuse. In a local workspace: ``max_seq_length`` cuts off every
                answer.
            SizeNotAllowed: The model does not permit the compute's size.
            ConfigurationError: It is not said where it runs. In a local workspace: the model's files are not on this
                machine, or are broken; or the memory or the disk that is free does not suffice, and the error says what
                is needed and what would fit.
            UntrustedModel: In a local workspace: the model's weights are a pickle.
            MissingDependency: In a local workspace: a package of the extra ``[local]`` is not installed.
        """
        from phi_finetune.plans import checked

        return checked(self, self._handle())

    def submit(self, *, again: bool = False) -> FinetuneJob:
        """Submit the job, or find the one that was submitted before for the same intent, and pay once.

        A job that failed, was canceled or archived counts as spent, and the next attempt is submitted. What
        :meth:`plan` checks is checked before anything is sent; of a job that is there already nothing is checked.

        Args:
            again: Submit a further job even where one is running or completed.

        Raises:
            InvalidParameter: A parameter is outside what the pipeline takes. In a local workspace: one cannot be
                honoured on this machine, or ``max_seq_length`` is longer than the model's context; or the model's
                architecture or chat template is not one that can be trained there.
            InvalidData: A row that the service would refuse. In a local workspace: ``max_seq_length`` cuts off every
                answer.
            SizeNotAllowed: The model does not permit the compute's size.
            ConfigurationError: It is not said where it runs. In a local workspace: the model's files are not on this
                machine, or are broken; or the memory or the disk that is free does not suffice, and the error says what
                is needed and what would fit.
            UntrustedModel: In a local workspace: the model's weights are a pickle.
            MissingDependency: In a local workspace: a package of the extra ``[local]`` is not installed.
            QuotaExceeded: A cluster was to be created, and the quota does not allow it.
            NameTaken: The name that ``named()`` set belongs to another job.
        """
        from phi_finetune._submission import submit

        return submit(self, self._handle(), again=again)

    def required_computes(self) -> StepComputes:
        """The computes.

        Raises:
            ConfigurationError: ``on()`` was not called.
        """
        if self.computes is not None:
            return self.computes
        raise ConfigurationError(
            "The fine-tune does not say where it runs",
            resource=f"fine-tune of {self.model.name}",
            next_call='.on(ws.gpu_compute("gpu-cluster", size="Standard_NC24ads_A100_v4"))',
        )

    def _handle(self) -> Client:
        from phi_finetune._azure.client import attached

        return attached(self._client, "fine-tune")

    def _plain_computes(self) -> dict[str, str]:
        return {
            step: f"serverless {compute.size}" if compute.is_serverless else compute.name
            for step, compute in self.required_computes().by_step().items()
        }


def _said_elsewhere(name: str) -> str | None:
    """The call that says what this parameter says; None for one that is the user's to set."""
    if name in ("mlflow_model_path", "pytorch_model_path", "huggingface_id"):
        return "choose the model: ws.foundation_model(name).finetune(data)"
    if name.endswith(("_file_path", "_mltable_path")):
        return "choose the data: model.finetune(data)"
    if name.startswith(("compute_", "instance_type_")):
        return "choose the computes: finetune.on(compute, model_import=, preprocess=, evaluation=)"
    return None


def file_digest(path: str | os.PathLike[str]) -> tuple[str, int]:
    """The SHA-256 of a file in hexadecimal, and its size in bytes.

    Raises:
        InvalidParameter: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InvalidParameter(
            f"The file {Path(path).name} cannot be read",
            resource=f"file {Path(path).name}",
            why=error.strerror,
            name="path",
            value=str(path),
            allowed="a file that can be read, or an azureml:// address",
        ) from None


def is_address(value: object) -> bool:
    """Whether a file parameter's value is an address rather than a path on this machine."""
    return (
        isinstance(value, str) and re.match(r"[a-z]+:", value) is not None and not Path(value).is_absolute()
    )


def _plain(key: str, value: object) -> object:
    """A parameter's value as the intent holds it: what means the same is written the same (1 and 1.0, True)."""
    if key in FILES and not is_address(value) and isinstance(value, (str, os.PathLike)):
        return f"sha256:{file_digest(value)[0]}"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    kind = str(ParameterValues.__annotations__.get(key))
    if "'bool'" in kind and isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return float(value) if "'float'" in kind else int(value) if value == int(value) else value
