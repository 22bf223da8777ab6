"""A few coefficients, as DistServe fits them (`latency.fitted`): given, or from a file of ``llmsim profile fit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from llmsim.errors import InputError
from llmsim.latency.contract import LatencyModel, LatencySource
from llmsim.latency.fitted import Fitted
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Model

Seconds = Annotated[float, Field(ge=0, le=1e6)]
Coefficients = Annotated[tuple[Seconds, Seconds, Seconds], Field(strict=False)]
GIVEN = ("prefill", "decode_small", "decode_large", "large_batch")


@dataclass(frozen=True)
class FromFit(LatencySource):
    """Either `file`, or all four of the others; coefficients are in seconds."""

    #: JSON of `llmsim profile fit`, or of DistServe's profiler
    file: str | None = None
    #: name of the model in that file; left out: that of cluster.model
    entry: str | None = None
    #: constant, for each token of the chunks, for each of their squares
    prefill: Coefficients | None = None
    #: of fewer than large_batch sequences: constant, for each token of context, for each sequence
    decode_small: Coefficients | None = None
    #: of large_batch sequences or more: constant, for each token of context, for each sequence
    decode_large: Coefficients | None = None
    #: sequences from which decode_large holds
    large_batch: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        missing = [name for name in GIVEN if getattr(self, name) is None]
        if self.file is None and missing:
            raise InputError(f"{missing[0]} is missing; expected {', '.join(GIVEN)}, or file")
        if self.file is not None and len(missing) < len(GIVEN):
            raise InputError(f"file and {next(n for n in GIVEN if n not in missing)} exclude each other; give one")
        if self.file is None and self.entry is not None:
            raise InputError("entry names a model in file; expected file beside it")

    @classmethod
    def examples(cls) -> Sequence[FromFit]:
        """Rounded coefficients of OPT-13B on an A100."""
        decode = (0.02, 6e-7, 4e-5)
        return (cls(prefill=(0.02, 1e-4, 7e-9), decode_small=decode, decode_large=decode, large_batch=95),)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file with the coefficients, if there is one."""
        return () if self.file is None else (Path(self.file),)

    def for_instance(self, gpu: Gpu, model: Model, tensor_parallel_size: int) -> LatencyModel:
        """Take the coefficients as they are given, or those of the entry and size; InputError if there is none."""
        if self.file is not None:
            return Fitted.from_distserve(self.file, self.entry or model.name, tensor_parallel_size)
        assert self.prefill is not None
        assert self.decode_small is not None
        assert self.decode_large is not None
        assert self.large_batch is not None
        return Fitted(self.prefill, self.decode_small, self.decode_large, self.large_batch)
