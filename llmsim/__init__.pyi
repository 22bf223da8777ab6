"""The names of llmsim, for type checkers: they are imported when they are first used."""

from llmsim.library.audit import audit
from llmsim.library.compare import compare
from llmsim.library.plan import plan
from llmsim.library.report import report
from llmsim.library.run import run
from llmsim.library.score import score
from llmsim.library.sweep import sweep
from llmsim.library.validate import validate
from llmsim.scenario import load_scenario

__version__: str
__all__ = [
    "__version__",
    "audit",
    "compare",
    "load_scenario",
    "plan",
    "report",
    "run",
    "score",
    "sweep",
    "validate",
]
