"""A page on this machine that simulates anew whenever a slider is moved; `llmsim explore`."""

from __future__ import annotations

from llmsim.explore.server import Explorer, serve

__all__ = ["Explorer", "serve"]
