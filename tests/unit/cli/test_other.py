from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import llmsim
from llmsim.cli import complete, main
from llmsim.cli.output import ProgressBar, expect
from llmsim.experiment import sizes
from llmsim.scenario import load_scenario
from llmsim.studies import executors

TRACE = "arrival_s,prompt_tokens,output_tokens\n0.0,10,3\n0.5,20,4\n120.0,30,5\n"


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("gpus", "a100-sxm4-80gb"),
        ("models", "llama-3.1-8b"),
        ("schedulers", "chunked_prefill"),
        ("routers", "round_robin"),
        ("scenarios", "quickstart"),
    ],
)
def test_list_names_what_there_is(kind: str, some: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    plain = capsys.readouterr().out.split()
    assert main(["list", kind, "--json"]) == 0

    assert some in plain
    names = json.loads(capsys.readouterr().out)[kind]
    assert some in names
    assert set(names) <= set(plain)


@pytest.mark.draws
@pytest.mark.parametrize(
    "kind", ["schedulers", "routers", "latencies", "arrivals", "lengths", "traces", "scenarios", "engines"]
)
def test_every_shipped_name_is_listed_with_a_sentence(kind, run_cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    lines = run_cli("list", kind).splitlines()

    assert lines
    assert [line for line in lines if len(line.split()) < 3] == []


def test_trace_show_prints_numbers_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text(TRACE)
    picture = tmp_path / "t.png"

    assert main(["trace", "show", str(tmp_path / "t.csv"), "--json", "--picture", str(picture)]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 3
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["trace", "show", str(tmp_path / "t.csv")]) == 0
    shown = capsys.readouterr().out
    assert "prompt tokens" in shown
    assert "earlier prompt" not in shown  # the file does not tell


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trace", "show", "missing.csv"], "missing.csv"),
        (
            ["trace", "show", "t.csv", "--picture", "t.jpg"],
            "t.jpg: expected a file that ends in .png",
        ),
        (["trace", "show", "t.csv", "--format", "azur"], "did you mean 'azure'"),
        (["list", "gpu"], "gpus"),
        (["trace"], "Missing command"),
        (["rum"], "No such command 'rum'"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(TRACE)

    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trace", "show", "t.csv", "--picture", "folder.png"], "folder.png: expected a file that ends in .png"),
        (["trace", "show", "t.csv", "--picture", "/proc/t.png"], "/proc/t.png: cannot be written"),
        (["figures", "timelines", "--out", "t.csv"], "--out t.csv: expected a folder, but a file of that name"),
        (["figures", "timelines", "--out", "/proc/figures"], "/proc/figures"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(TRACE)
    Path("folder.png").mkdir()

    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("run", "results/NAME"),
        ("score", "2.5"),
        ("audit", "the ITL bound"),
        ("bench", "20,000"),
        ("figures", "results/figures"),
        ("sweep", "at every point of its sweep table;"),
        ("plan", "the targets of its plan table"),
    ],
)
def test_help_names_defaults_that_depend_and_tables(command: str, default: str) -> None:
    code = "import sys; from llmsim.cli import main; main(sys.argv[1:])"
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, check=True, env=environment
    )

    assert default in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], []])
