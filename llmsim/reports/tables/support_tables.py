"""What is known of models and GPUs, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Model
from llmsim.latency.profile import types_in_words
from llmsim.latency.support import ROOFLINE_ERROR, Found, Support
from llmsim.reports.terminal import plain_console, say, styled

GIB = 1 << 30


def show_support(
    gpu: Gpu, model: Model, rows: Sequence[Support], found: Sequence[Found], console: Console | None = None
) -> None:
    """Print a line for each number of GPUs, and below what is less certain and what errors were found."""
    console = console or plain_console()
    active = f", {model.active_parameters / 1e9:.1f} active" if model.experts else ""
    ranks = f"; attention on {model.ranks} ranks of TP GPUs each" if model.ranks > 1 else ""
    say(
        console,
        styled(
            (f"{model.name} on {gpu.name}", "bold"),
            f": {model.parameters / 1e9:.1f} billion parameters{active}; "
            f"{types_in_words(model)}, {model.kv_bytes_per_token / 1024:.0f} KiB a token{ranks}",
        ),
    )
    table = Table(box=box.SIMPLE_HEAD)
    for head, justify in (("TP", "right"), ("weights/GPU", "right"), ("KV tokens", "right"), ("step times", "left")):
        table.add_column(head, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        tokens = "does not fit" if row.kv_tokens is None else f"{row.kv_tokens:,}"
        times = row.step_times if row.kv_tokens else ""
        table.add_row(str(row.tensor_parallel_size), f"{row.weight_bytes_per_gpu / 1e9:.1f} GB", tokens, times)
    console.print(table)
    _show_certainty(model, rows, found, console)


def _show_certainty(model: Model, rows: Sequence[Support], found: Sequence[Found], console: Console) -> None:
    for refused in {row.refused for row in rows if row.refused and len(rows) == 1}:
        say(console, f"- {refused}")
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        say(console, f"- {note}")
    for one in found:
        say(
            console,
            f"- {one.model} on {one.gpu}, {one.engine}: median error {one.median_percent:.3g} % over {one.points} runs "
            f"(llmsim validate {one.case})",
        )
    used = {row.step_times for row in rows if row.kv_tokens}
    if not found and "composed" in used:
        say(console, "- composed step times of this model were not compared with a real engine")
    if "roofline" in used:
        say(
            console,
            f'- roofline (cluster.latency = "roofline"): off by {ROOFLINE_ERROR} in the median; of others unknown',
        )
    for words in model.not_modelled:
        say(console, f"- not modelled: {words}")


def show_models(models: Iterable[Model], gpus_of: Mapping[str, Sequence[str]], console: Console | None = None) -> None:
    """Print the models, and on which GPUs their step times are composed; on all others there is the roofline."""
    table = _table("model", "10^9", "active", "weights", "KiB/\ntoken", "step times composed on")
    for model in models:
        table.add_row(
            model.name,
            f"{model.parameters / 1e9:.1f}",
            f"{model.active_parameters / 1e9:.1f}" if model.experts else "",
            "bf16" if model.quantization is None else model.quantization.dtype,
            f"{model.kv_bytes_per_token / 1024:.0f}",
            " ".join(gpu.partition("-")[0].upper() for gpu in gpus_of[model.name]),
        )
    (console or plain_console()).print(table)


def show_gpus(gpus: Iterable[Gpu], models_on: Mapping[str, int], console: Console | None = None) -> None:
    """Print the GPUs, and of how many models step times are composed; of all others there is the roofline."""
    heads = ("GPU", "also", "GiB", "TB/s", "bf16\nTFLOP/s", "fp8\nTFLOP/s", "link\nGB/s", "USD/h", "com-\nposed")
    table = _table(*heads)
    for gpu in gpus:
        table.add_row(
            gpu.name,
            ", ".join(gpu.aliases[:1]),
            f"{gpu.memory_bytes / GIB:.0f}",
            f"{gpu.memory_bandwidth_bytes_per_s / 1e12:.2f}",
            f"{gpu.bf16_flop_per_s / 1e12:.0f}",
            f"{gpu.fp8_flop_per_s / 1e12:.0f}" if gpu.fp8_flop_per_s else "",
            f"{gpu.interconnect_bytes_per_s / 1e9:.0f}",
            f"{gpu.price_usd_per_hour:g}",
            str(models_on[gpu.name] or "–"),
        )
    (console or plain_console()).print(table)


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for number, head in enumerate(heads):
        last = number == len(heads) - 1
        table.add_column(head, justify="left" if last or number == 0 else "right", no_wrap=not last)
    return table
