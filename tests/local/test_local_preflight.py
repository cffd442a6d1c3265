"""What cannot be trained on this machine is refused by ``ensure``, ``plan`` and ``submit``, before anything is sent."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pipelines
import pytest

import phi_finetune as pf
from phi_finetune.errors import (
    ConfigurationError,
    InvalidData,
    InvalidParameter,
    MissingDependency,
    PhiFinetuneError,
    UntrustedModel,
)
from phi_finetune.local import add_model
from phi_finetune.local.hardware import processor
from phi_finetune.local.light_tokenizer import LightTokenizer
from phi_finetune.local.model import load_tokenizer
from phi_finetune.local.preprocess import Counts, encode
from phi_finetune.local.templates import form_of

LIMIT_S = 2.0
"""How long a refusal may take; it takes about a tenth."""
HERE = "this-machine"


@pytest.fixture
def phi(random_phi: Path, tmp_path: Path) -> Path:
    """A copy of the random model, to be broken."""
    return Path(shutil.copytree(random_phi, tmp_path / "phi"))


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[pf.Workspace]:
    """A workspace whose jobs would really run; none may have been submitted at the end."""
    workspace = pf.Workspace.local(tmp_path / "runs")
    yield workspace
    assert workspace.jobs() == ()
    assert not [*(tmp_path / "runs").glob("jobs/*")]


def change(file: Path, **values: object) -> None:
    """Change what a JSON file says."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def added(ws: pf.Workspace, folder: Path) -> pf.FoundationModel:
    """A model of the machine."""
    return add_model(ws, folder, name="tiny-phi")


def tune(model: pf.FoundationModel, data: pf.ChatDataset | None = None, **values: object) -> pf.Finetune:
    """A fine-tune on this machine, not submitted."""
    rows = data or pf.ChatDataset.from_records(pipelines.conversations(24), name="facts")
    wanted: pf.ParameterValues = {"apply_lora": True, **values}  # type: ignore[typeddict-item]
    return model.finetune(rows).on(pf.GpuCompute.serverless(HERE)).with_parameters(**wanted)


def refused(call: Callable[[], object], kind: type[PhiFinetuneError], words: str) -> PhiFinetuneError:
    """The error of a call that is refused soon."""
    started = time.monotonic()
    with pytest.raises(kind, match=words) as caught:
        call()
    assert time.monotonic() - started < LIMIT_S
    return caught.value


def pretend(model: Path, weights: int) -> None:
    """Let a model say that it has so many weights, which are a hole in its file."""
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [weights], "data_offsets": [0, 4 * weights]}}
    ).encode()
    file = model / "model.safetensors"
    file.unlink()
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(header)) + header)
        opened.truncate(8 + len(header) + 4 * weights)


def not_known(phi: Path) -> None:
    """An architecture that is not trained here."""
    change(phi / "config.json", model_type="gpt2")


def pickled(phi: Path) -> None:
    """Weights in a pickle alone."""
    (phi / "model.safetensors").unlink()
    (phi / "pytorch_model.bin").write_bytes(b"\x80\x04N.")


def without_template(phi: Path) -> None:
    """No chat template."""
    (phi / "chat_template.jinja").unlink(missing_ok=True)
    change(phi / "tokenizer_config.json", chat_template=None)


def without_end(phi: Path) -> None:
    """A chat template whose turns do not end."""
    without_template(phi)
    (phi / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }} {% endfor %}")


def broken_template(phi: Path) -> None:
    """A chat template that is none."""
    without_template(phi)
    (phi / "chat_template.jinja").write_text("{% for m in messages %}")


def without_tokenizer(phi: Path) -> None:
    """No tokenizer."""
    (phi / "tokenizer.json").unlink()


def without_weights(phi: Path) -> None:
    """No weights."""
    (phi / "model.safetensors").unlink()


