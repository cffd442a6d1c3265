"""Which module may import which, and how large things may grow.

What ruff can check (docstrings, no print, no blind except, no pickle, no mocks), pyproject.toml asks of ruff.
"""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys

import pytest
from architecture import PACKAGE, Function, Import, Module, library, lines_of_code, parse, under

FILE_LINES = 600
FUNCTION_LINES = 60

OBJECT, TOP = 3, 5
LEVELS = {
    "__version__": 0,
    "errors": 0,
    "events": 0,
    "protocols": 0,
    "_deadlines": 1,
    "_reconcile": 1,
    "_token_cache": 1,
    "_unshown": 1,
    "_waiting": 1,
    "catalog": 1,
    "credentials": 1,
    "retries": 1,
    "_azure": 2,
    "workspace": 4,
    "__main__": TOP,
    "emulator": TOP,
    "local": TOP,
    "testing": TOP,
}
"""How high a part of the library stands. A module that is not named here is an object, or a part of one. What
is no module is one of the public names, and those stand at the top."""

EMULATOR = "phi_finetune.emulator"
DOORS = "phi_finetune.emulator.doors"
LOCAL = "phi_finetune.local"
TESTING = "phi_finetune.testing"
LIGHT_FAKES = "phi_finetune.testing.light"
AZURE = "phi_finetune._azure"

HEAVY = ("azure.ai.ml", "datasets", "matplotlib", "mlflow", "pandas", "pyarrow", "torch", "transformers")
LIGHT = ("attrs", "msgspec", "phi_finetune", "tenacity")
USES_AZURE_IN_FUNCTIONS = ("_token_cache", "credentials", "retries", "testing")
PRESCRIBED_BY_AZURE = ("get_token", "get_token_info")


WAY_IN = ("phi_finetune.workspace", "phi_finetune.local.door.open_local")
"""``Workspace.local`` is how a user comes to the local engine; the function imports it when it is called."""


def part(name: str) -> str:
    """The part of the library that a dotted name is in: ``credentials`` also for ``_credentials_chain``."""
    first = name.partition(".")[2].partition(".")[0]
    noun = first.removeprefix("_").partition("_")[0]
    return noun if first not in LEVELS and noun in LEVELS else first


def level(name: str) -> int:
    """How high a dotted name of the library stands."""
    here = part(name)
    if here in LEVELS:
        return LEVELS[here]
    is_module = here and ((PACKAGE / here).is_dir() or (PACKAGE / f"{here}.py").exists())
    return OBJECT if is_module else TOP


def modules(*packages: str) -> list[Module]:
    """The library's modules in the packages; there are some, or the rule would hold for nothing."""
    found = [module for module in library() if under(module.name, *packages)]
    assert found
    return found


def taken(module: Module, *, at_import: bool = False) -> list[Import]:
    """What a module imports from outside Python's own library."""
    found = [one for one in module.imports if one.root not in sys.stdlib_module_names]
    return [one for one in found if not one.deferred] if at_import else found


def is_the_way_in(module: Module, one: Import) -> bool:
    """Whether an import is the one of the local engine that the workspace may make, in a function."""
    return one.deferred and (module.name, one.name) == WAY_IN


def loads(module: Module) -> list[str]:
    """Everything that importing a module imports, through the modules that it imports too."""
    found: set[str] = set()
    reached = {module}
    waiting = [module]
    while waiting:
        names = {one.name for one in taken(waiting.pop(), at_import=True)}
        found |= names
        new = {other for other in library() for name in names if under(name, other.name)} - reached
        reached |= new
        waiting.extend(new)
    return sorted(found)


def test_no_module_imports_what_stands_higher() -> None:
    """Workspace stands on the objects, they on _azure, it on the helpers, and those on errors and events."""
    assert [
        f"{module.name} imports {one.name}"
        for module in library()
        for one in taken(module)
        if one.root == "phi_finetune" and level(one.name) > level(module.name)
        if not is_the_way_in(module, one)
    ] == []


def test_only_tests_and_the_local_engine_reach_the_emulator() -> None:
    """What talks to Azure does not know that a fake of it exists."""
    assert [
        f"{module.name} imports {one.name}"
        for module in library()
        if not under(module.name, EMULATOR, LOCAL, TESTING)
        for one in taken(module)
        if under(one.name, EMULATOR, LOCAL, TESTING) and not is_the_way_in(module, one)
    ] == []


def test_the_emulator_stands_alone() -> None:
    """The emulator imports Python's own library and itself; its doors also know the libraries of HTTP and TLS."""
    assert [
        f"{module.name} imports {one.name}"
        for module in modules(EMULATOR)
        for one in taken(module)
        if not under(one.name, EMULATOR)
        and not (under(module.name, DOORS) and one.root in ("cryptography", "requests", "urllib3"))
    ] == []


def test_the_help_for_tests_uses_public_names() -> None:
    """FakeAzure and the local engine use the library as its users do; the light fakes stand behind its objects."""
    assert [
        f"{module.name} imports {one.name}"
        for module in library()
        if under(module.name, TESTING, LOCAL) and not under(module.name, LIGHT_FAKES)
        for one in taken(module)
        if one.name.startswith("phi_finetune._") and one.name != "phi_finetune.__version__"
    ] == []


