"""`llmsim profile`: how long steps take: look at it, compose it from operators, fit it to measured steps."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.output import check_picture, print_json
from llmsim.errors import InputError
from llmsim.writing import replacing

if TYPE_CHECKING:
    from llmsim.latency.contract import LatencyModel
    from llmsim.reports.plots import MeasuredStep
    from llmsim.scenario import Scenario
    from llmsim.studies.validation.calibration import Calibration
    from llmsim.studies.validation.load_stages import Stage
    from llmsim.studies.validation.measured_run import MeasuredRun

app = typer.Typer(help="Step times of models on GPUs.")

Gpu = Annotated[str, typer.Option("--gpu", help="A GPU's name (llmsim list gpus), or a .toml file.")]
Model = Annotated[str, typer.Option("--model", help="A model's name, a .toml file, or a Hugging Face config.json.")]
Size = Annotated[int, typer.Option("--tensor-parallel-size", "--tp", help="GPUs that share the model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

KernelsOption = Annotated[
    str | None, typer.Option(metavar="BACKEND/VERSION", help="Whose operators: vllm/0.24.0. Needed with several.")
]
Routing = Annotated[str, typer.Option(help="Of tokens to experts: uniform, or skewed as measured: power_law_1.2.")]
MeasuredRequests = Annotated[
    Path,
    typer.Argument(
        metavar="RESULT",
        help="Measured requests: a benchmark's file with details, timelines, or a CSV (arrival_s, "
        "prompt_tokens, output_tokens, ttft_s, e2e_s). Or stages: a benchmark's file without details, or a CSV "
        "(rate_per_s, requests, ttft_mean_s, tpot_mean_s, e2e_mean_s, ttft_p99_s, ...).",
    ),
]

CONTEXT_TOKENS, BATCHES, PROMPTS = 1024, (1, 8, 32, 128, 256), (128, 512, 2048, 8192)


@app.command("show")
def show(
    gpu: Gpu,
    model: Model,
    tensor_parallel_size: Size = 1,
    latency: Annotated[
        str, typer.Option(help="table (measured operators), roofline (data sheet), or another without options.")
    ] = "table",
    profile: Annotated[Path | None, typer.Option(metavar="FILE", help="Show this profile file instead.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Shared data, whose reference steps are drawn beside it.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw step times here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show step times against batch, context and prompt, beside measured ones where given."""
    from llmsim.latency import hardware
    from llmsim.latency.build import build_latency
    from llmsim.latency.data_parallel import of_profile
    from llmsim.latency.profile import read_profile

    check_picture(picture)
    times: LatencyModel
    if profile is not None:
        times, latency = of_profile(read_profile(profile)), "table"
    else:
        times = build_latency(latency, hardware.load_gpu(gpu), hardware.load_model(model), tensor_parallel_size)
    measured = _reference(data, gpu, model, tensor_parallel_size) if data is not None else []
    if picture is not None:
        from llmsim.reports import plots

        title = f"{model} on {gpu} (TP{tensor_parallel_size}), {latency}"
        plots.save(plots.step_times_figure(times, title, measured), picture)
    taken_s = _step_times_s(times)
    if as_json:
        steps = [{"step": step, "time_s": time_s} for step, time_s in taken_s.items()]
        print_json({"gpu": gpu, "model": model, "latency": latency, "measured_steps": len(measured), "steps": steps})
        return
    print(f"{model} on {gpu} (TP{tensor_parallel_size}), {latency}; GPU time alone")
    for step, time_s in taken_s.items():
        print(f"  {step:32} {1e3 * time_s:9.2f} ms")
    if picture is not None:
        print(f"picture: {picture}")


GemmKernels = Annotated[
    str | None, typer.Option(metavar="BACKEND/VERSION", help="Take matrix products from these instead.")
]
ExpertParallel = Annotated[
    bool, typer.Option("--expert-parallel", help="Deal experts out to the GPUs whole, in place of shares of each.")
]
Ranks = Annotated[
    int, typer.Option("--data-parallel-size", "--dp", help="Ranks of attention, which share the experts.")
]


