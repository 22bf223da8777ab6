"""Step times against composed whole steps that others' tables give, where shared data are present."""

import pytest

from llmsim.errors import InputError
from llmsim.latency.compose import compose
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.profile import list_profiles, load_profile
from llmsim.latency.roofline import Roofline
from llmsim.latency.step_errors import KINDS, not_compared, references, relative_errors, step_errors
from places import DATA, evidence


@pytest.fixture(scope="module")
def errors():
    evidence("profiles/iteration_times_ms.csv")
    return step_errors(DATA)


def test_table_is_within_two_percent_at_the_median_and_six_at_p90(errors):
    table = [row for row in errors if row.latency == "table" and row.kind == "all"]
    # its decode attention is four times that of 8 KV heads in the reference, and that of four times the sequences here
    table = [row for row in table if row.model != "llama-2-7b"]

    assert len(table) == 13
    for row in table:
        # of 46 steps each those whose decode attention was measured; the reference goes on in proportion in the others
        assert (39 <= row.points <= 44, row.median_percent <= 2, row.p90_percent <= 6) == (True, True, True), row


def test_roofline_stays_within_what_its_documentation_states(errors):
    roofline = [row for row in errors if row.latency == "roofline" and row.kind == "all"]

    assert len(roofline) == 15
    assert max(row.median_percent for row in roofline) <= 16.5
    assert max(row.p90_percent for row in roofline) <= 25


def test_every_kind_is_reported(errors):
    assert {row.kind for row in errors} == set(KINDS)


def test_shipped_errors_are_the_measured_ones(errors):
    measured = {(r.gpu, r.model, r.tensor_parallel_size): r for r in errors if (r.latency, r.kind) == ("table", "all")}
    for key in list_profiles():
        stated = load_profile(*key).error
        assert (stated is None) == (key not in measured)
        if stated:
            assert stated.median_percent == pytest.approx(measured[key].median_percent, abs=0.01)
            assert stated.p90_percent == pytest.approx(measured[key].p90_percent, abs=0.01)


def test_what_has_no_operators_is_named(errors):
    assert {line.split()[0] for line in not_compared(DATA)} == {"A800", "RTX4090", "RTXPRO6000"}


@pytest.mark.parametrize("key", [("a100-sxm4-80gb", "llama-3.1-8b", 1), ("h200-sxm", "llama-3.1-70b", 4)])
def test_shipped_profile_is_what_compose_gives_today(errors, key):
    gpu, model, size = key
    shipped = load_profile(*key)
    composed = compose(DATA / "profiles/ops", load_gpu(gpu), load_model(model), size)

    for part in ("linear", "head", "prefill_attention", "decode_attention"):
        assert getattr(composed, part) == getattr(shipped, part)


def test_missing_reference_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"iteration_times_ms\.csv: not found"):
        step_errors(tmp_path)


def test_prefill_of_an_rtx_4090_is_that_measured(errors):
    points = next(reference.points for reference in references(DATA) if reference.label.startswith("RTX4090"))
    off = relative_errors(Roofline(load_gpu("rtx4090"), load_model("llama-3.1-8b")), points[points.kind == "prefill"])

    assert abs(off).max() < 0.05
