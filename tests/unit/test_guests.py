"""Policies and step times from outside: whatever they do wrong is one line with name and time, and exit code 2."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from llmsim import guests
from llmsim.cli import main
from llmsim.errors import InputError, PolicyError
from llmsim.router import Router
from llmsim.routers.cascade import Cascade
from llmsim.routers.first_feasible import FirstFeasible
from llmsim.routers.threshold import Threshold
from llmsim.scheduler import Decision, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, check_scheduler, serve, workload
from llmsim.time_limit import TimeLimited
from llmsim.waiting import SortedQueue

REQUESTS = workload((0.5, 20, 4), (0.6, 30, 3))

FILE = """
import sys
from dataclasses import dataclass
from llmsim.schedulers.chunked_prefill import ChunkedPrefill

@dataclass(frozen=True)
class Mine(ChunkedPrefill):
    def schedule(self, view):
        {body}
"""
SMALL = ("--set", "workload.requests=9", "--set", "workload.lengths={source='fixed', prompt_tokens=9, output_tokens=2}")


def deciding(decide: Callable[..., object]) -> ChunkedPrefill:
    return type("Mine", (ChunkedPrefill,), {"schedule": lambda self, view: decide(view)})()


def fails(error: BaseException) -> Callable[..., object]:
    def call(*_: object) -> object:
        raise error

    return call


def refusal(scheduler: ChunkedPrefill, **options: object) -> str:
    with pytest.raises(PolicyError) as caught:
        serve(REQUESTS, scheduler, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("async_scheduling", [False, True])
@pytest.mark.parametrize(
    "error", [ZeroDivisionError("no"), SystemExit(0), KeyboardInterrupt(), GeneratorExit(), BrokenPipeError()]
)
def test_whatever_a_policy_raises_is_its_own_error(error: BaseException, async_scheduling: bool) -> None:
    said = refusal(deciding(fails(error)), async_scheduling=async_scheduling)

    assert said.startswith(f"Mine at t=0.500000 s: {type(error).__name__}")
    assert "(test_guests.py, line " in said


@pytest.mark.parametrize(
    ("decided", "says"),
    [
        (None, "decided None, expected a Decision"),
        ({"prefill": {}}, "decided {'prefill': {}}, expected a Decision"),
        (Decision(prefill={0: 20.0}), "request 0 got 20.0 tokens to prefill, expected a whole number"),  # type: ignore[dict-item]
        (Decision(prefill=[0]), "decided prefill = [0], expected a mapping"),  # type: ignore[arg-type]
        (Decision(prefill={0: True}), "request 0 got True tokens"),
        (Decision(hold=5), "decided hold = 5, expected a set"),  # type: ignore[arg-type]
        (Decision(preempt=0.5), "decided preempt = 0.5, expected a tuple"),  # type: ignore[arg-type]
        (Decision(abandon=frozenset([None])), "request None is abandoned, but is neither waiting nor running"),  # type: ignore[list-item]
        (Decision(review_at_s=float("nan")), "review_at_s = nan"),
        (Decision(review_at_s="soon"), "decided review_at_s = 'soon', expected a number"),  # type: ignore[arg-type]
    ],
)
def test_a_decision_of_the_wrong_types_is_told(decided: object, says: str) -> None:
    said = refusal(deciding(lambda _: decided))

    assert said.startswith("Mine at t=0.500000 s: ")
    assert says in said


def test_a_policy_that_goes_round_in_circles_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.engine.loop.MOST_DECISIONS_IN_VAIN", 50)

    def start_and_preempt(view):
        running = tuple(request.id for request in view.running)
        return Decision(preempt=running) if running else Decision(prefill={next(iter(view.waiting)).id: 1})

    assert "50 decisions without a token" in refusal(deciding(start_and_preempt))


def test_long_prefills_are_no_circles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.engine.loop.MOST_DECISIONS_IN_VAIN", 5)
    serve(workload((0.0, 320, 30)), ChunkedPrefill(max_num_batched_tokens=8, max_num_seqs=8))


def test_a_request_that_a_policy_writes_on_is_told() -> None:
    def shorten(view):
        for request in view.waiting:
            request.prompt_tokens = 1
        return ChunkedPrefill().schedule(view)

    def emit(view):
        for request in view.running:
            request.emitted_before += 1
        return ChunkedPrefill(max_num_batched_tokens=8, max_num_seqs=8).schedule(view)

    assert "request 0 came with prompt_tokens = 20 and has 1: a policy has changed" in refusal(deciding(shorten))
    assert "a policy has changed what it may only read" in refusal(deciding(emit), stretches=False)


def test_queues_and_refusals_are_guests_too() -> None:
    class Ordered(ChunkedPrefill):
        def new_queue(self):
            return SortedQueue(lambda request: request.no_such_thing)

    class Refusing(ChunkedPrefill):
        def why_never(self, request, limits):
            return request.id / 0

    class Odd(ChunkedPrefill):
        def why_never(self, request, limits):
            return False

    assert refusal(Ordered()).startswith("Ordered, queueing request 0 that arrived at t=0.500000 s: AttributeError")
    assert refusal(Refusing()).startswith("Refusing at t=0.500000 s, why_never of request 0: ZeroDivisionError")
    assert refusal(Odd()).endswith("why_never of request 0: False, expected a text, or None")


@pytest.mark.parametrize("chosen", [0.0, True, "0", None, 7, -1])
def test_a_router_names_an_instance(chosen: object) -> None:
    class Odd(Router):
        def route(self, request, fleet):
            return chosen

    said = refusal(ChunkedPrefill(), instances=2, router=Odd())
    assert said == f"Odd at t=0.500000 s: request 0 was sent to instance {chosen!r}, expected 0 to 1"


@pytest.mark.parametrize(
    ("policy", "option"),
    [
        (Cascade(["a", "b"], accept=math.nan), "accept is nan"),
        (Threshold(["a", "b"], threshold=np.float64("nan")), "threshold is nan"),
        (FirstFeasible(offers=math.nan), "offers is nan"),  # type: ignore[arg-type]
        (ChunkedPrefill(long_prefill_token_threshold=math.nan), "long_prefill_token_threshold is nan"),
        (TimeLimited.around(ChunkedPrefill(long_prefill_token_threshold=math.nan), 1.0), "token_threshold is nan"),
    ],
)
def test_options_of_a_policy_made_in_python_are_numbers(policy: Router | Scheduler, option: str) -> None:
    scheduler, router = (ChunkedPrefill(), policy) if isinstance(policy, Router) else (policy, None)
    with pytest.raises(InputError, match=f"{option}, expected a number"):
        serve(REQUESTS, scheduler, router=router)


def test_a_router_that_raises_is_told_with_its_request() -> None:
    class Exits(Router):
        route = fails(SystemExit(0))

    said = refusal(ChunkedPrefill(), router=Exits())
    assert said.startswith("Exits at t=0.500000 s, routing request 0: SystemExit: 0 (test_guests.py")


@pytest.mark.parametrize("step_s", [0.0, -1.0, float("nan"), float("inf"), "1", None])
@pytest.mark.parametrize("prompt_tokens", [1, 20])
def test_steps_take_time(step_s: object, prompt_tokens: int) -> None:
    class Odd(LinearSteps):
        def step_time_s(self, prefill, decoding, context_tokens):
            return step_s if (prompt_tokens == 20) == bool(prefill) else 0.01

        def decode_line(self, decoding, context_tokens):
            return self.step_time_s((), decoding, context_tokens), 0.0, 1

    assert refusal(ChunkedPrefill(), latency=Odd()).startswith("Odd at t=0.5")


def test_a_decision_that_takes_too_long_is_stopped_even_if_the_policy_catches_all() -> None:
    def think(view):
        while True:
            try:
                view.num_running  # noqa: B018
            except Exception:
                continue

    before = signal.getsignal(signal.SIGALRM)
    said = refusal(TimeLimited.around(deciding(think), 0.05))

    assert said.startswith("Mine at t=0.500000 s: no decision within 0.05 s (test_guests.py, line ")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    serve(REQUESTS, TimeLimited.around(ChunkedPrefill(), 60.0))


def test_a_policy_that_breaks_the_engines_own_state_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what it was shown; the engine fails later, in code of its own."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE.format(body="view._requests.running.clear(); return super().schedule(view)"))
    monkeypatch.setattr(guests, "_modules", set())

    assert main(["run", "quickstart", *SMALL, "--json", "--scheduler-file", "mine.py"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the engine's state does not hold together any more (KeyError: 0; request_states.py")
    assert "from outside (mine)" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--json"),
        ("sweep", "--axis", "cluster.instances=1,2", "--jobs", "1", "--out", "out"),
        ("plan", "--json", "--set", "plan.targets=['ttft_s.p90 <= 1.0']"),
        ("compare", "--json", "--schedulers", "fcfs,mine.py"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_that_takes_a_policy_can_stop_one_that_thinks_for_ever(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE.format(body="while True: pass"))
    own = () if words[0] == "compare" else ("--scheduler-file", "mine.py")

    assert main([words[0], "quickstart", *SMALL, *words[1:], *own, "--decision-limit-s", "0.05"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "Mine at t=" in said[0]
    assert "no decision within 0.05 s (mine.py, line 9)" in said[0]


def test_the_check_of_schedulers_stops_those_that_think_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.testing.policies.DECIDES_WITHIN_S", 0.05)

    def think(_):
        while True:
            pass

    with pytest.raises(PolicyError, match="no decision within"):
        check_scheduler(deciding(think))


@dataclass(frozen=True)
class Opened:
    def __post_init__(self) -> None:
        Path("no-such-file").read_text(encoding="utf-8")


def test_options_that_make_a_policy_raise_are_told() -> None:
    from llmsim.scenario.options import make_policy

    with pytest.raises(InputError, match=r"^here: Opened: FileNotFoundError: .*no-such-file"):
        make_policy(Opened, {}, lambda keys: "here: ", ("scheduler",))


def test_what_a_guest_changes_in_the_process_is_put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(guests, "_modules", {"a guest"})
    before = Path.cwd(), sys.getrecursionlimit()
    with guests.contained():
        monkeypatch.chdir(tmp_path)
        sys.setrecursionlimit(before[1] + 7)
    assert (Path.cwd(), sys.getrecursionlimit()) == before


def test_ctrl_c_is_not_the_policys() -> None:
    def pressed() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        serve(REQUESTS, deciding(lambda _: pressed()))


def test_what_a_guest_raises_anywhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "_modules", {__name__})
    with (
        pytest.raises(PolicyError, match=r"fails.<locals>.call: ValueError: odd \(test_guests.py, line"),
        guests.contained(),
    ):
        fails(ValueError("odd"))()
    guests._modules.discard(__name__)
    with pytest.raises(ValueError, match="odd"), guests.contained():
        fails(ValueError("odd"))()


def test_exits_fail_run_compare_and_plan(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE.format(body="sys.exit()"), encoding="utf-8")
    Path("top.py").write_text("raise SystemExit\n", encoding="utf-8")

    assert "Mine at t=" in refused("run", "quickstart", *SMALL, "--scheduler-file", "mine.py")
    assert "SystemExit (line 1)" in refused("run", "quickstart", "--scheduler-file", "top.py")
    assert "Mine at t=" in refused("compare", "quickstart", *SMALL, "--schedulers", "fcfs,mine.py")
    left = [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".py"]
    assert {file.parent.name for file in left} == {".quickstart-compare.runs"}  # that of fcfs, and nothing else


def test_other_points_of_a_sweep_go_on(tmp_path: Path, refused: Callable[..., str]) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(FILE.format(body="return sys.exit() if self.max_num_seqs == 3 else super().schedule(view)"))
    axis = ("--axis", "scheduler.max_num_seqs=2,3,4")
    said = refused(
        "sweep", "quickstart", *SMALL, *axis, "--jobs", "1", "--scheduler-file", mine, "--out", tmp_path / "out"
    )

    assert "a run failed: " in said
    assert "Mine at t=" in said
    assert "2 of 3 runs are kept" in said