def too_large(phi: Path) -> None:
    """More weights than any machine has memory for."""
    pretend(phi, 10**12)


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (not_known, InvalidParameter, "gpt2"),
        (pickled, UntrustedModel, "pickle"),
        (without_template, InvalidParameter, "it has none"),
        (without_end, InvalidParameter, "no special token"),
        (broken_template, InvalidParameter, "not one for jinja2"),
        (without_tokenizer, ConfigurationError, "no tokenizer.json"),
        (without_weights, ConfigurationError, "no weights"),
        (too_large, ConfigurationError, "does not fit into the memory"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(
    ws: pf.Workspace,
    phi: Path,
    spoil: Callable[[Path], None],
    kind: type[PhiFinetuneError],
    words: str,
) -> None:
    """By the compute, and by the fine-tune."""
    spoil(phi)
    model = added(ws, phi)
    cluster = ws.gpu_compute("here", size=HERE)
    refused(lambda: cluster.ensure(model), kind, words)
    refused(lambda: ws.gpu_compute("a-name", size="Standard_NC24ads_A100_v4").ensure(model), kind, words)
    refused(tune(model).plan, kind, words)
    refused(tune(model).submit, kind, words)
    with pytest.raises(pf.errors.NotFound):
        cluster.refresh()


def test_a_model_that_is_not_here_is_refused(ws: pf.Workspace, phi: Path) -> None:
    """One of the registry has no weights here; one that was added may have gone since."""
    error = refused(tune(ws.foundation_model("Phi-4")).submit, ConfigurationError, "not on this machine")
    assert error.next_call is not None
    assert "add_model" in error.next_call
    (phi / "note.txt").write_text("with it")
    model = added(ws, phi)
    (phi / "note.txt").unlink()
    refused(tune(model).submit, ConfigurationError, "lacks note.txt")
    shutil.rmtree(phi)
    refused(lambda: ws.gpu_compute("here", size=HERE).ensure(model), ConfigurationError, "no such folder")


def test_a_parameter_is_refused_and_never_ignored(ws: pf.Workspace, random_phi: Path) -> None:
    """With the reason."""
    model = added(ws, random_phi)
    for values, words in (
        ({"trust_remote_code": True}, "no code that comes with a model"),
        ({"apply_ort": True}, "not maintained"),
        ({"max_seq_length": 513}, "longer than the model's context"),
    ):
        refused(tune(model, **values).plan, InvalidParameter, words)
        refused(tune(model, **values).submit, InvalidParameter, words)


def test_data_without_an_answer_is_refused(ws: pf.Workspace, random_phi: Path) -> None:
    """Whether there is none, or the cut leaves none."""
    model = added(ws, random_phi)
    question = {"messages": [{"role": "user", "content": "What now?"}, {"role": "user", "content": "And?"}]}
    silent = pf.ChatDataset.from_records([question] * 24, name="questions")
    refused(tune(model, silent).submit, InvalidData, "no-assistant-turn|assistant")
    error = refused(tune(model, max_seq_length=4).submit, InvalidData, "No row has an answer")
    assert isinstance(error, InvalidData)
    assert (error.rule, error.next_call) == ("no-assistant", "raise max_seq_length")


def test_memory_that_does_not_suffice_is_told_with_what_would(ws: pf.Workspace, phi: Path) -> None:
    """All weights would take 1.6 times the memory that is free, and adapters 0.4."""
    pretend(phi, processor().memory_bytes // 10)
    model = added(ws, phi)
    ws.gpu_compute("here", size=HERE).ensure(model)
    wanted = tune(model, apply_lora=False, per_device_train_batch_size=4, precision=32)
    for call in (wanted.plan, wanted.submit):
        error = refused(call, ConfigurationError, "does not fit into the memory of this machine")
        assert error.next_call is not None
        assert "gradients" in str(error)
        advised = eval(f"wanted{error.next_call}", {"wanted": wanted})  # noqa: S307 - it says that it is code
        assert advised.plan().memory is not None
        assert advised.parameters["apply_lora"]
        assert advised.parameters["per_device_train_batch_size"] == 1
        assert advised.parameters["gradient_accumulation_steps"] == 4


def test_a_disk_that_is_too_full_is_told(ws: pf.Workspace, phi: Path, tmp_path: Path) -> None:
    """In numbers; the job's copy of the model would have everything that lies in its folder."""
    with (phi / "more.txt").open("wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free)
    error = refused(tune(added(ws, phi)).submit, ConfigurationError, "does not fit onto the disk")
    assert "the copy of the model" in str(error.why)


def test_a_package_that_is_missing_is_named(
    ws: pf.Workspace, random_phi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra that brings it."""
    model = added(ws, random_phi)
    for name in ("torch", "peft"):
        monkeypatch.setitem(sys.modules, name, None)
        for call in (tune(model).submit, lambda: ws.gpu_compute("here", size=HERE).ensure(model)):
            error = refused(call, MissingDependency, name)
            assert error.next_call == 'pip install "phi-finetune[local]"'


def test_the_plan_says_what_memory_it_takes(ws: pf.Workspace, random_phi: Path) -> None:
    """And takes longer rows, and all weights, to be more."""
    model = added(ws, random_phi)
    started = time.monotonic()
    plan = tune(model).plan()
    assert time.monotonic() - started < LIMIT_S
    assert plan.memory is not None
    assert f"memory      about {plan.memory}" in plan.explain().splitlines()
    full = tune(model, apply_lora=False).plan().memory
    short = tune(model, max_seq_length=40).plan().memory
    padded = tune(model, pad_to_max_length=True).plan().memory
    assert full is not None
    assert short is not None
    assert padded is not None
    assert full.optimizer > plan.memory.optimizer
    assert short.activations < plan.memory.activations < padded.activations


def test_the_estimate_is_that_of_the_longest_row(ws: pf.Workspace, random_phi: Path) -> None:
    """As the model's own tokenizer, loaded by transformers, counts it."""
    rows = pf.ChatDataset.from_records(pipelines.conversations(24), name="facts")
    tokenizer = load_tokenizer(random_phi)
    form = form_of(tokenizer)
    own, light = Counts(), Counts()
    (found,) = [LightTokenizer.find(random_phi)]
    assert found is not None
    told = list(encode(list(rows.rows()), tokenizer, form, 512, own))
    assert list(encode(list(rows.rows()), found, form_of(found), 512, light)) == told
    assert light == own
    assert form_of(found).end_of_turn_id == form.end_of_turn_id


def test_nothing_is_warned_of_that_is_so_on_azure_alone(ws: pf.Workspace, random_phi: Path) -> None:
    """This machine evaluates on the test split, and computes activations anew where the memory is scarce."""
    rows = pf.ChatDataset.from_records(pipelines.conversations(40), name="facts").split(
        validation=0.2, test=0.2
    )
    assert tune(added(ws, random_phi), rows, apply_lora=True).plan().warnings == ()


def test_the_plan_says_what_this_machine_makes_of_a_parameter(ws: pf.Workspace, random_phi: Path) -> None:
    """Of one that was given, where it is not what it says."""
    given = {"apply_lora": False, "lora_r": 4, "eval_accumulation_steps": 2}
    assert tune(added(ws, random_phi), **given).plan().warnings == (
        "lora_r does nothing: apply_lora is off",
        "eval_accumulation_steps: evaluation holds sums only, so there is nothing to move",
    )


def test_general_chats_that_are_none_are_refused(ws: pf.Workspace, phi: Path) -> None:
    """As the model is added, long before they are measured; and so is a file without any."""
    for data, why in ((b'{"messages": "hello"}\n', "messages"), (b"\xff\n", "not-utf-8"), (b"", "no rows")):
        (phi / "general_chats.jsonl").write_bytes(data)
        refused(lambda: added(ws, phi), InvalidData, why)


def test_a_caller_loads_no_torch(random_phi: Path, tmp_path: Path) -> None:
    """Which would take ten seconds."""
    import subprocess

    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import pipelines, phi_finetune as pf
from phi_finetune.local import add_model
ws = pf.Workspace.local({str(tmp_path / "runs")!r})
data = pf.ChatDataset.from_records(pipelines.conversations(24), name="facts")
model = add_model(ws, {str(random_phi)!r}, name="tiny-phi")
model.finetune(data).on(ws.gpu_compute("here", size="this-machine").ensure(model)).plan()
print([name for name in ("torch", "transformers", "peft", "mlflow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
