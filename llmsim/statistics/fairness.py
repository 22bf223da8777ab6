"""How evenly shares are spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def jain_index(shares: NDArray[np.float64]) -> float:
    """Jain's (sum x)^2 / (N sum x^2): 1 if all get the same, 1/N if one gets all, NaN if all get 0."""
    squares = float(np.sum(shares**2))
    return float(np.sum(shares)) ** 2 / (len(shares) * squares) if squares > 0 else float("nan")