def test_azure_is_imported_in_one_package() -> None:
    """Only _azure imports azure; credentials, retries and the fake do where a function needs it."""
    assert [
        f"{module.name} imports {one.name}"
        for module in library()
        if not under(module.name, AZURE)
        for one in taken(module, at_import=part(module.name) in USES_AZURE_IN_FUNCTIONS)
        if one.root in ("azure", "azureml", "msrest")
    ] == []


def test_what_loads_slowly_is_loaded_when_it_is_needed() -> None:
    """The slow packages are imported in functions, so that nobody pays for what is not used."""
    assert [
        f"{module.name} imports {one.name}"
        for module in library()
        for one in taken(module, at_import=True)
        if under(one.name, *HEAVY)
    ] == []


def test_importing_an_object_loads_little() -> None:
    """A public module below the top brings attrs, msgspec and tenacity at most; _azure comes when a verb is called."""
    assert [
        f"{module.name} loads {name}"
        for module in library()
        if level(module.name) < TOP and "._" not in module.name
        for name in loads(module)
        if not under(name, *LIGHT) or under(name, AZURE)
    ] == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """At import there is an order in which every module finds what it needs."""
    needs = {
        module.name: {
            other.name
            for other in library()
            for one in taken(module, at_import=True)
            if one.name.startswith(f"{other.name}.") and not under(module.name, other.name)
        }
        for module in library()
    }
    assert list(graphlib.TopologicalSorter(needs).static_order())


def test_files_stay_readable() -> None:
    """A file can be read in one sitting."""
    lines = {module.name: len(module.source.splitlines()) for module in library()}
    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}


def test_functions_stay_small() -> None:
    """A function does one thing; its docstring may be as long as it needs."""
    assert [
        f"{module.name}.{each.name} has {lines_of_code(each)} lines"
        for module in library()
        for each in module.functions
        if lines_of_code(each) > FUNCTION_LINES
    ] == []


def test_a_signature_names_its_parameters() -> None:
    """No public function takes ``**options``, unless Unpack types them one by one, so that editors help."""
    assert [
        f"{module.name}.{each.name}"
        for module in library()
        for each in module.public
        if is_open_ended(each) and each.name not in PRESCRIBED_BY_AZURE
    ] == []


def is_open_ended(function: Function) -> bool:
    """Whether a function takes keywords that its signature does not name."""
    rest = function.args.kwarg
    if rest is None:
        return False
    return rest.annotation is None or not ast.unparse(rest.annotation).startswith("Unpack[")


def test_the_public_names_load_nothing_slow() -> None:
    """Importing the library, and taking each public name, loads no azure, pandas, datasets, mlflow or torch."""
    code = """
import json, sys, phi_finetune as pf
names = [getattr(pf, name) for name in pf.__all__ if name != "__version__"]
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert "phi_finetune.errors" in loaded
    assert [
        name for name in loaded if under(name, *HEAVY, "azure", "requests", AZURE, EMULATOR, TESTING)
    ] == []


def test_the_library_says_that_it_is_typed() -> None:
    """Type checkers read a library's types only where it has this file."""
    assert (PACKAGE / "py.typed").is_file()


def test_the_reader_sees_what_is_imported_at_run_time() -> None:
    """An import in a function is deferred, one in a class is not, and one for the type checker is none."""
    source = """
import json
if TYPE_CHECKING:
    import pandas
else:
    import attrs
class A:
    import tenacity
    def f(self):
        from azure.core import rest
try:
    import torch.nn as nn
except ImportError:
    pass
"""
    assert [(one.name, one.deferred) for one in parse("a", source).imports] == [
        ("json", False),
        ("attrs", False),
        ("tenacity", False),
        ("azure.core.rest", True),
        ("torch.nn", False),
    ]


def test_the_reader_counts_code_and_not_docstrings() -> None:
    """A docstring of any length leaves a function as long as its code."""
    source = 'def f(\n    x,\n):\n    """One.\n\n    Two.\n    """\n    def g(): return x\n    return g\n'
    assert [(each.name, lines_of_code(each)) for each in parse("a", source).functions] == [("f", 5), ("g", 1)]


@pytest.mark.parametrize(
    ("signature", "expected"),
    [("x", False), ("x, *, y=1", False), ("**k", True), ("**k: Any", True), ("**k: Unpack[Values]", False)],
)
def test_the_reader_tells_an_open_signature(signature: str, expected: bool) -> None:
    """Only a ``**`` that is not unpacked from a typed dictionary leaves a signature open."""
    (function,) = parse("a", f"class A:\n    def f({signature}): ...\n    def _g(**k): ...\n").public
    assert is_open_ended(function) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("phi_finetune", TOP),
        ("phi_finetune.Workspace", TOP),
        ("phi_finetune.errors.NotFound", 0),
        ("phi_finetune.chat_dataset.ChatDataset", OBJECT),
        ("phi_finetune._credentials_chain.Chain", 1),
        ("phi_finetune._submission", OBJECT),
        ("phi_finetune._waiting.wait_for", 1),
        ("phi_finetune._azure.client.Client", 2),
    ],
)
def test_a_name_stands_where_its_module_stands(name: str, expected: int) -> None:
    """A module's level is that of everything in it."""
    assert level(name) == expected
