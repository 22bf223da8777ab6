"""How far each metric of a result can be moved by manipulation."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from llmsim.metrics.audit import ABANDONED, DROPPED, PACED, Audit
from llmsim.reports.plots.style import GREY, LEGEND, ORANGE, RED, footer, new_figure, tidy

TITLES = {
    PACED: "tokens delayed to the ITL bound",
    DROPPED: "requests that miss dropped",
    ABANDONED: "requests that miss abandoned",
}
#: changes beyond this are drawn at the edge, with their number
EDGE_PERCENT = 100.0


def audit_figure(audit: Audit, *, caption: str = "") -> Figure:
    """Draw by how many per cent each metric gets better (right) or worse (left); gameable ones stand out."""
    keys = list(audit.users)
    figure = new_figure(2.2 + 3.2 * len(keys), 0.24 * len(audit.rows) + 0.9)
    panels = np.atleast_1d(figure.subplots(1, len(keys), sharey=True))
    place = np.arange(len(audit.rows))[::-1]
    for axes, key in zip(panels, keys, strict=True):
        gains = [_gain_percent(row.as_is, row.after[key].change, row.metric.better) for row in audit.rows]
        gamed = [row.after[key].gameable for row in audit.rows]
        colours = [RED if game else GREY if gain <= 0 else ORANGE for game, gain in zip(gamed, gains, strict=True)]
        hatches = ["///" if game else "" for game in gamed]
        axes.barh(
            place,
            np.clip(gains, -EDGE_PERCENT, EDGE_PERCENT),
            color=colours,
            hatch=hatches,
            edgecolor="white",
            linewidth=0,
        )
        for y, gain in zip(place, gains, strict=True):
            if abs(gain) >= 0.005:
                inside = -4 if gain > 0 else 4
                axes.annotate(
                    _label(gain), (float(np.clip(gain, -EDGE_PERCENT, EDGE_PERCENT)), y), (-inside, 0), va="center",
                    ha="left" if gain > 0 else "right", textcoords="offset points", fontsize="x-small",
                )  # fmt: skip
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlim(-1.5 * EDGE_PERCENT, 1.5 * EDGE_PERCENT)
        half = EDGE_PERCENT / 2
        ends = (
            f"≤ -{EDGE_PERCENT:g}",
            f"-{half:g}",
            "0",
            f"{half:g}",
            f"≥ {EDGE_PERCENT:g}",
        )  # where bars end, whatever the change
        axes.set_xticks([-EDGE_PERCENT, -half, 0.0, half, EDGE_PERCENT], ends)
        axes.set_yticks(place, [row.metric.name for row in audit.rows])
        users = audit.users[key]
        title = f"{TITLES.get(key, key)}\n{users.better:,} users better off, {users.worse:,} worse"
        tidy(axes, x="worse   ←   change (%)   →   better", y="", title=title)
    for label, colour, hatch in (("gameable", RED, "///"), ("worse", GREY, "")):
        panels[0].bar(0, 0, color=colour, hatch=hatch, edgecolor="white", label=label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, **LEGEND)
    return footer(figure, caption)


def _label(gain: float) -> str:
    if gain >= 1000:
        return f"× {1 + gain / 100:,.0f}"
    return f"{gain:+.0f} %" if abs(gain) >= 1 else f"{gain:+.2g} %"


def _gain_percent(before: float | None, change: float | None, better: int) -> float:
    if before is None or change is None:
        return 0.0
    if before == 0.0:
        return float(np.sign(change)) * better * EDGE_PERCENT
    return 100.0 * change * better / abs(before)
