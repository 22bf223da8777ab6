"""Sliders of plans' and sweeps' pages: what they say for another SLO is what the commands say for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from browser import ABSENT, FOUND, Browser
from llmsim.cli import main
from llmsim.reports.page.what_if import SCRIPT
from llmsim.statistics.intervals import probability_at_least
from llmsim.statistics.shares import clusters_of, pooled, probability_at_most

SCENARIO = """\
name = "tiny"
seed = 1
[workload]
requests = 300
arrivals = { process = "poisson", rate_per_s = 5.0 }
lengths = { source = "fixed", prompt_tokens = 4000, output_tokens = 2 }
[cluster]
gpu = "a100-sxm4-80gb"
latency = "roofline"
num_gpu_blocks = 4000
[slo]
ttft_s = 1.0
tbt_s = 1.0
[plan]
targets = ["slo.attainment >= 0.91", "ttft_s.p95 <= 2.0"]
most_requests = 1200
most_seeds = 4
model_error = false
more_sizes = 1
[sweep]
"cluster.instances" = [3, 4]
seeds = 2
"""
#: another SLO, a step of the slider
OTHER_S = 0.5
MOVE = """{
  const data = JSON.parse(document.getElementById("what-if-data").textContent);
  const i = data.knobs.findIndex((knob) => knob.key === KEY), slider = document.getElementById(`knob${i}`);
  slider.value = data.knobs[i].steps.indexOf(VALUE); slider.oninput();
}"""
ANSWER = "document.getElementById('what-if-answer').textContent"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan and a sweep, both reported."""
    base = tmp_path_factory.mktemp("what_if")
    (base / "tiny.toml").write_text(SCENARIO)
    assert main(["plan", str(base / "tiny.toml"), "--out", str(base / "plan")]) == 0
    assert main(["sweep", str(base / "tiny.toml"), "--jobs", "1", "--out", str(base / "sweep"), *MORE]) == 0
    for name in ("plan", "sweep"):
        assert main(["report", str(base / name)]) == 0
    return base


MORE = ["--set", "workload.requests=1500"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if FOUND is None:
        pytest.skip(ABSENT)
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def moved(browser: Browser, key: str, value: float) -> str:
    """Move a slider, and read the answer."""
    browser.run(f"{MOVE.replace('KEY', json.dumps(key)).replace('VALUE', json.dumps(value))}; 0")
    return str(browser.run(ANSWER))


def best(plan: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = plan["candidates"][plan["best"]]["carries"]
    return found


def told(said: str, carries: dict[str, Any]) -> None:
    """The sentence of the page names this cluster, cost and probability."""
    p = carries["probability"]
    words = "P > 0.999" if p > 0.999 else f"P = {p:.3f}"
    assert said.startswith(f"{carries['instances']} x a100-sxm4-80gb carry 5/s, {carries['usd_per_hour']:.2f} USD/h")
    assert words in said


def test_moving_the_slo_changes_the_answer_to_that_of_plan(
    folders: Path, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads((folders / "plan/plan.json").read_text())
    browser.open((folders / "plan/report.html").as_uri())
    told(browser.run(ANSWER), best(plan))
    said = moved(browser, "slo.ttft_s", OTHER_S)
    command = browser.run("document.getElementById('what-if-command').textContent")

    assert command == f"llmsim plan {folders / 'tiny.toml'} --set slo.ttft_s={OTHER_S}"
    capsys.readouterr()
    assert main([*command.split()[1:], "--json"]) == 0
    anew = json.loads(capsys.readouterr().out)
    assert best(anew)["instances"] > best(plan)["instances"], "the SLO matters"
    told(said, best(anew))


def test_confidence_and_prices_move_the_answer(folders: Path, browser: Browser) -> None:
    browser.open((folders / "plan/report.html").as_uri())

    assert browser.run(ANSWER).startswith("2 x ")
    assert moved(browser, "confidence", 0.999).startswith("3 x "), "two carry it with less"
    assert "6.00 USD/h" in browser.run(ANSWER)
    assert "9.00 USD/h" in moved(browser, "price a100-sxm4-80gb", 3.0)
    assert "--set plan.confidence=0.999 --set 'plan.price_usd_per_hour={a100-sxm4-80gb=3}'" in browser.run(
        "document.getElementById('what-if-command').textContent"
    )


def test_a_slo_that_nothing_simulated_meets_has_no_answer(folders: Path, browser: Browser) -> None:
    browser.open((folders / "plan/report.html").as_uri())

    assert moved(browser, "slo.ttft_s", 0.35).startswith("None of what was simulated surely carries it.")


def test_a_sweeps_page_ends_with_the_sentence_of_the_command(
    folders: Path, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    browser.open((folders / "sweep/report.html").as_uri())
    before = browser.run(ANSWER)
    said = moved(browser, "slo.ttft_s", OTHER_S)
    cheapest = []
    for name, more in (("sweep", []), ("other", ["--set", f"slo.ttft_s={OTHER_S}"])):  # the first is there
        capsys.readouterr()
        options = [*MORE, *more, "--jobs", "1", "--out", str(folders / name)]
        assert main(["sweep", str(folders / "tiny.toml"), *options]) == 0
        cheapest.append(next(line for line in capsys.readouterr().out.splitlines() if "P(slo.attainment" in line))

    for sentence, line in zip((before, said), cheapest, strict=True):
        point, _, cost = line.partition(": ")[2].partition(", at ")
        assert sentence == f"{point}, {cost}."
    assert cheapest[0] != cheapest[1], "the SLO matters"


def test_the_script_has_the_formulas_of_the_library(tmp_path: Path, browser: Browser) -> None:
    """Shares by clusters against ours, Student's t and the gamma function against SciPy."""
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html><script>{SCRIPT}</script>")
    browser.open((tmp_path / "page.html").as_uri())
    random = np.random.default_rng(5)
    for share, bound in ((0.0, 0.01), (0.004, 0.01), (0.01, 0.01), (0.08, 0.1), (0.2, 0.1), (0.4, 0.5)):
        runs = [clusters_of(np.repeat(random.random(500) < share, 4)) for _ in range(4)]
        one = pooled(runs)
        cell = [one.events, one.squares, one.largest, one.effective]
        here = browser.run(f"probabilityAtMost({one.of}, {json.dumps(cell)}, {bound})")
        assert here == pytest.approx(probability_at_most(runs, bound), abs=1e-9)
    for degrees, t in ((1, 0.3), (2, -1.2), (3, 2.0), (7, 1.1), (15, -0.4)):
        assert browser.run(f"studentT({degrees}, {t})") == pytest.approx(stats.t.cdf(t, degrees), abs=1e-12)
    for shape, x in ((0.4, 0.1), (3.0, 9.0), (200.0, 190.0), (90_000.0, 90_300.0)):
        assert browser.run(f"gammaP({shape}, {x})") == pytest.approx(stats.gamma.cdf(x, shape), abs=1e-10)
    values = [3.0, 3.5, 2.5, 3.25]
    assert browser.run(f"probabilityAtLeast({values}, 2.75)") == pytest.approx(probability_at_least(values, 2.75))
