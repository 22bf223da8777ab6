"""How the documentation is built: `.ci/run docs`, or `sphinx-build -W docs docs/_build/html` (extra `docs`)."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate

from llmsim import __version__

project = "llmsim"
author = copyright = "the llmsim maintainers"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"llmsim {__version__}"
html_static_path = ["_static"]
html_css_files = ["wide_tables.css"]
html_extra_path: list[str] = []
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are kept with their outputs, and executed by tests/notebooks
nb_execution_excludepatterns = ["*"]
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
smartquotes = False  # options begin with two hyphens
default_role = "code"  # docstrings write `code` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
nitpicky = False  # types of NumPy and private aliases have no page here
linkcheck_timeout = 20

for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
    shutil.copy(notebook, HERE / "tutorials")
generate.write_all(HERE / "reference")
