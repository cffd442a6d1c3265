from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from architecture import library
from hypothesis import given
from hypothesis import strategies as st
from tuning import Heard, trained

from phi_finetune._mlmodel import NotUnderstood, Setting, read_mlmodel
from phi_finetune._pickles import read_pickles
from phi_finetune._safetensors import BrokenHeader, Tensor, read_header
from phi_finetune.errors import InvalidParameter, UntrustedModel
from phi_finetune.events import Warned
from phi_finetune.model_files import ModelReport, inspect
from phi_finetune.testing import FakeAzure

MLMODEL = """\
artifact_path: mlflow_model_folder
flavors:
  python_function:
    config: null
    data: data
    env: conda.yaml
    loader_module: mlflow.transformers
    python_version: 3.10.14
  transformers:
    code: null
    components:
    - tokenizer
    framework: pt
metadata:
  base_model_name: Phi-4-mini-instruct
  note: a text that is so long that it goes on
    in the next line, indented
run_id: tune
signature:
  inputs: '[{"type": "string", "name": "it''s",
    "required": true}]'
  outputs: "[{\\"type\\": \\"string\\"},\\
    \\ 1]"
  params: null
"""


class Payload:
    """Makes a marker file where it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.marker),)


def tensors(header: object = None, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    """A safetensors file."""
    if header is None:
        header = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def torch_file(marker: Path) -> bytes:
    """A file as PyTorch writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("archive/data.pkl", pickle.dumps(Payload(marker), protocol=2))
        packed.writestr("archive/data/0", b"\0" * 8)
    return file.getvalue()


def old_torch_file(marker: Path) -> bytes:
    """A file as PyTorch wrote it before 1.6: several pickles, then the tensors."""
    parts = [pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {}, Payload(marker))]
    return b"".join(parts) + b"\0" * 8


