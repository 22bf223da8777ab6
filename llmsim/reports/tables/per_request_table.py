"""Each request of a small result as a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from llmsim.metrics.request_table import RequestRow
from llmsim.reports.format import number_text

#: key of a row -> head of its column: twelve of them in 80 characters
REQUEST_COLUMNS = {
    "request": "#",
    "n_tokens": "n",
    "ttft_s": "TTFT",
    "max_gap_s": "max\ngap",
    "tpot_s": "TPOT",
    "last_token_s": "last\ntoken",
    "l_arrival_s": "l\narrival",
    "l_first_token_s": "l, 1st\nV (i-1)",
    "l_first_token_plus_v_s": "l, 1st\nV i",
    "qoe": "QoE",
    "fluidity": "fluid",
    "meets_slo": "SLO",
}


def per_request_table(rows: Sequence[RequestRow], user: Mapping[str, Any]) -> Table:
    """Return a table with a row for each request."""
    title = f"Each request, in seconds; l with V = {user['seconds_per_token']:g} s and offset {user['offset_s']:g} s"
    caption = (
        "l: how late the latest token came for a reader who counts from the arrival, or from the first token (1st); "
        "QoE and fluidity ask for a token every V"
    )
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", caption=caption, caption_justify="left",
        padding=(0, 0, 0, 1), collapse_padding=True, show_edge=False, pad_edge=False,
    )  # fmt: skip
    for key, words in REQUEST_COLUMNS.items():
        if key in rows[0]:
            table.add_column(words, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(_exactly(row[key]) for key in REQUEST_COLUMNS if key in row))
    return table


def _exactly(value: float | bool | None) -> str:
    """Three decimals, as published tables have them, none from 1,000 on; zero without a sign."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, int) or abs(value) >= 1000:
        return number_text(value)
    return f"{round(value, 3) + 0.0:.3f}"
