from __future__ import annotations

import re
import runpy
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
from pages import DOCS, ROOT

import phi_finetune
from phi_finetune import errors

REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"automodule:: (\S+)", REFERENCE)
NOT_IN_A_MODULE = {"__version__", "local"}


def test_the_wire_coverage_is_that_of_the_emulator() -> None:
    """The page lists the routes as they are; ``python scripts/make_wire_coverage.py`` writes it anew."""
    made = runpy.run_path(str(ROOT / "scripts" / "make_wire_coverage.py"))["render"]()
    assert (DOCS / "wire-coverage.md").read_text(encoding="utf-8") == made


def test_the_permissions_are_those_of_the_table() -> None:
    """The page lists them as they are; ``python scripts/make_permissions_page.py`` writes it anew."""
    made = runpy.run_path(str(ROOT / "scripts" / "make_permissions_page.py"))["render"]()
    assert (DOCS / "permissions.md").read_text(encoding="utf-8") == made


def test_the_operation_coverage_is_that_of_the_contract_tests() -> None:
    """The page says what their markers say; ``python scripts/make_operation_coverage.py`` writes it anew."""
    if f"azure-ai-ml {version('azure-ai-ml')}," not in (DOCS / "operation-coverage.md").read_text("utf-8"):
        pytest.skip("the page is about the operations of another azure-ai-ml")
    command = [sys.executable, str(ROOT / "scripts" / "make_operation_coverage.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_contract_is_that_of_the_rules() -> None:
    """The page's table says what rules and answers say; ``python scripts/make_contract_page.py`` writes it anew."""
    made = runpy.run_path(str(ROOT / "scripts" / "make_contract_page.py"))["table"]()
    assert (DOCS / "contract.md").read_text(encoding="utf-8").endswith("\n\n" + made)


def test_every_public_module_is_in_the_reference() -> None:
    """Whatever can be imported without an underscore is documented."""
    folder = ROOT / "phi_finetune"
    public = {f"phi_finetune.{path.stem}" for path in folder.glob("[!_]*.py")}
    assert public <= set(DOCUMENTED)


def test_every_public_name_is_in_the_reference() -> None:
    """Each name of ``phi_finetune`` is one that a documented module offers."""
    offered = {name for module in DOCUMENTED for name in import_module(module).__all__}
    assert set(phi_finetune.__all__) - NOT_IN_A_MODULE <= offered


def test_every_error_is_explained() -> None:
    """The page about errors says of each class what it means for the reader."""
    explained = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert [name for name in errors.__all__ if f"`{name}`" not in explained] == [
        "PhiFinetuneError"  # the root; the page is about it, and links it
    ]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Sphinx looks after the links of docs/; those of the other pages are looked after here."""
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert broken == []