def written(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """A model's folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def crafted(marker: Path) -> dict[str, tuple[str, str, bytes | str]]:
    """Models that run something when they are loaded: for each the file, the kind of finding, and the content."""
    evil = MLMODEL.replace("mlflow.transformers", "evil.loader")
    return {
        "pickle": ("model.pkl", "pickle", pickle.dumps(Payload(marker))),
        "old pickle": ("model.pkl", "pickle", pickle.dumps(Payload(marker), protocol=0)),
        "pickle under another name": ("notes.txt", "pickle", pickle.dumps(Payload(marker))),
        "torch": ("pytorch_model.bin", "pickle", torch_file(marker)),
        "torch under another name": ("weights.dat", "pickle", torch_file(marker)),
        "old torch": ("training_args.bin", "pickle", old_torch_file(marker)),
        "array of objects": ("a.npy", "pickle", b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False}"),
        "unreadable pickle": ("model.pt", "pickle", b"\x80\x04garbage"),
        "loader": ("MLmodel", "code", evil),
        "code path": ("MLmodel", "code", MLMODEL.replace("code: null", "code: code")),
        "code that is the model": (
            "MLmodel",
            "code",
            MLMODEL.replace("    config: null", "    model_code_path: evil"),
        ),
        "braces": ("MLmodel", "unread", '{"flavors": {"python_function": {"loader_module": "evil"}}}'),
        "auto_map": ("config.json", "code", json.dumps({"auto_map": {"AutoModel": "evil.Model"}})),
        "python": ("code/evil.py", "code", "import os"),
        "program": ("data/helper", "code", b"\x7fELF\x02"),
        "array of objects, quoted otherwise": (
            "a.npy",
            "pickle",
            b'\x93NUMPY\x01\0v\0{"descr": "|O", "shape": ()}',
        ),
        "array of objects by another name": ("a.npy", "pickle", b"\x93NUMPY\x01\0v\0{'descr': 'object'}"),
        "packed by joblib": ("model.joblib", "unread", zlib.compress(b"\x80\x04}.")),
        "packed": ("model.joblib", "unread", b"\x1f\x8b\x08"),
        "zip": ("data.zip", "unread", b"PK\x05\x06" + b"\0" * 18),
        "broken zip": ("pytorch_model.bin", "unread", b"PK\x03\x04"),
        "keras": ("model.h5", "unread", b"\x89HDF\r\n\x1a\n"),
        "tensors": ("model.safetensors", "broken", tensors(length=2**40)),
        "config": ("tokenizer_config.json", "broken", "[" * 100_000),
    }


CRAFTED = sorted(crafted(Path("marker")))


# A report


def test_a_model_of_tensors_is_safe(tmp_path: Path) -> None:
    """Nothing is found in what MLflow and transformers write, when they write safetensors."""
    files = {
        "MLmodel": MLMODEL,
        "conda.yaml": "channels:\n- conda-forge\n",
        "data/model/model-00001-of-00001.safetensors": tensors(),
        "data/model/config.json": json.dumps({"model_type": "phi3", "auto_map": {}}),
        "data/tokenizer/tokenizer.json": "{}",
        "data/model/spiece.model": b"\x0a\x0e",
        "model.onnx": b"\x08\x07",
        "small.gguf": b"GGUF\x03",
        "other.bin": b'{"no": "pickle"}',
        "empty.bin": b"",
        "a.npy": b"\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False}",
    }
    report = inspect(written(tmp_path, files))
    assert report == ModelReport(("gguf", "mlflow", "numpy", "onnx", "safetensors"), ())
    assert report.safe
    assert report.check() is report
    assert report.describe() == "nothing was found"


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_model_is_reported(tmp_path: Path, name: str) -> None:
    """With the file and the kind of reason, and it passes only where its maker is said to be trusted."""
    file, kind, content = crafted(tmp_path / "marker")[name]
    report = inspect(written(tmp_path / "model", {file: content, "model-2.safetensors": tensors()}))
    assert [(finding.file, finding.kind) for finding in report.findings] == [(file, kind)]
    with pytest.raises(UntrustedModel) as caught:
        report.check()
    assert caught.value.findings == (f"{file}: {report.findings[0].why}",)
    assert file in str(caught.value)
    assert "trust=True" in str(caught.value)
    assert report.check(trust=True) is report


@pytest.mark.parametrize("name", ["pickle", "old pickle", "pickle under another name", "torch", "old torch"])
def test_what_a_pickle_would_import_is_named(tmp_path: Path, name: str) -> None:
    """Read off its operations."""
    file, _, content = crafted(tmp_path / "marker")[name]
    (finding,) = inspect(written(tmp_path / "model", {file: content})).findings
    assert "pathlib.PosixPath" in finding.why


def test_nothing_is_run_to_look(tmp_path: Path) -> None:
    """In a Python where loading a pickle, and starting or compiling anything, ends in an error."""
    marker = tmp_path / "marker"
    for number, (file, _, content) in enumerate(crafted(marker).values()):
        written(tmp_path / "models" / str(number), {file: content})
    code = """
import sys
from pathlib import Path
from phi_finetune import model_files
import encodings.cp437, encodings.raw_unicode_escape, encodings.unicode_escape, json, pickletools, zipfile

def refuse(event, arguments):
    if event.startswith(("pickle.", "os.system", "subprocess.", "os.exec", "exec", "compile", "marshal.")):
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(refuse)
for folder in Path(sys.argv[1]).iterdir():
    assert not model_files.inspect(folder).safe
"""
    command = [sys.executable, "-c", code, str(tmp_path / "models")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
    with pytest.raises(SystemExit):
        pickle.loads(pickle.dumps(Quits()))
    pickle.loads(crafted(marker)["pickle"][2])  # type: ignore[arg-type]
    assert marker.exists()


class Quits:
    """Ends the process where it is loaded."""

    def __reduce__(self) -> Any:
        return sys.exit, ()


def test_the_library_loads_no_pickle_and_no_yaml() -> None:
    """No module imports what could run a file's content."""
    banned = ("cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml")
    assert [
        f"{module.name} imports {one.name}"
        for module in library()
        for one in module.imports
        if one.root in banned
    ] == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither to a file nor to a folder, nor a pipe, which would never end."""
    written(tmp_path / "elsewhere", {"model.pkl": pickle.dumps(1)})
    folder = written(tmp_path / "model", {"model.safetensors": tensors()})
    (folder / "file").symlink_to(tmp_path / "elsewhere" / "model.pkl")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    (folder / "none").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe")
    found = inspect(folder).findings
    assert [(one.file, one.kind) for one in found] == [
        (name, "link") for name in ("file", "folder", "none", "pipe")
    ]


def test_many_findings_are_told_in_short(tmp_path: Path) -> None:
    """The error's attribute has all of them, its text the first few."""
    report = inspect(written(tmp_path, {f"{number}.py": "" for number in range(9)}))
    assert report.describe().endswith("; and 1 more")
    with pytest.raises(UntrustedModel) as caught:
        report.check()
    assert len(caught.value.findings) == 9


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_folder_that_is_none_is_told(tmp_path: Path, name: str) -> None:
    """As a wrong argument."""
    written(tmp_path, {"file": b""})
    with pytest.raises(InvalidParameter, match="no such folder") as caught:
        inspect(tmp_path / name)
    assert caught.value.name == "folder"


# Downloads


def test_a_download_says_what_would_run(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """The files are there, unloaded, and a warning tells of them; none where the maker is trusted."""
    heard = Heard()
    model = trained(fake_azure, fake_azure.workspace(on_event=heard))
    model.download(tmp_path / "plain")
    assert heard.of(Warned) == []
    fake_azure.cloud.storage.put(
        "azureml/tune/trained_model/data/model.pkl", pickle.dumps(Payload(tmp_path / "marker"))
    )
    model.download(tmp_path / "trusted", trust=True)
    assert heard.of(Warned) == []
    folder = model.download(tmp_path / "warned")
    (warned,) = heard.of(Warned)
    assert warned.resource == model.resource
    assert "data/model.pkl: it is loaded as a pickle" in warned.message
    assert "trust=True" in warned.message
    assert (folder / "data" / "model.pkl").is_file()
    assert not (tmp_path / "marker").exists()


def test_a_model_of_the_light_fakes_is_safe(tmp_path: Path) -> None:
    """So that a test hears no warning."""
    from phi_finetune.testing import fake_model

    assert inspect(fake_model().download(tmp_path)).safe


# Headers of safetensors


def test_a_header_is_read(tmp_path: Path) -> None:
    """Names, kinds, shapes and places of the tensors, whatever their order in the file."""
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [4, 12]},
        "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        "none": {"dtype": "F32", "shape": [0, 7], "data_offsets": [4, 4]},
    }
    path = written(tmp_path, {"m": tensors(header, b"\0" * 12)}) / "m"
    assert read_header(path) == {
        "b": Tensor("BF16", (2, 2), 4, 12),
        "a": Tensor("F32", (), 0, 4),
        "none": Tensor("F32", (0, 7), 4, 4),
    }


