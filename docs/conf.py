"""How Sphinx builds the documentation."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "phi-finetune"
author = "the phi-finetune authors"
copyright = f"2026, {author}"
release = installed_version("phi-finetune")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"

myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
# Fields under "Attributes:" belong to the class's entry; as entries of their own they would stand twice.
napoleon_use_ivar = True
