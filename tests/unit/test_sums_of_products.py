"""Products of arrays are summed by NumPy: BLAS sums in an order that depends on the machine's cores and their kind."""

from __future__ import annotations

import ast
from pathlib import Path

import llmsim

BY_BLAS = {"dot", "vdot", "inner", "matmul", "einsum", "tensordot", "linalg"}
#: fits of step times: what they find goes into a profile or a validation, to be read, and is no number of a run
FITS = {"latency/fit.py", "studies/validation/host_fit.py", "studies/validation/vtc_runs.py"}


def test_no_number_of_a_run_is_summed_by_blas() -> None:
    package = Path(llmsim.__file__).parent
    found = []
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
            called = isinstance(node, ast.Attribute) and node.attr in BY_BLAS
            if (product or called) and name not in FITS:
                found.append(f"{name}:{node.lineno}")
    assert found == []
