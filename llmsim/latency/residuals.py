"""How far measured steps were from ours, by kind of step times: what a capacity answer is unsure of beside its seeds.

The numbers are those that ``llmsim validate step-residuals --data DIR`` prints, and it checks them: median gaps between
tokens of ML.ENERGY's runs (vLLM 0.11.1), one value for each model on each kind of GPU, against our decode step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmsim.latency.contract import LatencyModel
from llmsim.latency.host import Host
from llmsim.latency.roofline import Roofline
from llmsim.latency.scaled import Scaled
from llmsim.latency.table import StepTable

SOURCE = "ML.ENERGY's runs of vLLM 0.11.1 (llmsim validate step-residuals)"
#: sequences in a step from which seats count as full
FULL_BATCH = 40
COMPOSED, ROOFLINE = "composed", "roofline"


@dataclass(frozen=True, slots=True)
class Kind:
    """Step times of one kind: what they rest on, whether the host's time is in them, and how full batches are."""

    basis: str  #: `COMPOSED` or `ROOFLINE`
    host: bool
    full: bool  #: batches of `FULL_BATCH` or more

    def __str__(self) -> str:
        host = "with the engine's host" if self.host else "of the GPU alone"
        return f"{self.basis} step times {host}, {'full' if self.full else 'small'} batches"


@dataclass(frozen=True, slots=True)
class Residual:
    """Logarithms of measured over predicted step times: their median, and half of what lies between 16 and 84 %."""

    median: float
    spread: float
    groups: int  #: models on GPUs that this rests on


#: kind -> residual
RESIDUALS: Mapping[Kind, Residual] = {
    Kind(COMPOSED, host=True, full=False): Residual(0.06, 0.26, 17),
    Kind(COMPOSED, host=True, full=True): Residual(0.20, 0.30, 17),
    Kind(COMPOSED, host=False, full=False): Residual(0.15, 0.23, 17),
    Kind(COMPOSED, host=False, full=True): Residual(0.39, 0.30, 17),
    Kind(ROOFLINE, host=True, full=False): Residual(0.14, 0.28, 17),
    Kind(ROOFLINE, host=True, full=True): Residual(0.31, 0.26, 17),
    Kind(ROOFLINE, host=False, full=False): Residual(0.33, 0.29, 17),
    Kind(ROOFLINE, host=False, full=True): Residual(0.40, 0.31, 17),
}


def kind_of(latency: LatencyModel, *, full: bool) -> Kind | None:
    """See what kind a model of step times is; None for one whose error nobody has measured, such as a plug-in."""
    host = False
    while isinstance(latency, Host | Scaled):
        host = host or isinstance(latency, Host)
        latency = latency.gpu if isinstance(latency, Host) else latency.latency
    bases = {StepTable: COMPOSED, Roofline: ROOFLINE}
    basis = next((name for kind, name in bases.items() if isinstance(latency, kind)), None)
    return None if basis is None else Kind(basis, host, full)
