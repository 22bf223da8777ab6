"""What a run is made of: the instances of a cluster, and the options of the run."""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.cluster.admission import Admission
from llmsim.cluster.autoscaling import Autoscaling
from llmsim.cluster.clients import DIRECT, ApiPath
from llmsim.cluster.fleet import ORACLE, Reports
from llmsim.engine.exchange import Disaggregation
from llmsim.engine.speculation.rule import Speculation
from llmsim.latency.contract import LatencyModel
from llmsim.request import Role
from llmsim.scheduler import Scheduler
from llmsim.workload.patience import Patience
from llmsim.workload.quality import Escalation
from llmsim.workload.retries import Retries


@dataclass(frozen=True)
class InstanceSpec:
    """One instance of a cluster."""

    scheduler: Scheduler
    latency: LatencyModel
    num_gpu_blocks: int  #: KV blocks
    max_model_len: int  #: most tokens, prompt and output, of a request
    block_tokens: int = 16
    prefix_caching: bool = False  #: whether blocks are kept for requests that begin alike
    pool: str = "all"  #: name of the pool that it belongs to
    role: Role = "mixed"  #: what it does with arrivals and with computed prompts
    gpus: int = 1  #: over which its model is spread
    async_scheduling: bool = False  #: whether a step is decided while the one before it runs, two in flight
    speculation: Speculation | None = None  #: how its requests speculate; all instances of a cluster do, or none


@dataclass(frozen=True)
class RunOptions:
    """Options of one simulation run.

    Defaults: until every request has ended; no impatient users, no gateway, no disaggregation, no autoscaling, and
    routers that know the present.
    """

    stretches: bool = True  #: False: every step is simulated on its own, with the same result
    until_s: float | None = None  #: the end: later arrivals take no part, those still in the system are unfinished
    patience: Patience | None = None  #: after which users leave, counted from when they send
    retries: Retries | None = None  #: of users that were not served
    escalation: Escalation | None = None  #: which answers are sent on to another model; excludes retries
    max_in_flight: int | None = None  #: requests that clients have under way at once
    api: ApiPath = DIRECT  #: the way between clients and engines
    admission: Admission | None = None  #: what is refused at its door; None: nothing
    reports: Reports = ORACLE  #: how old the news is that routers have of the instances
    disaggregation: Disaggregation | None = None  #: needed where instances have roles
    autoscaling: Autoscaling | None = None  #: how instances come and go


DEFAULTS = RunOptions()
