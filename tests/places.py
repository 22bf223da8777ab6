"""Where tests find this checkout, what it ships, the evidence that does not belong into it; and how long they look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: the checkout: the folder of pyproject.toml
ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ROOT / "scenarios"
HARDWARE_PROFILES = ROOT / "hardware_profiles"
#: public traces, operator measurements and measured runs; far too large to ship
DATA = Path(os.environ.get("LLMSIM_DATA", ROOT.parent / "shared" / "data"))

#: with LLMSIM_LONG=1 random cases are ten times as many as those that fit into minutes
LONG = os.environ.get("LLMSIM_LONG", "0") != "0"

#: small inputs that once went wrong, each with a README; beside the data
CASES = DATA.parent / "cases"


def cases(count: int) -> int:
    """How many random cases a test has: `count`, and ten times as many in the long form."""
    return 10 * count if LONG else count


def case(name: str) -> Path:
    """Return a file below `CASES`, or skip the test that asks, with the reason."""
    path = CASES / name
    if not path.exists():
        pytest.skip(f"{path} is not here; set LLMSIM_DATA to the folder beside it")
    return path


def evidence(name: str) -> Path:
    """Return the file or folder `name` below `DATA`, or skip the test that asks, with the reason."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here; set LLMSIM_DATA")
    return path


def needs(*names: str) -> pytest.MarkDecorator:
    """Return a mark that skips tests where one of the `names` below `DATA` is missing."""
    missing = [str(DATA / name) for name in names if not (DATA / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not here; set LLMSIM_DATA")
