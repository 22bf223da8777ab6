"""The rules of other papers, by hand and as the library has each of them."""

from __future__ import annotations

import numpy as np
import pytest

import llmsim
from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.metrics import goodput
from llmsim.metrics.fluidity import fluid_token_rate_per_s, fluidity_index
from llmsim.metrics.qoe import qoe
from llmsim.metrics.score import score
from llmsim.metrics.sections.other_forms import OtherForms
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.stage_slo import meets_stages, slowest_tokens_s
from llmsim.metrics.window import Window
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.slo import Slo

#: one request a second; the second stalls, the third is cut short, the fourth is late
TIMES = [
    [0.5, 0.6, 0.7, 0.8],
    [1.2, 1.3, 3.3, 3.4],
    [2.4],
    [5.0, 5.1],
]
TIMELINES = Timelines.from_token_times(
    [0.0, 1.0, 2.0, 3.0], TIMES, output_tokens=[4, 4, 4, 2], end_s=[0.8, 3.4, 9.0, 5.1],
    outcome=[Outcome.FINISHED, Outcome.FINISHED, Outcome.UNFINISHED, Outcome.FINISHED],
)  # fmt: skip
SLO, READER, WINDOW = Slo(ttft_s=1.0, tbt_s=0.5), User(tokens_per_s=4.0), Window(start_s=0.0, end_s=10.0)


def forms(slo=SLO, scheduled_s=(0.1, 1.1, 2.1, 4.9), **options):
    scheduled = None if scheduled_s is None else np.array(scheduled_s)
    options = {"user": READER, "window": WINDOW, "forms": True} | options
    return score(TIMELINES, slo=slo, first_scheduled_s=scheduled, **options).section(OtherForms)


def test_by_hand():
    found = forms()

    assert found.distserve_holds == 0.0  # one of four within the SLO
    assert found.sarathi_holds == 0.0  # a gap of 2 s
    assert found.vidur_holds == 1.0
    assert found.mooncake_effective_tokens_per_s == pytest.approx(4 / 10)
    assert found.mooncake_wasted_tokens_per_s == pytest.approx((4 + 1 + 2) / 10)
    # by 1 + i/2 s after the arrival: all of the first, of the second all but the third (2.3 of 2.5 s: in time) ...
    assert found.jitserve_tokens_per_s == pytest.approx((4 + 4 + 1 + 0) / 10)
    # by 1 + (i - 1)/2 s: of the second the third is late (2.3 of 2.0 s), the fourth too (2.4 of 2.5 s: in time)
    assert found.aegaeon_attainment == pytest.approx((4 + 3 + 1 + 0) / 14)
    assert found.normalised_latency_s == pytest.approx(np.mean([0.8 / 4, 2.4 / 4, 2.1 / 2]))
    assert found.interactivity_p90_tokens_per_s == pytest.approx(1 / np.percentile([0.2, 0.6, 1.05], 90))
    assert found.slos_serve_attainment == pytest.approx(1 / 4)  # the second takes 2.2 s for 3 tokens
    assert found.slos_serve_holds == 0.0
    # due 1/4 s apart from the arrival: late by 0.25, 1.55, 6.5 (the second token, in vain until 9 s), 1.75
    benefits = 4 - 2.5 * 0.25, 4 - 2.5 * 1.55, 1 - 2.5 * 6.5, 2 - 2.5 * 1.75
    assert found.smooth_goodput_per_request_tokens == pytest.approx(sum(benefits) / 4)


def test_experience_is_that_of_the_library():
    found = forms()

    assert found.andes_qoe == pytest.approx(qoe(TIMELINES, ttft_s=1.0, tokens_per_s=4.0).mean())
    readable = qoe(TIMELINES, ttft_s=1.0, tokens_per_s=4.0, form="readable")
    assert found.andes_qoe_readable == pytest.approx(readable.mean())
    assert found.fluidity_index == pytest.approx(fluidity_index(TIMELINES, prefill_s=1.0, decode_s=0.5).mean())
    assert found.fluid_tokens_per_s == pytest.approx(fluid_token_rate_per_s(TIMELINES, prefill_s=1.0))


def test_where_bounds_are_missing_there_is_no_number():
    bare = forms(slo=Slo(e2e_s=5.0), scheduled_s=None, user=None)
    gone = {name for name in bare if bare[name] is None}

    assert gone == set(bare) - {
        "distserve_holds",
        "mooncake_effective_tokens_per_s",
        "mooncake_wasted_tokens_per_s",
        "normalised_latency_s",
        "interactivity_p90_tokens_per_s",
    }


def test_every_ten_tokens():
    """Twelve tokens 0.1 s apart but for one gap of 0.6 s: the worst ten gaps take 1.5 s; the mean of all 11 is less."""
    times = np.cumsum([0.0, *[0.1] * 4, 0.6, *[0.1] * 6])
    timelines = Timelines.from_token_times([0.0, 0.0, 0.0, 0.0], [times, times[:5], [0.0], []])

    assert slowest_tokens_s(timelines) == pytest.approx([0.15, 0.1, 0.0, 0.0])
    assert slowest_tokens_s(timelines, 3) == pytest.approx([0.8 / 3, 0.1, 0.0, 0.0])
    assert meets_stages(timelines, Slo(tpot_s=0.15)).tolist() == [True, True, True, False]
    assert meets_stages(timelines, Slo(tpot_s=0.149)).tolist() == [False, True, True, False]
    with pytest.raises(InputError, match="stages need a bound on the time per token"):
        meets_stages(timelines, Slo(ttft_s=1.0))


def test_windows_of_ten_against_looking_at_each():
    rng = np.random.default_rng(0)
    times = [np.cumsum(rng.exponential(0.05, n)) for n in rng.integers(1, 60, 40)]
    slow = [max((t[i + w] - t[i]) / w for i in range(len(t) - w)) if (w := min(10, len(t) - 1)) else 0.0 for t in times]

    assert slowest_tokens_s(Timelines.from_token_times([0.0] * 40, times)) == pytest.approx(slow)


def test_the_command_and_the_library_print_them(capsys):
    judged = llmsim.score(TIMELINES, slo=SLO, user=READER, forms=True)
    judged.show()

    assert "JITServe: tokens by TTFT* + i TBT*" in capsys.readouterr().out
    assert judged.score["forms.distserve_holds"] == 0.0
    assert "forms" not in llmsim.score(TIMELINES, slo=SLO, user=READER).score
    assert main(["score", "--help"]) == 0
    assert "--all" in capsys.readouterr().out


def test_sarathi_and_vidur_are_the_tests_of_the_library():
    late = (0.1, 1.1, 7.9, 4.9)

    assert forms(scheduled_s=late).vidur_holds == float(goodput.vidur_holds(TIMELINES, np.array(late))) == 0.0
