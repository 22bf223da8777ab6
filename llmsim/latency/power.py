"""What a GPU draws while it computes a step, from how much of its memory bandwidth and FLOP/s the step uses.

P = idle + bytes_w × sqrt(share of the bandwidth) + flop_w × sqrt(share of the bf16 FLOP/s), and never above max_w.
The form is ours: power rises steeply at first and then saturates. The two factors are fitted to one model's measured
runs (Llama-3.1-8B, ML.ENERGY), with its own steps; of the other models there the median error is 12 to 15 %, and for
experts in fp8 up to 40 %: too little (`llmsim validate mlenergy`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmsim.latency.model import BF16_BYTES, KV_BYTES, Architecture
from llmsim.latency.profile_files import Amount, Profile, Time

Floats = NDArray[np.float64]


class Power(Profile):
    """Watts of one GPU."""

    idle_w: Time  #: between steps
    bytes_w: Time  #: more, at all of the memory bandwidth
    flop_w: Time  #: more, at all of the bf16 FLOP/s
    max_w: Amount  #: what its limit lets it draw
    assumed: bool = False  #: from the limit alone, in the H100's proportions; nothing was measured of this GPU

    def drawn_w(self, bytes_share: Floats, flop_share: Floats) -> Floats:
        """Watts at these shares of memory bandwidth and FLOP/s."""
        more = self.bytes_w * np.sqrt(bytes_share) + self.flop_w * np.sqrt(flop_share)
        return np.asarray(np.minimum(self.max_w, self.idle_w + more))


def step_work(model: Architecture, tokens: Floats, decoding: Floats, context_tokens: Floats) -> tuple[Floats, Floats]:
    """(bytes read, FLOP) of steps of so many tokens, all GPUs together; attention of prompts is left out.

    `context_tokens`: the sum over decoding sequences. Layers with a window read the mean context's share of it.
    """
    parts = model.layer_parameters()
    head = model.vocab_size * model.hidden_size
    read = sum(parts[part] * model.weight_bytes_of(part) for part in ("attention", "mlp")) + head * BF16_BYTES
    active = parts["attention"] + parts["mlp"] + head
    awake: Floats | float = 0.0
    if model.experts is not None:
        share = model.experts.num_experts_per_tok / model.experts.num_experts
        awake = 1 - (1 - share) ** tokens
        active += int(parts["experts"] * share)
    layers, window = float(model.num_hidden_layers), model.sliding_window
    kept = layers * context_tokens
    if window is not None:
        kept = kept - window.layers * np.maximum(0.0, context_tokens - decoding * window.tokens)
    kv_bytes = kept * model.kv_values_per_layer * KV_BYTES[model.kv_cache_dtype]
    bytes_read = read + parts["experts"] * model.weight_bytes_of("experts") * awake + kv_bytes
    return np.asarray(bytes_read), np.asarray(2.0 * active * tokens + 4.0 * model.query_size * kept)
