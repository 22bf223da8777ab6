"""Instances behind a router, and the users and clients in front of it."""

from llmsim.cluster.build import build_cluster, simulate
from llmsim.cluster.spec import InstanceSpec, RunOptions

__all__ = ["InstanceSpec", "RunOptions", "build_cluster", "simulate"]
