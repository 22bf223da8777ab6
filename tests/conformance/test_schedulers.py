"""Every scheduler that can be found keeps the contract: a new file is tested the moment it exists."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from llmsim import discovery
from llmsim.scheduler import Scheduler
from llmsim.testing import check_scheduler

PACKAGE = "llmsim.schedulers"


@pytest.fixture(params=discovery.names(PACKAGE))
def policy(request):
    return discovery.find(PACKAGE, request.param, Scheduler)


def test_it_serves_every_request_and_is_pure(policy):
    check_scheduler(policy())


def test_its_options_are_frozen_fields_with_defaults(policy):
    if dataclasses.is_dataclass(policy):
        assert policy.__dataclass_params__.frozen
        assert policy() == policy()
    else:
        assert not inspect.signature(policy).parameters


def test_it_says_what_it_is(policy):
    module = inspect.getmodule(policy)

    assert module.__doc__, "say in the module which engine or paper the policy follows"
    assert policy.__doc__
