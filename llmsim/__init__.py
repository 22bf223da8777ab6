"""llmsim: a discrete-event simulator of LLM serving whose answers you can defend."""

from __future__ import annotations

__version__ = "0.1.0"
