"""What the library's own source may not hold, read as trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from architecture import Module, library, parse, under

EVALUATORS = ("compile", "eval", "exec")
UNSAFE = ("cloudpickle", "dill", "joblib", "marshal", "pickle", "ruamel", "shelve", "yaml")
"""What runs, or may run, what it reads."""
ADAPTER = "phi_finetune._azure.entities"
"""Where azure-ai-ml's private names may be used; tests/test_entities.py fails when one is gone."""
STREAMING = "phi_finetune.testing.streaming"
"""Names a private module of azure-ai-ml by its text; tests/test_fake_azure.py fails when that is gone."""
NAMED_TUPLES = ("_asdict", "_fields", "_make", "_replace")
"""Public, though they look private (Python's documentation of collections.namedtuple)."""
PRIVATE = re.compile(r"\bazure(?:\.\w+)*\._\w+")


def evaluated(module: Module) -> Iterator[str]:
    """Where a module evaluates text, or reads a form that can run code."""
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.Name) and node.id in EVALUATORS:
            yield f"{module.name}:{node.lineno} {node.id}"
        if isinstance(node, ast.Attribute) and node.attr in ("literal_eval", "allow_pickle"):
            yield f"{module.name}:{node.lineno} {node.attr}"
    for one in module.imports:
        if under(one.name, *UNSAFE, "ast.literal_eval"):
            yield f"{module.name} imports {one.name}"


def private_names(module: Module, ours: set[str]) -> Iterator[str]:
    """What a module uses of others' private names: an import, an attribute that none of ours has, or a text."""
    for one in module.imports:
        if one.root != "phi_finetune" and "._" in one.name and not one.name.startswith("__"):
            yield f"{module.name} imports {one.name}"
    tree = ast.parse(module.source)
    told = {id(child) for node in ast.walk(tree) for child in documented(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in ours:
            yield f"{module.name}:{node.lineno} {node.attr}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield from (f"{module.name}:{node.lineno} {name}" for name in PRIVATE.findall(node.value))


def documented(node: ast.AST) -> Iterator[ast.AST]:
    """The texts that stand alone: docstrings."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield node.value


def is_private(name: str) -> bool:
    """Whether a name is private; one that Python itself gives a meaning is not."""
    return name.startswith("_") and not name.endswith("__") and name not in NAMED_TUPLES


def defined(module: Module) -> Iterator[str]:
    """The private names that a module gives to functions, classes, variables and attributes."""
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_nothing_is_evaluated() -> None:
    """No eval, no pickle, no YAML: what comes from outside is read as JSON, or by a parser that is bounded."""
    assert [found for module in library() for found in evaluated(module)] == []


def test_azures_private_names_are_used_in_one_file() -> None:
    """Whoever updates azure-ai-ml knows where to look."""
    ours = {name for module in library() for name in defined(module)}
    found = [name for module in library() for name in private_names(module, ours)]
    # The transport only names a logger, urllib3's attribute is what http.client's answer is reached by, and a server
    # leaves by os._exit().
    others = {
        "phi_finetune._azure.transport",
        "phi_finetune.local.serve",
        "phi_finetune.testing.recording.taken",
    }
    assert {name.partition(":")[0].partition(" ")[0] for name in found} == {ADAPTER, STREAMING, *others}
    assert [name for name in found if name.startswith(STREAMING)] == [
        f"{STREAMING}:{line_of(STREAMING, '_MODULE = ')} azure.ai.ml.operations._run_history_constants"
    ]


def line_of(name: str, text: str) -> int:
    """The number of the line that begins so."""
    (module,) = (module for module in library() if module.name == name)
    return next(n for n, line in enumerate(module.source.splitlines(), 1) if line.startswith(text))


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "compile('1', '', 'eval')",
        "import pickle",
        "def f():\n    from yaml import load",
        "import ast\nast.literal_eval('1')",
        "from ast import literal_eval",
        "run = exec",
    ],
)
def test_the_scan_finds_what_evaluates(source: str) -> None:
    """Called, passed on, or imported in a function."""
    assert list(evaluated(parse("a", source)))


@pytest.mark.parametrize(
    "source",
    [
        "client._operation_scope",
        "from azure.ai.ml._utils import x",
        "def f():\n    import azure.ai.ml._utils",
        "import_module('azure.ai.ml._utils')",
    ],
)
def test_the_scan_finds_private_names(source: str) -> None:
    """As an attribute, in an import, and in a text."""
    assert list(private_names(parse("a", source), ours={"_mine"}))


@pytest.mark.parametrize(
    "source", ["self._mine", "x.__class__", '"""azure.ai.ml._utils."""', "re.compile('a')", "eval_steps"]
)
def test_the_scan_leaves_the_rest_alone(source: str) -> None:
    """Names of one's own, Python's own, and prose."""
    module = parse("a", source)
    assert [*private_names(module, ours={"_mine"}), *evaluated(module)] == []
