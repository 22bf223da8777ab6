"""`llmsim support`: what is known of a model on a GPU, before anything is simulated."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmsim.cli.output import print_json
from llmsim.errors import InputError

Ranks = Annotated[
    int,
    typer.Option(
        "--data-parallel-size", "--dp", min=1, help="Ranks of attention that share experts, of --tp GPUs each."
    ),
]
Stages = Annotated[
    int, typer.Option("--pipeline-parallel-size", "--pp", min=1, help="Stages of --tp GPUs that share the layers.")
]


def support(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A name (llmsim list models), a .toml file or a config.json.")
    ],
    gpu: Annotated[str, typer.Argument(metavar="GPU", help="A name (llmsim list gpus), or a .toml file.")],
    tensor_parallel_size: Annotated[
        int | None, typer.Option("--tensor-parallel-size", "--tp", help="GPUs that share it.", show_default="1 to 8")
    ] = None,
    data_parallel_size: Ranks = 1,
    pipeline_parallel_size: Stages = 1,
    dtype: Annotated[
        str, typer.Option(help="Type of the weights: auto (the checkpoint's), bfloat16, fp8, fp8_block, int4, mxfp4.")
    ] = "auto",
    kv_cache_dtype: Annotated[str, typer.Option(help="auto, bfloat16 or fp8.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Say whether a model fits GPUs, what its step times would rest on, and what error validations found."""
    from llmsim.latency import hardware
    from llmsim.latency import support as known

    served = hardware.load_model(model).with_weights(dtype).with_kv_cache(kv_cache_dtype)
    on = hardware.load_gpu(gpu)
    served = served.over(1, None, data_parallel_size)
    if tensor_parallel_size is not None:
        hardware.check_tensor_parallel(served, tensor_parallel_size)
    sizes = known.SIZES if tensor_parallel_size is None else (tensor_parallel_size,)
    if data_parallel_size > 1 and pipeline_parallel_size > 1:
        raise InputError("--dp and --pp together are not modelled; expected one of them")
    rows, found = known.support(on, served, sizes, pipeline_parallel_size), known.errors_found(on, served)
    if as_json:
        print_json(
            {
                "model": served.name,
                "gpu": on.name,
                "parameters": served.parameters,
                "active_parameters": served.active_parameters,
                "kv_bytes_per_token": served.kv_bytes_per_token,
                "not_modelled": list(served.not_modelled),
                "sizes": [asdict(row) for row in rows],
                "validated": [one.model_dump() for one in found],
            }
        )
        return
    from llmsim.reports.tables.support_tables import show_support

    show_support(on, served, rows, found)
