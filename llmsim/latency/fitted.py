"""Step times from a few coefficients, as DistServe's published fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmsim.errors import InputError, nearest
from llmsim.latency.contract import UNBOUNDED, Chunk, LatencyModel, Line
from llmsim.reading import MOST_SETTINGS_BYTES, parse_json, read_text

#: constant, per token, per squared token (prefill); constant, per token of context, per sequence (decode)
Coefficients = tuple[float, float, float]


@dataclass(frozen=True)
class Fitted(LatencyModel):
    """Step times linear in their sums, as DistServe fits them (Zhong et al., OSDI 2024, and its profiler).

    prefill = a + b sum(T) + c sum(T²); decode = a + b sum(context) + c batch, with other coefficients from
    `large_batch` sequences on. Seconds throughout. Of a prompt with c computed tokens, a chunk of n counts
    (c + n)² - c². A mixed step takes both parts, less the smaller constant: weights are read once.
    """

    prefill: Coefficients
    decode_small: Coefficients
    decode_large: Coefficients
    large_batch: int  #: sequences from which `decode_large` holds

    def __post_init__(self) -> None:
        for name in ("prefill", "decode_small", "decode_large"):
            values = getattr(self, name)
            if len(values) != 3 or not all(math.isfinite(v) and v >= 0 for v in values) or not sum(values):
                raise InputError(f"{name} = {values}, expected three coefficients in seconds, none negative")

    @classmethod
    def from_distserve(cls, path: Path | str, model: str, tensor_parallel_size: int = 1) -> Fitted:
        """Read coefficients, in ms there, from a profile of DistServe's simulator (profiler-*.json)."""
        try:
            profile = parse_json(read_text(Path(path), MOST_SETTINGS_BYTES), str(path))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error})") from None
        for key in (model, str(tensor_parallel_size)):
            if not isinstance(profile, dict) or key not in profile:
                raise InputError(f"{path}: no entry '{key}'{nearest(key, profile)}")
            profile = profile[key]
        a, b, c = (_seconds(profile, key, path) for key in ("prefill", "decoding_smallbs", "decoding_largebs"))
        return cls(a, b, c, large_batch=int(profile["decoding_large_small_bs_threshold"]))

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        if not prefill:
            fixed_s, token_s = self._decode(decoding)
            return fixed_s + token_s * context_tokens
        a, b, c = self.prefill
        tokens = sum(chunk for _, chunk in prefill)
        squares = sum(chunk * (2 * computed + chunk) for computed, chunk in prefill)
        prefill_s = a + b * tokens + c * squares
        if not decoding:
            return prefill_s
        fixed_s, token_s = self._decode(decoding)
        once_s = min(a, (self.decode_small if decoding < self.large_batch else self.decode_large)[0])
        return prefill_s - once_s + (fixed_s + token_s * context_tokens)

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        fixed_s, token_s = self._decode(decoding)
        return fixed_s + token_s * context_tokens, token_s * decoding, UNBOUNDED

    def _decode(self, decoding: int) -> tuple[float, float]:
        """(seconds without any context, seconds per token of context)."""
        a, b, c = self.decode_small if decoding < self.large_batch else self.decode_large
        return a + c * decoding, b


def _seconds(profile: dict[str, list[float]], key: str, path: Path | str) -> Coefficients:
    values = profile.get(key)
    if not isinstance(values, list) or len(values) != 3:
        raise InputError(f"{path}: {key} = {values}, expected three coefficients in ms")
    return values[0] * 1e-3, values[1] * 1e-3, values[2] * 1e-3
