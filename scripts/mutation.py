"""Measures what the tests of a module notice: each small change of its code (a mutant) must fail one of them.

``python scripts/mutation.py [MODULE...]`` reads ``[tool.mutation]`` of pyproject.toml. The changes are those of
cosmic-ray, and the removal of a statement. Each runs in a fork of a process that has imported all but this package, so
that none has to wait for azure-ai-ml, and only with the tests that come by the changed line. No file is changed.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import itertools
import os
import resource
import signal
import sys
import tempfile
import time
import tomllib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, Literal, TypeAlias

import parso
import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from coverage import CoverageData

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = "phi_finetune"
EQUIVALENT: Final = Path(__file__).with_name("equivalent_mutants.toml")
AT_ONCE: Final = 2
MEMORY_BYTES: Final = 8 * 2**30
SLOWER: Final = 3
"""What takes so many times the processor time of the unchanged code, and some seconds, goes round in circles."""
OTHERWISE: Final = {
    "ReplaceBinaryOperator": (
        "Add_Sub",
        "Sub_Add",
        "Mul_Div",
        "Div_Mul",
        "BitOr_BitAnd",
        "BitAnd_BitOr",
        "Pow_Mul",
    ),
    "ReplaceComparisonOperator": (
        *("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
        *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "In_NotIn", "NotIn_In"),
    ),
}
"""What operators become. Each other change of them, of which cosmic-ray has a dozen, would fail with any test."""

Outcome: TypeAlias = Literal["killed", "timed out", "survived", "equivalent"]


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    Attributes:
        line: Where, counted from 1.
        within: The class and function there; empty where there is none.
        was: The lines it changes, as they are.
        now: The same as it has them; empty where it removes them.
        code: The whole module with the change.
    """

    line: int
    within: str
    was: str
    now: str
    code: CodeType

    @property
    def name(self) -> str:
        """What is changed, wherever the lines are moved to."""
        return f"{self.within}: {self.was} -> {self.now}"