@app.command("compose")
def compose(
    operators: Annotated[Path, typer.Argument(metavar="OPS_DIR", help="Folder with one folder of tables per GPU.")],
    gpu: Gpu,
    model: Model,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The profile, JSON.")],
    tensor_parallel_size: Size = 1,
    kernels: KernelsOption = None,
    gemm_kernels: GemmKernels = None,
    expert_parallel: ExpertParallel = False,
    data_parallel_size: Ranks = 1,
    routing: Routing = "uniform",
    kv_cache_dtype: Annotated[str, typer.Option(help="auto (as the model says), bfloat16 or fp8.")] = "auto",
    name: Annotated[str | None, typer.Option(help="What to call the model; left out, what its file says.")] = None,
    force: choose.Replace = False,
    as_json: AsJson = False,
) -> None:
    """Compose the step times of a model from measured operators of a GPU, and state their error where it is known."""
    from llmsim.latency import hardware
    from llmsim.latency.compose import Choices
    from llmsim.latency.compose import compose as composed
    from llmsim.latency.operators import Kernels
    from llmsim.latency.profile import write_profile
    from llmsim.latency.step_errors import REFERENCE, stated_error

    chosen = Choices(
        kernels=None if kernels is None else Kernels.parse(kernels),
        gemm_kernels=None if gemm_kernels is None else Kernels.parse(gemm_kernels),
        expert_parallel=expert_parallel,
        routing=routing,
    )
    served = hardware.load_model(model, name).with_kv_cache(kv_cache_dtype)
    served = served.over(tensor_parallel_size, None, data_parallel_size)
    profile = composed(operators, hardware.load_gpu(gpu), served, tensor_parallel_size, chosen)
    data = operators.resolve().parents[1]
    if (data / REFERENCE).is_file():
        profile = profile.model_copy(update={"error": stated_error(profile, data)})
    with replacing(out, force=force) as scratch:
        write_profile(profile, scratch)
    error = profile.error.model_dump() if profile.error else None
    if as_json:
        print_json({"profile": str(out), "gpu": profile.gpu, "model": profile.model, "error": error})
        return
    print(f"{profile.model} on {profile.gpu} (TP{tensor_parallel_size}): {out}")
    print(f"  error: {profile.error or 'unknown, no reference steps of these'}")


@app.command("fit")
def fit(
    steps: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="Measured steps: prefills, prefill_tokens, decoding, context_tokens (sum), step_s; optionally "
            "prefill_squared_tokens, the sum over prompts of (computed + chunk)² - computed².",
        ),
    ],
    model: Annotated[str, typer.Option(help="Name under which the coefficients are kept.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The coefficients, JSON as DistServe's simulator has it.")],
    tensor_parallel_size: Size = 1,
    large_batch: Annotated[
        int | None, typer.Option(help="Decode from this many sequences on gets its own coefficients.")
    ] = None,
    force: choose.Replace = False,
    as_json: AsJson = False,
) -> None:
    """Fit step times to measured steps; the error is that on steps which were left out of the fit."""
    from llmsim.latency.fit import fit_steps

    found = fit_steps(steps, large_batch)
    with replacing(out, force=force) as scratch:
        found.write(scratch, model, tensor_parallel_size, source=str(steps))
    errors = found.errors_by_kind()
    if as_json:
        print_json({"profile": str(out), "model": model, "cross_validated_error": errors})
        return
    print(f"{model} (TP{tensor_parallel_size}): {out}")
    for kind, row in errors.items():
        print(
            f"  {kind}: median {row['median_percent']:.2g} %, p90 {row['p90_percent']:.2g} % over {row['steps']} steps"
        )


@app.command("from-bench")
def from_bench(
    result: MeasuredRequests,
    scenario: Annotated[
        str, typer.Option(help="The engine that was measured; its host is not used, its requests only for stages.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The host's profile, TOML, for host.profile=FILE.")],
    changes: choose.Changes = None,
    run: choose.RunOfFile = None,
    max_concurrency: choose.MaxConcurrency = None,
    assume_sends: choose.AssumeSends = False,
    force: choose.Replace = False,
    as_json: AsJson = False,
) -> None:
    """Fit the host's times (per step, per sequence in it, per request) to one measured run, or to all of a file.

    Of stages whose means alone are known, the requests are the scenario's, at the rates of the stages.
    """
    from llmsim.scenario import load_scenario
    from llmsim.studies.validation.load_stages import asked_stages
    from llmsim.studies.validation.measured_run import asked_runs
    from llmsim.studies.validation.result_comparison import STAGES_SAY
    from llmsim.studies.validation.sends import Assumed

    described, number, several = load_scenario(scenario, changes or []), choose.run_of_file(run), run == "all"
    stages = asked_stages(result, number, several=several)
    if stages is None:
        runs = asked_runs(result, number, Assumed(max_concurrency, assume_sends), several=several)
        _fit_requests(runs, described, result.name, out, force=force, as_json=as_json)
        return
    if max_concurrency is not None or assume_sends:
        raise InputError(STAGES_SAY)
    _fit_stages(stages, described, result.name, out, force=force, as_json=as_json)


