"""The simulated runner: a fine-tune in which only the statistics are real.

The rows that were uploaded are checked as the service checks them, an n-gram model is fitted to them, its
measured cross-entropy is logged as the loss, and the endpoint answers from it. Every log and every model says
that it is simulated. Durations are made up; they grow with the rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from phi_finetune.emulator.runners.chat_rows import ChatRows, DataRefused, prepare
from phi_finetune.emulator.runners.ngram import NgramModel
from phi_finetune.emulator.runners.replies import BadRequest, read_request
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Reply, Run, Step
from phi_finetune.emulator.runners.simulated_files import find_model, mlflow_folder, pytorch_folder
from phi_finetune.emulator.runners.training import Curve, train
from phi_finetune.emulator.runners.training_log import NOTICE, Timing, training_log, training_metrics
from phi_finetune.emulator.runners.training_settings import TrainingSettings, refusal

__all__ = ["SimulatedRunner"]

_MINUTES = {"chat_completion_model_import": 4.0, "ft_nlp_model_converter": 3.0}
_PREPROCESSING = timedelta(minutes=1)
_PREPROCESSING_ROW = timedelta(milliseconds=20)
_FIRST_TOKEN = timedelta(milliseconds=250)
_NEXT_TOKEN = timedelta(milliseconds=25)
_LOADED_MODELS = 8
"""How many models are held ready: reading one from its file takes longer than answering."""


class SimulatedRunner:
    """Runs jobs by fitting an n-gram model to their rows, and answers from what it fitted."""

    def __init__(self) -> None:
        self._loaded: dict[bytes, NgramModel] = {}

    def run(self, job: JobInputs) -> Run:
        """Run a job's steps up to the first that fails."""
        simulation = _Simulation(job)
        steps: list[Step] = []
        for name in job.steps:
            steps.append(simulation.step(name))
            if steps[-1].failure is not None:
                return Run(steps, {})
        data = simulation.model.to_bytes()
        self._keep(data, simulation.model)
        outputs = {
            "mlflow_model_folder": mlflow_folder(job, data),
            "pytorch_model_folder": pytorch_folder(job, data),
        }
        return Run(steps, outputs)

    def reply(self, model: Mapping[str, bytes], body: Any) -> Reply:
        """Answer a scoring request in the form in which it was asked.

        A malformed request is answered with 400, and one to a model that no simulated job made with 500. A
        registry's own model, which has no files here, answers as an untrained one.
        """
        try:
            loaded = self._model(model)
        except ValueError as error:
            return Reply(500, {"error": str(error)}, f"{NOTICE}\nERROR cannot load the model: {error}")
        try:
            request = read_request(body)
            completion = loaded.reply(
                request.messages,
                max_new_tokens=request.max_new_tokens,
                temperature=request.temperature,
                top_p=request.top_p,
                do_sample=request.do_sample,
                seed=request.seed,
            )
        except (BadRequest, ValueError) as error:
            return Reply(400, {"error": str(error)}, f"{NOTICE}\nERROR bad request: {error}")
        return Reply(
            200,
            request.body(completion),
            f"{NOTICE}\nINFO answered {completion.prompt_tokens} tokens with {completion.completion_tokens}",
            _FIRST_TOKEN + completion.completion_tokens * _NEXT_TOKEN,
        )

    def _model(self, files: Mapping[str, bytes]) -> NgramModel:
        if not files:
            return NgramModel()
        data = find_model(files)
        if data not in self._loaded:
            self._keep(data, NgramModel.from_bytes(data))
        return self._loaded[data]

    def _keep(self, data: bytes, model: NgramModel) -> None:
        if len(self._loaded) >= _LOADED_MODELS:
            self._loaded.pop(next(iter(self._loaded)))
        self._loaded[data] = model


class _Simulation:
    """One job under way: what its steps hand on to each other."""

    def __init__(self, job: JobInputs) -> None:
        self._job = job
        self._settings = TrainingSettings(job.values)
        self._rows = ChatRows()
        self.model = NgramModel()

    def step(self, name: str) -> Step:
        """Run a step."""
        # A table of these methods on the object would keep it, and its model, in a cycle until it is collected.
        match name:
            case "chat_completion_model_import":
                return self._import(name)
            case "chat_completion_datapreprocess":
                return self._preprocess(name)
            case "chat_completion_finetune":
                return self._finetune(name)
            case _:
                return self._plain(name)

    def _import(self, name: str) -> Step:
        try:
            if self._job.model:
                self.model = NgramModel.from_bytes(find_model(self._job.model))
        except ValueError as error:
            return _broken(name, timedelta(minutes=1), str(error))
        return self._plain(name)

    def _plain(self, name: str) -> Step:
        lasts = timedelta(minutes=_MINUTES.get(name, 1.0))
        return Step(name, lasts, [(timedelta(0), NOTICE), (lasts, f"{name} is done.")])

    def _preprocess(self, name: str) -> Step:
        lines = sum(data.count(b"\n") for data in self._job.files.values())
        lasts = _PREPROCESSING + lines * _PREPROCESSING_ROW
        try:
            self._rows = prepare(self._job.files, self._settings.whole("max_seq_length"))
        except DataRefused as error:
            return _broken(name, lasts, str(error))
        log = [NOTICE, *self._rows.log]
        return Step(name, lasts, [(timedelta(0), log[0]), *((lasts, line) for line in log[1:])])

    def _finetune(self, name: str) -> Step:
        reason = refusal(self._settings)
        if reason is not None:
            return _broken(name, timedelta(minutes=2), reason)
        try:
            curve = self._train()
        except ValueError as error:
            return _broken(name, timedelta(minutes=2), str(error))
        timing = Timing(self._settings, curve, len(self._rows.train), len(self._rows.validation))
        return Step(
            name,
            timing.lasts,
            training_log(timing),
            training_metrics(timing),
            self._settings.params(),
        )

    def _train(self) -> Curve:
        settings, rows = self._settings, self._rows
        return train(
            self.model,
            rows.train,
            rows.validation,
            epochs=settings.whole("num_train_epochs"),
            batch_size=settings.batch_size,
            logging_steps=settings.logging_steps,
            learning_rate=float(settings.values["learning_rate"]),
            scheduler=settings.values["lr_scheduler_type"],
            warmup_steps=settings.whole("warmup_steps"),
            max_steps=settings.whole("max_steps"),
            eval_every=settings.eval_every(math.ceil(len(rows.train) / settings.batch_size)),
        )


def _broken(name: str, lasts: timedelta, message: str) -> Step:
    log = [NOTICE, "Traceback (most recent call last):", f"UserScriptException: {message}"]
    return Step(name, lasts, [(lasts, line) for line in log], failure=Failure("UserError", message))