def test_help_is_quick(arguments: list[str]) -> None:
    heavy = ("pandas", "matplotlib", "pyarrow", "simpy", "numpy")
    code = (
        "import sys; from llmsim.cli import main; main(sys.argv[1:]); "
        f"sys.exit(str([name for name in {heavy} if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    assert done.stderr.strip() == ""
    assert "Usage: " in done.stdout


def test_a_progress_bar_stays_away_off_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmsim.cli.output.PATIENCE_S", 0.0)
    with ProgressBar("requests") as bar:
        bar(1, 2)

    assert capsys.readouterr().err == ""


def test_off_a_terminal_lines_come_at_ever_longer_intervals(capsys, monkeypatch):
    now_s = iter((0.0, 4.9, 5.0, 9.9, 10.0, 19.9, 20.5))
    monkeypatch.setattr("llmsim.cli.output.time.monotonic", lambda: next(now_s))
    monkeypatch.setattr("llmsim.cli.output.FIRST_LINE_S", 5.0)
    with ProgressBar("requests") as bar:
        for done in (1, 10, 15, 20, 40, 1000):
            bar(done, 1000)

    assert capsys.readouterr().err.splitlines() == [
        "requests: 10 of 1,000 after 5 s, about 8 min left",
        "requests: 20 of 1,000 after 10 s, about 8 min left",
    ]


def test_long_work_is_announced_and_short_work_is_not(capsys):
    def of(requests):
        return load_scenario("quickstart", [f"workload.requests={requests}"])

    expect(of(100_000))
    assert capsys.readouterr().err == ""
    expect(of(200_000), times=40, jobs=2)
    assert capsys.readouterr().err == "40 runs of 200,000 requests: roughly 3 min, at 20,000 requests/s a process\n"
    for change in (
        "cluster.instances=100_000",
        "workload.lengths={source='fixed', prompt_tokens=20_000_000, output_tokens=1}",
        "autoscaling={target=3.0, max_instances=4, interval_s=0.001, cold_start_s=2.0}",
    ):
        expect(load_scenario("quickstart", [change, "workload.requests=1000", "workload.arrivals.rate_per_s=0.1"]))
        assert capsys.readouterr().err.startswith("1,000 requests: roughly "), change


def test_what_may_not_fit_is_announced_and_what_cannot_fit_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(sizes, "available_bytes", lambda: 1_000_000_000)
    large = load_scenario("quickstart", ["workload.requests=300_000"])
    expect(large)
    assert "roughly 15 s, at 20,000 requests/s a process, and up to 1.1 GB of memory (1.0 GB are free)" in (
        capsys.readouterr().err
    )
    for words in (["run"], ["sweep", "--axis", "cluster.instances=1,2"], ["compare", "--schedulers", "fcfs,static"]):
        verb, *others = words
        assert main([verb, "quickstart", *others, "--set", "workload.requests=2_000_001", "--json"]) == 2
        assert capsys.readouterr().err == (
            "error: command line: workload.requests: 2,000,001 requests take at least 1.0 GB of memory, 1.0 GB are "
            "free here: expected at most 2,000,000\n"
        )


def test_traces_and_tokens_that_are_held_back_are_refused_before_they_are_simulated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sizes, "available_bytes", lambda: 200_000_000)
    long = ["workload.requests=10", "workload.lengths={source='fixed', prompt_tokens=9, output_tokens=10_000_000}"]
    paced = ["delivery={policy='paced', tokens_per_s=5.0}", "cluster.max_model_len=20_000_000"]
    assert main(["run", "quickstart", "--json", *words_of([*long, *paced, "cluster.num_gpu_blocks=9_000_000"])]) == 2
    assert capsys.readouterr().err.endswith(
        "error: quickstart: 10 requests with 100,000,000 tokens, each held back (delivery), take at least 0.8 GB of "
        "memory, 0.2 GB are free here: expected at most 2 such requests\n"
    )
    assert main(["run", "quickstart", "--json", *words_of([*long, paced[0]])]) == 0  # all are rejected
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i},9,2\n" for i in range(2000)))
    capsys.readouterr()
    monkeypatch.setattr(sizes, "SMALL_BYTES", 1000)
    monkeypatch.setattr(sizes, "available_bytes", lambda: 500_000)
    assert main(["run", "quickstart", "--json", *words_of([f"workload.trace={trace}"])]) == 2
    assert "2,000 requests take at least 0.0 GB of memory" in capsys.readouterr().err


def words_of(changes):
    return [word for change in changes for word in ("--set", change)]


def test_memory_that_the_system_does_not_tell_refuses_nothing(monkeypatch):
    monkeypatch.setattr(sizes, "_lines", lambda _: [])
    monkeypatch.setattr(sizes, "_limit_of_process", lambda: [])
    assert sizes.available_bytes() is None
    sizes.check_fits(load_scenario("quickstart", ["workload.requests=50_000_000"]))