def _fit_requests(
    runs: list[MeasuredRun], scenario: Scenario, source: str, out: Path, *, force: bool, as_json: bool
) -> None:
    from llmsim.scenario import HostTable
    from llmsim.studies.validation.calibration import calibrate
    from llmsim.studies.validation.result_comparison import compare_result, loads

    with replacing(out, force=force) as scratch:
        found = calibrate(runs, scenario)
        _write_host(scratch, out, found, sum(len(one.workload) for one in runs), source)
    with_host = scenario.model_copy(update={"host": HostTable(**found.host.model_dump())})
    fitted = [compare_result(one, with_host) for one in runs]
    if as_json:
        rows = [dict(row) for one in fitted for row in one.rows]
        print_json({"profile": str(out), **_fit_as_json(found, loads(runs)), "on_the_fitted_run": rows})
        return
    from llmsim.reports.tables.host_fit_tables import show_host_fit

    show_host_fit(out, found, fitted, loads(runs))
    for note in dict.fromkeys(note for one in runs for note in (one.said, *one.notes)):
        print(f"  {note}")


def _fit_stages(stages: list[Stage], scenario: Scenario, source: str, out: Path, *, force: bool, as_json: bool) -> None:
    from llmsim.studies.validation.stage_fit import calibrate_stages

    with replacing(out, force=force) as scratch:
        fit = calibrate_stages(stages, scenario)
        _write_host(scratch, out, fit.found, sum(stage.requests for stage in stages), source)
    if as_json:
        rows = [{**dataclasses.asdict(point), "error_percent": point.error_percent} for point in fit.points]
        print_json({"profile": str(out), **_fit_as_json(fit.found, fit.in_flight), "stages": rows})
        return
    from llmsim.reports.tables.host_fit_tables import show_stage_fit

    show_stage_fit(out, fit)
    print(f"  requests of scenario {scenario.name}, at the rates of the stages")


def _write_host(scratch: Path, out: Path, found: Calibration, requests: int, source: str) -> None:
    from llmsim.studies.validation.host_fit import write_host

    write_host(scratch, out.stem, found.host, f"llmsim profile from-bench: {requests} requests of {source}")


def _fit_as_json(found: Calibration, in_flight: tuple[float, float]) -> dict[str, Any]:
    """What was fitted; null for what the file does not tell."""
    residuals = [dataclasses.asdict(one) for one in found.residuals]
    return {
        "host": found.host.model_dump(),
        "intervals": found.intervals,
        "in_flight": [_known(value) for value in in_flight],
        "residuals": [{key: _known(value) for key, value in one.items()} for one in residuals],
    }


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _step_times_s(times: LatencyModel) -> dict[str, float]:
    """Steps in words, and the seconds that they take."""
    decodes = {f"decode {n} x context {CONTEXT_TOKENS}": times.step_time_s((), n, n * CONTEXT_TOKENS) for n in BATCHES}
    return decodes | {f"prefill {n}": times.step_time_s(((0, n),), 0, 0) for n in PROMPTS}


def _reference(data: Path, gpu: str, model: str, tensor_parallel_size: int) -> list[MeasuredStep]:
    from llmsim.latency.step_errors import references
    from llmsim.reports.plots import MeasuredStep

    wanted = (gpu, model, tensor_parallel_size)
    for reference in references(data):
        if (reference.gpu and reference.gpu.name, reference.model, reference.tensor_parallel_size) == wanted:
            columns = ("prefill_tokens", "decode_bs", "context", "iter_ms")
            rows = zip(*(reference.points[name].tolist() for name in columns), strict=True)
            return [MeasuredStep(prefill, batch, context, 1e-3 * ms) for prefill, batch, context, ms in rows]
    return []
