"""`llmsim.reports.plots` under its public name."""

import sys

from llmsim.reports import plots

sys.modules[__name__] = plots
