"""Every router that can be found keeps the contract: a new file is tested the moment it exists."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from llmsim import discovery
from llmsim.router import Router
from llmsim.testing import check_router

PACKAGE = "llmsim.routers"


@pytest.fixture(params=discovery.names(PACKAGE))
def policy(request):
    return discovery.find(PACKAGE, request.param, Router)


def test_it_sends_every_request_somewhere_and_keeps_no_state(policy):
    check_router(policy())


def test_its_options_are_frozen_fields_with_defaults(policy):
    if dataclasses.is_dataclass(policy):
        assert policy.__dataclass_params__.frozen
        assert policy() == policy()
    else:
        assert not inspect.signature(policy).parameters


def test_it_says_what_it_is(policy):
    assert inspect.getmodule(policy).__doc__
    assert policy.__doc__
