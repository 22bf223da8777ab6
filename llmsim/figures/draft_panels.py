"""The picture of schedulers that draft and such that do not: SLOs, what readers get, and tokens a step, by the rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmsim.figures.draw import band, finish, legend_above, panels
from llmsim.figures.plan import Sweep

ACCEPTED = "acceptance_length"


def draft_panels(
    of: Mapping[str, Sweep], looks: Mapping[str, tuple[str, str]], metric: str, *, y: str, height_in: float
) -> tuple[Figure, list[Axes]]:
    """Draw each kind with its colour and marker; `metric` is that of the second panel, `y` its axis."""
    figure, axes = panels(1, 3, height_in)
    for kind, sweep in of.items():
        colour, marker = looks[kind]
        look: Any = {"color": colour, "marker": marker, "label": kind}
        band(axes[0], sweep.rates_per_s, 100 * sweep.values["own_attainment"], **look)
        band(axes[1], sweep.rates_per_s, sweep.values[metric], **look)
        if ACCEPTED in sweep.values and not np.isnan(sweep.values[ACCEPTED]).any():
            band(axes[2], sweep.rates_per_s, sweep.values[ACCEPTED], **look)
    finish(axes[0], x="requests/s", y="within own SLO (%)")
    finish(axes[1], x="requests/s", y=y)
    finish(axes[2], x="requests/s", y="tokens a step\nof a request")
    legend_above(figure, axes[0])
    return figure, axes
