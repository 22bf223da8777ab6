"""How far measured steps were from ours, by kind of step times: what a capacity answer is unsure of beside its seeds.

The numbers are those that ``llmsim validate step-residuals --data DIR`` prints, and it checks them: median gaps between
tokens of ML.ENERGY's runs (vLLM 0.11.1), one value for each model on each kind of GPU, against our decode step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from llmsim.latency.contract import LatencyModel
from llmsim.latency.host import Host
from llmsim.latency.roofline import Roofline
from llmsim.latency.scaled import Scaled
from llmsim.latency.table import StepTable
from llmsim.statistics.intervals import student_t

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
    """Logarithms of measured over predicted step times, one for each model on each kind of GPU."""

    mean: float
    deviation: float  #: standard deviation
    groups: int  #: models on GPUs that this rests on

    def quantile(self, probability: float) -> float:
        """The logarithm that a further group does not exceed with this probability: Student's t prediction."""
        return self.mean + self._wider * student_t(probability, self.groups - 1)

    def probability(self, logarithm: float) -> float:
        """How probable it is that a further group does not exceed this: the inverse of `quantile`."""
        from scipy import special

        return float(special.stdtr(self.groups - 1, (logarithm - self.mean) / self._wider))

    @property
    def _wider(self) -> float:
        """The deviation of a further group from the mean of those that were measured."""
        return self.deviation * math.sqrt(1 + 1 / self.groups)


#: kind -> residual
RESIDUALS: Mapping[Kind, Residual] = {
    Kind(COMPOSED, host=True, full=False): Residual(0.14, 0.26, 17),
    Kind(COMPOSED, host=True, full=True): Residual(0.22, 0.27, 17),
    Kind(COMPOSED, host=False, full=False): Residual(0.25, 0.25, 17),
    Kind(COMPOSED, host=False, full=True): Residual(0.36, 0.28, 17),
    Kind(ROOFLINE, host=True, full=False): Residual(0.25, 0.28, 17),
    Kind(ROOFLINE, host=True, full=True): Residual(0.32, 0.26, 17),
    Kind(ROOFLINE, host=False, full=False): Residual(0.38, 0.29, 17),
    Kind(ROOFLINE, host=False, full=True): Residual(0.48, 0.29, 17),
}


def kind_of(latency: LatencyModel, *, full: bool) -> Kind | None:
    """See what kind a model of step times is; None for one whose error was not measured, such as a plug-in."""
    host = False
    while isinstance(latency, Host | Scaled):
        host = host or isinstance(latency, Host)
        latency = latency.gpu if isinstance(latency, Host) else latency.latency
    bases = {StepTable: COMPOSED, Roofline: ROOFLINE}
    basis = next((name for kind, name in bases.items() if isinstance(latency, kind)), None)
    return None if basis is None else Kind(basis, host, full)