def test_memory_is_the_least_that_machine_group_and_process_leave(monkeypatch):
    told = {"/proc/meminfo": ["MemTotal: 9 kB", "MemAvailable: 4 kB"], "/sys/fs/cgroup/memory.max": ["5000"]}
    told["/sys/fs/cgroup/memory.current"] = ["2000"]
    monkeypatch.setattr(sizes, "_limit_of_process", lambda: [10_000])
    monkeypatch.setattr(sizes, "_lines", lambda file: told[file])
    assert sizes.available_bytes() == 3000
    told["/sys/fs/cgroup/memory.max"] = ["max"]
    assert sizes.available_bytes() == 4096


def test_a_closed_stdout_is_no_traceback(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", None)  # as Python has it where a shell closed it
        assert main(["list", "gpus", "--json"]) == 0
    closed = io.StringIO()
    closed.close()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", closed)
        assert main(["list", "gpus", "--json"]) == 2
    assert capsys.readouterr().err.startswith("error: a policy or plug-in closed stdout")


def test_ctrl_c_that_python_would_forget_is_heard(capsys, monkeypatch):
    """It comes while an object is cleared away."""

    class Cleared:
        def __del__(self):
            raise KeyboardInterrupt

    def clear(_):
        Cleared()
        time.sleep(10)

    monkeypatch.setattr("llmsim.cli.output.be_verbose", clear)
    before = sys.unraisablehook
    assert main(["list", "gpus"]) == 130
    assert capsys.readouterr().err == "error: interrupted; nothing is half-written\n"
    assert sys.unraisablehook is before


def test_ctrl_c_while_a_sweep_is_drawn_says_that_its_table_is_there(tmp_path, capsys, monkeypatch):
    def drawing(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmsim.reports.plots.sweep_plots.draw_sweep", drawing)
    words = ["sweep", "quickstart", "--set", "workload.requests=9", "--axis", "cluster.instances=1,2", "--jobs", "1"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == (
        f"error: interrupted while drawing; the runs and their table are in {tmp_path / 'out'}\n"
    )
    assert (tmp_path / "out" / "sweep.parquet").is_file()


def test_dask_does_not_log_beside_our_errors(monkeypatch):
    """Its tracebacks of a lost scheduler; other loggers are left alone."""
    for name in ("distributed.client", "tornado.application", "llmsim_of_a_person"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
    executors._silence_dask()

    assert logging.getLogger("distributed.client").disabled
    assert logging.getLogger("tornado.application").disabled
    assert not logging.getLogger("llmsim_of_a_person").disabled


def test_verbose_tells_how_long_parts_take_and_where_an_error_comes_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-v", "run", "quickstart", "--num-prompts", "20", "--json"]) == 0
    told = capsys.readouterr().err
    assert main(["-v", "run", "quickstarter"]) == 2

    assert [line.partition(":")[0] for line in told.splitlines()] == ["simulated and scored", "written"]
    assert "in find_scenario" in capsys.readouterr().err
    assert main(["run", "quickstarter"]) == 2
    assert "in find_scenario" not in capsys.readouterr().err


def test_a_shell_completes_names_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick_one.toml").touch()

    assert complete.scenarios("quick") == ["quick_one.toml", "quickstart"]
    assert "h100-sxm-80gb" in complete.gpus("h100")
    assert "llama-3.1-8b" in complete.models("llama")
    assert complete.schedulers("chunk") == ["chunked_prefill"]


def test_a_reader_of_the_output_that_goes_away_is_no_error():
    """As `head` does: the table is longer than what is read, and nothing is told of it."""
    command = [sys.executable, "-m", "llmsim", "list", "keys"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_a_progress_bar_comes_after_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmsim.cli.output.PATIENCE_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressBar("requests") as bar:
        bar(1, 2)
        bar(2, 2)

    captured = capsys.readouterr()
    assert "requests" in captured.err
    assert captured.out == ""


def test_the_version_is_that_of_the_package(run_cli):
    assert run_cli("--version") == f"llmsim {llmsim.__version__}\n"


def test_the_package_is_the_command():
    done = subprocess.run([sys.executable, "-m", "llmsim", "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == f"llmsim {llmsim.__version__}\n"


def test_only_keys_are_listed_by_table(refused):
    assert refused("list", "gpus", "cluster").endswith("only keys are listed by table; 'cluster' is one word too many")