class RemoveStatement(Operator):
    """Puts ``pass`` where a statement is; imports, docstrings and ``__all__`` are left."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Each simple statement."""
        if node.type != "simple_stmt" or node.get_code(include_prefix=False).startswith(("__", "pass")):
            return
        if node.children[0].type not in ("string", "strings", "import_name", "import_from"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The statement's place, empty."""
        nothing = parso.parse("pass\n").children[0].children[0]
        nothing.prefix = node.get_first_leaf().prefix
        node.children[0] = nothing
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """None; cosmic-ray tests only its own."""
        return ()


class Executed(ast.NodeTransformer):
    """Leaves out annotations, which this package never evaluates, and what only type checkers read."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """An argument's."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """What a function returns."""
        node.returns = None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Imports of names for annotations."""
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """A variable's."""
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    @classmethod
    def of(cls, source: str) -> str:
        """What runs of a source, to compare."""
        return ast.dump(cls().visit(ast.parse(source)))


@dataclass(frozen=True)
class Instead(MetaPathFinder):
    """Imports one module from other code than that of its file."""

    name: str
    code: CodeType

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The file's own, but for its code."""
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = Given(self.code, fullname, spec.origin)
        return spec


class Given(SourceFileLoader):
    """A loader that has the code already."""

    def __init__(self, code: CodeType, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self.code = code

    def get_code(self, fullname: str) -> CodeType:
        """That code."""
        return self.code


def mutants(source: str, file: str) -> Iterator[Mutant]:
    """Every change of a module that compiles and is one."""
    seen = {Executed.of(source)}
    for operator in operators():
        for occurrence in itertools.count():
            changed = mutate_code(source, operator, occurrence)
            if changed is None:
                break
            try:
                executed = Executed.of(changed)
                code = compile(changed, file, "exec")
            except SyntaxError:
                continue
            if executed not in seen:
                seen.add(executed)
                line, was, now = difference(source, changed)
                yield Mutant(line, within(source, line), was, now, code)


def operators() -> Iterator[Operator]:
    """The kinds of changes."""
    for name in sorted(operator_names()):
        kind, _, change = name.partition("/")[2].partition("_")
        if change in OTHERWISE.get(kind, (change,)) and not kind.startswith("Variable"):
            yield get_operator(name)()
    yield RemoveStatement()


def difference(source: str, changed: str) -> tuple[int, str, str]:
    """Where two sources differ, and the lines of each."""
    before, after = source.splitlines(), changed.splitlines()
    codes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    _, start, end, now_start, now_end = next(code for code in codes if code[0] != "equal")
    was, now = before[start:end], after[now_start:now_end]
    return start + 1, " ".join(" ".join(was).split()), " ".join(" ".join(now).split())


def within(source: str, line: int) -> str:
    """The class and function that a line is in, with a dot between them."""
    named = (ast.ClassDef, ast.FunctionDef)
    around = [node for node in ast.walk(ast.parse(source)) if isinstance(node, named) and spans(node, line)]
    return ".".join(node.name for node in sorted(around, key=lambda node: node.lineno))


def fork(work: Callable[[], int], cpu_s: int = 600) -> int:
    """Do something in a child that may use so much processor time, and forty times that by the clock."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        signal.alarm(40 * cpu_s)
        status = work()
    finally:
        os._exit(status)


@dataclass(frozen=True)
class Only:
    """A plugin of pytest's that leaves out the tests that are not wanted."""

    wanted: frozenset[str]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep what is wanted."""
        items[:] = [item for item in items if item.nodeid in self.wanted]


def run_tests(tests: Iterable[str], *more: str, plugins: Sequence[object] = ()) -> int:
    """Run tests, to the first that fails; the same examples of hypothesis each time."""
    options = ("-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--hypothesis-seed=0")
    return pytest.main([*options, *more, *tests], plugins)


@dataclass(frozen=True)
class Tests:
    """The tests of a module.

    Attributes:
        by_line: The tests that come by each line.
        files: Where they all are, the quickest first.
        cpu_s: The processor seconds that they take.
    """

    by_line: Mapping[int, frozenset[str]]
    files: Sequence[str]
    cpu_s: float

    def of(self, lines: Iterable[int] | None) -> int:
        """Run those that come by one of these lines; None is all. What nothing comes by, passes."""
        if lines is None:
            return run_tests(self.files)
        wanted = frozenset[str]().union(*(self.by_line.get(line, ()) for line in lines))
        files = [file for file in self.files if any(test.startswith(f"{file}::") for test in wanted)]
        return run_tests(files, plugins=[Only(wanted)]) if files else 0


def look(file: str, tests: Sequence[str]) -> Tests:
    """See which tests of a module come by which line, and import what they import of others.

    Raises:
        SystemExit: They fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COVERAGE_FILE"] = f"{folder}/covered"
        names = Path(folder, "names")

        def told() -> int:
            status = run_tests(tests, "--cov", "--cov-context=test", "--cov-report=")
            names.write_text("\n".join(sorted(filter(of_others, sys.modules))), encoding="utf-8")
            return status

        os.waitpid(fork(told), 0)
        for name in names.read_text(encoding="utf-8").split("\n"):
            with suppress(ImportError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        data = CoverageData(f"{folder}/covered")
        data.read()
        (measured,) = (one for one in data.measured_files() if one.endswith(f"/{file}"))
        by_line = {
            line: frozenset(context.partition("|")[0] for context in contexts)
            for line, contexts in data.contexts_by_lineno(measured).items()
        }
    _, status, used = os.wait4(fork(lambda: run_tests(tests)), 0)
    if status:
        raise SystemExit(f"the tests fail without a change: {' '.join(tests)}")
    return Tests(by_line, tests, used.ru_utime + used.ru_stime)


def reached(source: str, line: int) -> set[int] | None:
    """The lines of a statement that is in a function, without those in it; None where it runs on import."""
    at = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and spans(node, line)]
    if not any(isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line for node in at):
        return None
    inner = max(at, key=lambda node: node.lineno)
    body = getattr(inner, "body", None)
    return {line, *range(inner.lineno, body[0].lineno if body else (inner.end_lineno or line) + 1)}


def spans(node: ast.stmt, line: int) -> bool:
    """Whether a line is in a statement."""
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def of_others(name: str) -> bool:
    """Whether a module is Python's own or a dependency."""
    file = getattr(sys.modules[name], "__file__", None) or ""
    if name.startswith(f"{PACKAGE}."):
        return name.startswith(f"{PACKAGE}.emulator")  # imports nothing else of ours
    return Path(file).is_relative_to(sys.base_prefix) or Path(file).is_relative_to(sys.prefix)


def outcomes(file: str, tests: Tests) -> Iterator[tuple[Mutant, Outcome]]:
    """What became of each mutant, as it is known."""
    name = file.removesuffix(".py").replace("/", ".")
    source = (ROOT / file).read_text(encoding="utf-8")
    limit_s = round(SLOWER * tests.cpu_s) + 5
    running = dict[int, Mutant]()

    def mutated(mutant: Mutant) -> int:
        sys.meta_path.insert(0, Instead(name, mutant.code))
        return tests.of(reached(source, mutant.line))

    for mutant in mutants(source, file):
        running[fork(partial(mutated, mutant), limit_s)] = mutant
        if len(running) == AT_ONCE:
            pid, status = os.wait()
            yield running.pop(pid), outcome(status)
    while running:
        pid, status = os.wait()
        yield running.pop(pid), outcome(status)


def outcome(status: int) -> Outcome:
    """What a child's end says.

    Raises:
        SystemExit: The child did not end by itself, nor for its time.
    """
    if os.WIFEXITED(status):
        return "killed" if os.WEXITSTATUS(status) else "survived"
    if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM):
        return "timed out"
    raise SystemExit(f"a mutant ended by {signal.Signals(os.WTERMSIG(status)).name}")


def measure(file: str, tests: list[str], equivalent: Mapping[str, str], least: float) -> bool:
    """Tell a module's score and survivors; whether that is enough."""
    started = time.monotonic()
    looked = look(file, tests)
    counts, lived, told = Counter[Outcome](), list[Mutant](), set(equivalent)
    for mutant, became in outcomes(file, looked):
        if became == "survived" and mutant.name in equivalent:
            told.discard(mutant.name)
            became = "equivalent"
        counts[became] += 1
        if became == "survived":
            lived.append(mutant)
    killed = counts["killed"] + counts["timed out"]
    score = killed / max(1, killed + counts["survived"])
    print(
        f"{file}: {score:.1%} of {counts.total() - counts['equivalent']} mutants killed "
        f"({counts['timed out']} by time; {counts['equivalent']} more are equivalent) "
        f"in {time.monotonic() - started:.0f} s",
        *(f"  survived line {mutant.line}, {mutant.name}" for mutant in lived),
        *(f"  listed as equivalent, but it does not survive: {key}" for key in sorted(told)),
        sep="\n",
        flush=True,
    )
    return score >= least and not told


def main(picked: list[str]) -> int:
    """Measure each module, or those that were picked; 1 where one does not reach the least."""
    os.chdir(ROOT)
    os.environ["CI"] = "1"  # hypothesis keeps no failing examples then
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutation"]
    equivalent = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    enough = [
        measure(file, tests, equivalent.get(file, {}), settings["least"])
        for file, tests in settings["tests"].items()
        if not picked or file in picked
    ]
    return 0 if enough and all(enough) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