def one(**changes: object) -> dict[str, Any]:
    """A header with one tensor of 8 bytes."""
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "longer than the file"),
        (b"\x02\0\0", "longer than the file"),
        (tensors(length=2**63), "longer than the file"),
        (tensors(b"{" + b" " * (16 * 1024 * 1024) + b"}", b""), "at most are read"),
        (tensors(b"[]"), "no JSON object"),
        (tensors(b' {"w": 1}'), "no JSON object"),
        (tensors(b"{" * 200_000), "no JSON object"),
        (tensors(b'{"a":{},"a":{}}'), "a name twice"),
        (tensors({"w": 1}), "as a tensor"),
        (tensors(one(more=1)), "as a tensor"),
        (tensors(one(dtype="F33")), "do not fit"),
        (tensors(one(dtype=["F32"])), "do not fit"),
        (tensors(one(shape=[3])), "do not fit"),
        (tensors(one(shape=[-2])), "do not fit"),
        (tensors(one(shape=[2.0])), "do not fit"),
        (tensors(one(shape=[True, 2])), "do not fit"),
        (tensors(one(shape=[2**64])), "do not fit"),
        (tensors(one(shape=[1] * 1000 + [2])), "do not fit"),
        (tensors(one(data_offsets=[0])), "do not fit"),
        (tensors(one(data_offsets=[8, 0], shape=[-2])), "do not fit"),
        (tensors(one(data_offsets=[8, 16])), "outside the file"),
        (tensors(one(), b"\0" * 9), "bytes between"),
        (tensors(one(), b"\0" * 7), "outside the file"),
        (tensors({**one(), "v": one()["w"]}), "overlap"),
        (tensors({"__metadata__": {"a": 1}, **one()}), "metadata"),
        (tensors({"__metadata__": [], **one()}), "metadata"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    """Whatever does not hold together is not a model's."""
    path = written(tmp_path, {"m": content}) / "m"
    with pytest.raises(BrokenHeader, match=why):
        read_header(path)


# Pickles


@given(data=st.binary(max_size=60))
def test_any_bytes_can_be_read_as_a_pickle(data: bytes) -> None:
    """Whatever they are, nothing but a report comes of it."""
    read_pickles(b"\x80\x04" + data)


@pytest.mark.parametrize("protocol", range(6))
def test_imports_are_read_in_every_protocol(protocol: int) -> None:
    """Each way of naming a global is seen."""
    content = read_pickles(pickle.dumps([Path("x"), json.JSONDecodeError, sys.exit], protocol=protocol))
    assert content.whole
    assert {"json.decoder.JSONDecodeError", "sys.exit", "pathlib.PosixPath"} <= set(content.imports)


def test_a_name_that_is_made_up_is_not_guessed() -> None:
    """Texts that come by way of other operations are named as what they are."""
    content = read_pickles(b"\x80\x04\x8c\x02os\x8c\x06system00\x8c\x01a\x8c\x01bN0\x93.")
    assert content.imports == ("(a name that it makes up as it runs)",)


def test_an_endless_pickle_is_left(tmp_path: Path) -> None:
    """After so many operations; what was seen is told."""
    content = read_pickles(b"\x80\x04cos\nsystem\n" + b"N0" * 1_000_000 + b".")
    assert content.imports == ("os.system",)
    assert not content.whole


# MLmodel


def test_an_mlmodel_is_read() -> None:
    """Values by their path, those of several lines by their first."""
    settings = {".".join(one.path): one.value for one in read_mlmodel(MLMODEL)}
    assert settings["flavors.python_function.loader_module"] == "mlflow.transformers"
    assert settings["flavors.transformers.code"] == "null"
    assert settings["run_id"] == "tune"
    assert settings["signature.params"] == "null"
    assert "in the next line, indented" not in settings


@pytest.mark.parametrize(
    "text",
    [
        "flavors: &a\n  python_function:\n    loader_module: evil\n",
        "flavors: !!map\n  python_function:\n    loader_module: evil\n",
        "flavors: # x\n  python_function:\n    loader_module: evil\n",
        'flavors:\n  python_function:\n    "loader_module": evil\n',
        "flavors:\n  python_function:\n    ? loader_module\n    : evil\n",
        "flavors:\n  python_function: {loader_module: evil}\n",
        "flavors:\n  python_function: *a\n",
        "flavors:\n  <<: *a\n",
        "flavors:\n\tpython_function:\n",
        "flavors:\u2028  python_function:\n",
        "---\nflavors: {}\n",
        "{}\n",
        "a: 'x' y\n",
        "a: 'x\n",
        'a: "x\\"\n',
        "".join(f"{'  ' * depth}a:\n" for depth in range(30)),
        "a: " + "x" * 2_000_000,
        "a" + " " * 900_000 + "b\n",
    ],
)
def test_what_mlflow_does_not_write_is_not_understood(text: str) -> None:
    """There is no second way of saying something, which this reader would not see."""
    with pytest.raises(NotUnderstood):
        read_mlmodel(text)


@pytest.mark.parametrize(
    "text",
    [
        "flavors:\n  python_function:\n    loader_module: evil\n",
        "flavors:\r\n  python_function:\r\n    loader_module: evil\r\n",
        "# note\n\nflavors:\n\n  # note\n  python_function:\n    loader_module: evil\n",
        "a: 'flavors:\n\n  x: ''y'' '\nflavors:\n  python_function:\n    loader_module: evil\n",
        "a: |\n  flavors: {}\n\n  b: c\nflavors:\n  python_function:\n    loader_module: evil\n",
        "flavors:\n  python_function:\n    env:\n    - a: b\n      c: d\n    - e\n    loader_module : evil\n",
        "flavors:\n  python_function:\n    a: b\n      c d\n    loader_module: evil\n",
    ],
)
def test_a_loader_is_found_wherever_it_stands(text: str) -> None:
    """In every form that a loader of YAML reads in the same way."""
    assert Setting(("flavors", "python_function", "loader_module"), "evil") in read_mlmodel(text)


texts = st.text(alphabet="ab:#'\"\\ \n-{}&é", max_size=90)


@given(
    value=st.recursive(
        st.one_of(texts, st.none(), st.integers()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["a", "b_c", "d.e"]), inner, max_size=3),
        ),
        max_leaves=6,
    )
)
def test_what_safe_dump_writes_hides_no_loader(value: object) -> None:
    """Beside anything that PyYAML writes the loader is found, or the file is not understood."""
    yaml = pytest.importorskip("yaml")
    model = {"a": value, "flavors": {"python_function": {"a": value, "loader_module": "evil.x", "z": value}}}
    written = yaml.safe_dump(model, default_flow_style=False)
    try:
        settings = read_mlmodel(written)
    except NotUnderstood:
        return
    assert Setting(("flavors", "python_function", "loader_module"), "evil.x") in settings
