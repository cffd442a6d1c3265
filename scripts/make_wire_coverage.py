"""Write the page about what the emulator answers, from its own tables of routes.

Run it after a route was added or its handler's docstring changed::

    python scripts/make_wire_coverage.py

A test compares the page with the tables.
"""

from __future__ import annotations

import inspect
import re
from functools import partial
from itertools import groupby
from pathlib import Path

from phi_finetune.emulator.cloud import ROUTER
from phi_finetune.emulator.core.hosts import LOCATION, REGISTRY, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.refused.routes import REFUSED, Refused

PAGE = Path(__file__).parent.parent / "docs" / "wire-coverage.md"

HEAD = """\
<!-- Made by scripts/make_wire_coverage.py from the tables of routes; edit those. -->

# What the emulator answers

`FakeAzure` knows the requests below, and answers any other to Azure's hosts with HTTP 501. They are those that the real
clients send for the life of a fine-tune; there are {count} of them. A name in braces stands for anything.

These stand for a longer part of a path:

| here | in full |
|---|---|
{parts}
"""

REFUSED_HEAD = """
## What stays out

These are answered with 501 on purpose, and the answer says what is not emulated. [](operation-coverage.md) has the
operations of azure-ai-ml that ask for them.

| what is not emulated | method | host | path |
|---|---|---|---|
"""

PARTS = {"/WORKSPACE": WORKSPACE, "/LOCATION": LOCATION, "/REGISTRY": REGISTRY}
"""What stands for a long part of a path."""

TITLES = {"core": "Long-running operations", "mlflow": "MLflow"}
"""Titles of families that are not the family's name."""

_SOURCE = re.compile(r"\s*\((?:[^()]|\([^()]*\))*\)(?=[.:;]|$)")


def render() -> str:
    """The page."""
    parts = "\n".join(f"| {name} | `{path}` |" for name, path in PARTS.items())
    head = HEAD.format(count=len(ROUTER.routes), parts=parts)
    families = sorted(ROUTER.routes, key=_family)
    sections = [_section(name, list(routes)) for name, routes in groupby(families, key=_family)]
    return head + "".join(sections) + REFUSED_HEAD + "".join(_refused(part) for part in REFUSED)


def _section(family: str, routes: list[Route]) -> str:
    rows = "\n".join(
        f"| {route.method} | {route.host} | `{_short(route.path)}` | {_does(route)} |" for route in routes
    )
    title = TITLES.get(family, family.replace("_", " ").capitalize())
    return f"\n## {title}\n\n| method | host | path | what it answers |\n|---|---|---|---|\n{rows}\n"


def _refused(part: Refused) -> str:
    methods = "any" if len(part.methods) > 3 else ", ".join(part.methods)
    path = _short(part.path).replace("{below:path}", "…")
    return f"| {part.what} | {methods} | {part.host} | `{path}` |\n"


def _family(route: Route) -> str:
    """The folder of the emulator that the route's handler is in."""
    return _handler(route).__module__.split(".")[2]


def _handler(route: Route) -> object:
    return route.handler.func if isinstance(route.handler, partial) else route.handler


def _short(path: str) -> str:
    for name, part in PARTS.items():
        path = path.replace(part, name)
    return path


def _does(route: Route) -> str:
    """The first sentence of the handler's docstring, without the source that it names."""
    sentence = (inspect.getdoc(_handler(route)) or "").split("\n\n")[0].replace("\n", " ")
    return _SOURCE.sub("", sentence).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
