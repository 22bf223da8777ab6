"""Every source of step times that can be found keeps the contract: a new file is tested the moment it exists."""

from __future__ import annotations

import inspect

import pytest

from llmsim import discovery
from llmsim.latency.build import SOURCES, find_latency
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.testing import check_latency

INSTANCES = [("a100-sxm4-80gb", "llama-3.1-8b", 1), ("h100-sxm-80gb", "llama-3.1-8b", 1)]


@pytest.fixture(params=discovery.names(SOURCES))
def source(request):
    return find_latency(request.param)


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda instance: "-".join(map(str, instance)))
def test_step_times_are_positive_pure_and_on_the_lines_that_they_say(source, instance):
    gpu, model, size = instance
    for example in source.examples():
        check_latency(example.for_instance(load_gpu(gpu), load_model(model), size))


def test_its_options_are_frozen_fields(source):
    assert source.__dataclass_params__.frozen
    assert source.examples() == source.examples()


def test_it_says_what_it_is(source):
    assert inspect.getmodule(source).__doc__, "say in the module where the step times come from"
    assert source.__doc__
