"""Steps that verify drafted tokens: composed times against published composition, and against their parts."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.latency.build import build_latency
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.host import Host
from llmsim.latency.scaled import Scaled
from llmsim.latency.speculative import Drafting
from llmsim.testing import LinearSteps

H100 = load_gpu("h100-sxm-80gb")
LENGTHS = {1: 1.8, 3: 2.76, 5: 3.3}
#: speed-ups at context 1024 by drafted tokens, for so many sequences (NEXT_SYSTEMS.md, 1.5 c)
DENSE = {
    1: (1.70, 1.71, 1.73, 1.62, 1.48),
    3: (2.32, 2.35, 2.28, 1.89, 1.52),
    5: (2.56, 2.73, 2.21, 1.74, 1.36),
}
EXPERTS = {3: (1.91, 1.38, 1.50, 1.95, 2.39, 2.54), 1: (1.61, 1.32, 1.25, 1.42, 1.63, 1.73)}


def speed_up(plain, drafting, drafts, sequences):
    context = 1024 * sequences
    step_s = drafting.step_time_s((), sequences, context)
    return LENGTHS[drafts] * plain.step_time_s((), sequences, context) / step_s


@pytest.mark.parametrize("drafts", DENSE)
def test_speed_ups_of_a_dense_model_with_an_eagle_3_head(drafts):
    plain = build_latency("table", H100, load_model("llama-3.1-8b"))
    drafting = Drafting.with_head(plain, 1 / 32, 32_000 / 128_256, drafts)
    found = [speed_up(plain, drafting, drafts, n) for n in (1, 16, 64, 128, 256)]
    assert found == pytest.approx(DENSE[drafts], rel=0.07)  # their head is not told


@pytest.mark.parametrize("drafts", EXPERTS)
def test_verifying_wakes_experts(drafts):
    """A mixture of experts gains least where a few sequences wake most of them."""
    plain = build_latency("table", H100, load_model("gpt-oss-120b"))
    found = [speed_up(plain, plain.speculating(1 + drafts), drafts, n) for n in (1, 4, 16, 32, 64, 128)]
    assert found == pytest.approx(EXPERTS[drafts], rel=0.02)


@pytest.mark.parametrize("name", ["table", "roofline"])
def test_verifying_no_draft_is_a_plain_step(name):
    plain = build_latency(name, H100, load_model("llama-3.1-8b"))
    same = plain.speculating(1)
    assert same.step_time_s([(0, 100)], 5, 900) == plain.step_time_s([(0, 100)], 5, 900)
    assert same.decode_line(5, 900) == plain.decode_line(5, 900)


def test_projections_and_head_pass_all_tokens_and_attention_reads_once():
    plain = build_latency("table", H100, load_model("llama-3.1-8b"))
    linear, head = plain.profile.linear, plain.profile.head
    more_s = plain.speculating(4).step_time_s((), 50, 100_000) - plain.step_time_s((), 50, 100_000)
    linear_s = np.diff(np.interp([50, 200], linear.tokens, linear.time_s))[0]
    head_s = np.diff(np.interp([50, 200], head.sequences, head.time_s))[0]
    assert more_s == pytest.approx(linear_s + head_s)


def test_a_drafter_passes_once_over_the_step_and_then_over_a_token_of_each():
    class Verifying(LinearSteps):
        def speculating(self, query_tokens):
            return LinearSteps(self.step_s, self.prefill_token_s, self.sequence_s * query_tokens, self.context_token_s)

    model, head = Verifying(0.01, 1e-4, 1e-4, 1e-6), Verifying(0.001, 1e-5, 1e-5, 1e-7)
    drafting = Drafting.of(model, head, 3)
    step_s = 0.011 + 1.1e-4 * 100 + 4 * 1.1e-4 * 5 + 1.1e-6 * 900
    assert drafting.step_time_s([(0, 100)], 5, 900) == pytest.approx(step_s + 2 * (0.001 + 1e-5 * 5 + 1e-7 * 900))
    assert drafting.step_time_s([(0, 100)], 0, 0) == pytest.approx(0.011 + 1.1e-4 * 100)
    first_s, growth_s, _ = drafting.decode_line(5, 900)
    assert first_s == pytest.approx(drafting.step_time_s((), 5, 900))
    assert first_s + growth_s == pytest.approx(drafting.step_time_s((), 5, 905))


class Verified(LinearSteps):
    """Each token that a sequence computes takes as long."""

    def speculating(self, query_tokens):
        return Verified(self.step_s, self.prefill_token_s, self.sequence_s * query_tokens, self.context_token_s)


def test_where_sequences_draft_different_numbers_each_pass_is_over_those_that_draft_so_many():
    """Ten sequences with 0, 1, 3 and 4 drafts: the drafter passes over all at first, and then over 5, 5 and 3."""
    model, drafter = Verified(0.01, 1e-4, 1e-4, 1e-6), Verified(0.001, 1e-5, 1e-5, 1e-7)
    mixed = Drafting.mixed(model, drafter, {4: 3, 0: 2, 1: 3, 3: 2})
    query_tokens = 10 + 3 * 4 + 3 + 2 * 3
    step_s = 0.011 + 1.1e-4 * query_tokens + 1.1e-6 * 9000
    for sequences in (5, 5, 3):
        step_s += 0.001 + 1e-5 * sequences + 1e-7 * 9000 * sequences / 10
    assert mixed.step_time_s((), 10, 9000) == pytest.approx(step_s)
    first_s, growth_s, _ = mixed.decode_line(10, 9000)
    assert first_s == mixed.step_time_s((), 10, 9000)
    assert first_s + 7 * growth_s == pytest.approx(mixed.step_time_s((), 10, 9070))


@pytest.mark.parametrize("name", ["table", "roofline"])
def test_a_mix_of_one_number_is_that_number_to_the_bit(name):
    plain = build_latency(name, H100, load_model("llama-3.1-8b"))
    head, whole = plain.with_layers(1 / 32, 0.25), plain.with_layers(1 + 1 / 32, 1.25)
    for one, mix in (
        (Drafting.of(plain, head, 3), Drafting.mixed(plain, head, {3: 17})),
        (Drafting.with_head(plain, 1 / 32, 0.25, 3), Drafting.of_layers(whole, head, {3: 17})),
    ):
        assert one.decode_line(17, 9000.5) == mix.decode_line(17, 9000.5)
        assert one.step_time_s([(0, 300)], 17, 9000) == mix.step_time_s([(0, 300)], 17, 9000)


@pytest.mark.parametrize("name", ["table", "roofline"])
def test_a_head_is_a_drafter_of_so_many_layers(name):
    plain = build_latency(name, H100, load_model("llama-3.1-8b"))
    head = plain.with_layers(1 / 32, 0.25)
    one, other = Drafting.with_head(plain, 1 / 32, 0.25, 3), Drafting.of(plain, head, 3)
    for prefill, decoding in (((), 7), ([(0, 700)], 0), ([(64, 700), (0, 90)], 40)):
        step_s = other.step_time_s(prefill, decoding, 1000 * decoding)
        assert one.step_time_s(prefill, decoding, 1000 * decoding) == pytest.approx(step_s, rel=0.001)


def test_the_host_counts_all_tokens_against_its_graphs():
    host = Host(LinearSteps(), eager_step_s=0.5, max_cudagraph_capture_size=10, query_tokens=4)
    assert host.step_time_s((), 3, 90) == host.step_time_s((), 2, 60) + 0.5
    assert host.decode_line(3, 90)[0] == host.step_time_s((), 3, 90)


def test_scaled_times_scale_all():
    plain = build_latency("roofline", H100, load_model("llama-3.1-8b"))
    assert Scaled(plain, 2.0).speculating(3).step_time_s((), 4, 400) == 2 * plain.speculating(3).step_time_s((), 4, 400)
    assert Scaled(plain, 2.0).with_layers(0.1).step_time_s((), 4, 400) == 2 * plain.with_layers(0.1).step_time_s(
        (), 4, 400
    )


def test_step_times_that_know_nothing_of_it_say_so():
    with pytest.raises(InputError, match="LinearSteps do not say what it takes to verify"):
        LinearSteps().speculating(2)
    with pytest.raises(InputError, match="LinearSteps do not tell layers apart"):
        LinearSteps().with_layers(0.5)
