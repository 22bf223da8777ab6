"""The import graph is a test: layers of pyproject.toml, checked by import-linter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from places import ROOT


def test_layers_point_one_way() -> None:
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports_command as main; main(standalone_mode=True)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
