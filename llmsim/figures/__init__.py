"""The figures of arXiv 2410.14257, made anew, each with the claim that it shows and a check of that claim."""

from __future__ import annotations

from llmsim.figures.make import FIGURES, figure_names, make_figures

__all__ = ["FIGURES", "figure_names", "make_figures"]
