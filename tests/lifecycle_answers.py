"""Who answers to the contract of a fine-tune's life (:mod:`lifecycle_rules`), and what each of them cannot do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pipelines
from local_workspaces import SIZE, programs, with_programs

import phi_finetune as pf
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Run, Step
from phi_finetune.emulator.runners.simulated import SimulatedRunner
from phi_finetune.local.models import add_model
from phi_finetune.local.programs import Programs
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer as FaultyAnswer

__all__ = ["ANSWERS", "WITHOUT_TORCH", "Answer", "Life", "RealEngine", "data"]

EPOCHS = 2
"""What the fine-tune that most rules look at is asked for."""
_FAILS, _LASTS = 13, 14
"""Seeds at which training is made to fail, or goes on until it is canceled."""

_NO_NETWORK = "nothing goes over a network that could fail"
_OWN_TIME = "its time is the machine's"


class Answer(ABC):
    """One answer to the contract.

    Attributes:
        title: What the page calls it.
        cannot: Why it does not keep a rule, by the name of the rule; the test of the rule then has to fail.
        fails: Parameters of a job that fails while it trains.
        lasts: Parameters of a job that goes on until it is canceled.
    """

    title: ClassVar[str]
    cannot: ClassVar[Mapping[str, str]] = {}
    fails: ClassVar[pf.ParameterValues] = {"seed": _FAILS}
    lasts: ClassVar[pf.ParameterValues] = {"seed": _LASTS}

    def __init__(self, place: Path) -> None:
        self.place = place

    @abstractmethod
    def connect(self, heard: list[object] | None = None) -> pf.Workspace:
        """A connection of its own; what it hears is kept in the list."""

    def base(self, workspace: pf.Workspace) -> pf.FoundationModel:
        """The model that is tuned."""
        return workspace.foundation_model("Phi-4")

    def tune(self, workspace: pf.Workspace, rows: pf.ChatDataset) -> pf.Finetune:
        """A short fine-tune, not submitted yet."""
        return self.base(workspace).finetune(rows).on(pf.GpuCompute.serverless(SIZE))

    def pass_time(self, workspace: pf.Workspace, time: timedelta) -> None:
        """Let time pass for a connection."""
        raise NotImplementedError(_OWN_TIME)

    def break_a_request(self, path: str) -> None:
        """Let the next request to a path fail."""
        raise NotImplementedError(_NO_NETWORK)

    @contextmanager
    def opened(self) -> Iterator[Answer]:
        """Itself, while it answers."""
        yield self


class _Runner(SimulatedRunner):
    """The simulation, with training that fails at a seed."""

    def run(self, job: JobInputs) -> Run:
        done = super().run(job)
        if job.values.get("seed") != str(_FAILS):
            return done
        before = done.steps[: job.steps.index("chat_completion_finetune")]
        log = [(timedelta(0), "it fails, as it was asked to")]
        failure = Failure("UserError", "The seed is an unlucky number.")
        return Run(
            [*before, Step("chat_completion_finetune", timedelta(minutes=1), log, failure=failure)], {}
        )


class Fake(Answer):
    """``FakeAzure``, in this process."""

    title = "FakeAzure"

    @contextmanager
    def opened(self) -> Iterator[Answer]:
        """Itself, while it answers."""
        with FakeAzure(runner=_Runner()) as self.azure:
            yield self

    def connect(self, heard: list[object] | None = None) -> pf.Workspace:
        """A connection of its own."""
        return self.azure.workspace(on_event=None if heard is None else heard.append)

    def pass_time(self, workspace: pf.Workspace, time: timedelta) -> None:
        """Move its clock."""
        self.azure.clock.advance(time)

    def break_a_request(self, path: str) -> None:
        """Queue a fault."""
        self.azure.faults.next(FaultyAnswer(path, 503))


class Simulated(Answer):
    """A folder whose jobs are made up."""

    title = "folder, simulated"
    cannot: ClassVar[Mapping[str, str]] = {"test_a_request_that_fails_is_sent_again": _NO_NETWORK}

    def connect(self, heard: list[object] | None = None) -> pf.Workspace:
        """Another object on the folder."""
        listen = None if heard is None else heard.append
        return pf.Workspace.local(self.place / "runs", runner=_Runner(), on_event=listen)

    def pass_time(self, workspace: pf.Workspace, time: timedelta) -> None:
        """Wait so long, which takes no time."""
        workspace._handle().clock.sleep(time.total_seconds())


class _InProcesses(Answer):
    """A folder whose jobs and servers are processes."""

    cannot: ClassVar[Mapping[str, str]] = {
        "test_a_request_that_fails_is_sent_again": _NO_NETWORK,
        "test_what_outlived_its_lease_is_swept": _OWN_TIME,
        "test_the_plan_has_a_price": "this machine costs nothing an hour",
    }

    @cached_property
    def doing(self) -> Programs:
        """The programs."""
        return Programs()

    def connect(self, heard: list[object] | None = None) -> pf.Workspace:
        """Another object on the folder."""
        return with_programs(self.place / "runs", self.doing, heard)


class SmallPrograms(_InProcesses):
    """Programs that keep to what is agreed about steps and servers, and learn nothing."""

    title = "folder, small programs"
    cannot: ClassVar[Mapping[str, str]] = {
        **_InProcesses.cannot,
        "test_it_answers_as_its_rows_do": "the small programs learn nothing",
        "test_a_question_may_be_in_the_form_of_openai": "the small server speaks Azure's form alone",
    }

    _STEP = (
        f"if job['values']['seed'] == '{_FAILS}': sys.exit('as it was asked to')",
        f"if job['values']['seed'] == '{_LASTS}': signal.pause()",
        "with open(here / 'metrics.jsonl', 'a') as file:",
        "    row = {'key': 'eval_loss', 'value': 1.5, 'step': 30, 'time': time.time()}",
        "    file.write(json.dumps(row) + chr(10))",
    )

    @cached_property
    def doing(self) -> Programs:
        """The programs."""
        return programs(self.place / "programs", step="\n    ".join(self._STEP))


class RealEngine(_InProcesses):
    """Real training and serving of a tiny model.

    Args:
        place: A folder.
        weights: The tiny model.
    """

    title = "folder, real engine"
    # transformers refuses the rate as it makes the schedule, whose last rate would be higher.
    fails: ClassVar[pf.ParameterValues] = {"lr_scheduler_type": "polynomial", "learning_rate": 1e-8}
    lasts: ClassVar[pf.ParameterValues] = {"max_steps": 10**6}

    def __init__(self, place: Path, weights: Path | None = None) -> None:
        super().__init__(place)
        self._weights = weights

    def base(self, workspace: pf.Workspace) -> pf.FoundationModel:
        """The tiny model, as one of this machine."""
        assert self._weights is not None
        return add_model(workspace, self._weights, name="tiny-phi")

    def tune(self, workspace: pf.Workspace, rows: pf.ChatDataset) -> pf.Finetune:
        """Enough steps to learn the rows by heart."""
        quick: pf.ParameterValues = {
            "apply_lora": False,
            "learning_rate": 2e-3,
            "max_steps": 80,
            "per_device_train_batch_size": 8,
            "logging_steps": 20,
            "evaluation_strategy": "steps",
            "eval_steps": 40,
        }
        return super().tune(workspace, rows).with_parameters(**quick)


WITHOUT_TORCH: tuple[type[Answer], ...] = (Fake, Simulated, SmallPrograms)
ANSWERS: tuple[type[Answer], ...] = (*WITHOUT_TORCH, RealEngine)


def data(name: str = "facts", first: int = 0) -> pf.ChatDataset:
    """A small data set, of other rows from another number on."""
    return pf.ChatDataset.from_records(pipelines.conversations(first + 24)[first:], name=name)


class Life:
    """A fine-tune's life on one answer. Each part is made once, when the first rule asks for it, and then only read.

    Args:
        answer: The answer, open.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.heard: list[object] = []
        self._ends = ExitStack()

    @cached_property
    def workspace(self) -> pf.Workspace:
        """A connection."""
        return self.answer.connect(self.heard)

    @cached_property
    def tune(self) -> pf.Finetune:
        """A fine-tune, as it is submitted."""
        rows = data().split(validation=0.25, seed=1)
        return self.answer.tune(self.workspace, rows).with_parameters(num_train_epochs=EPOCHS)

    @cached_property
    def submitted(self) -> pf.FinetuneJob:
        """Its job, as it was when it had just been submitted."""
        return self.tune.submit()

    @cached_property
    def job(self) -> pf.FinetuneJob:
        """Its job, completed."""
        return self.submitted.wait()

    @cached_property
    def model(self) -> pf.RegisteredModel:
        """Its model."""
        return self.job.register("facts")

    @cached_property
    def endpoint(self) -> pf.Endpoint:
        """Its endpoint, which answers."""
        return self._ends.enter_context(self.model.deploy("answers", instance_type=SIZE))

    def close(self) -> None:
        """Delete the endpoint, if there is one."""
        self._ends.close()
