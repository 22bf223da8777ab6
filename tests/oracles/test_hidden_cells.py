"""Measured cells of attention that are hidden, and told from the others: what extrapolation is worth."""

import numpy as np
import pytest

from llmsim.latency.attention_times import MOST_SEQUENCES, attention_grid
from llmsim.latency.operators import Heads, Kernels, Operators
from llmsim.latency.profile import PrefillTimes, list_profiles, load_profile
from llmsim.latency.table import StepTable
from places import evidence

CUTS = (1, 2, 3)  # of a row's last cells: up to 2, 4, 8 times the largest context that is left
LEAST_LEFT = 128  # tokens: no row of any table ends below
TABLES = [
    *((f"ops/{gpu}", None, Heads(32, 8)) for gpu in ("a100_sxm", "h100_sxm", "h200_sxm", "l40s")),
    ("ops_moe/b200_sxm", Kernels("vllm", "0.24.0"), Heads(32, 8)),
    ("ops_moe/h200_sxm", Kernels("sglang", "0.5.9"), 16),  # latent attention
]


def decode_table(folder, kernels, heads):
    path = evidence(f"profiles/{folder}")
    operators = Operators(path.parent, path.name, kernels)
    table = (
        operators.decode_attention_s(heads)
        if isinstance(heads, Heads)
        else operators.latent_decode_s(heads, "bfloat16")
    )
    return table[[n for n in table.columns if n <= MOST_SEQUENCES]]


def hidden(table):
    """(sequences, relative error) of each row's last cell, told from the table without the row's last ones."""
    for place, sequences in enumerate(table.columns):
        row = table[sequences].dropna()
        for cut in CUTS:
            if sequences >= 32 and row.index[-cut - 1] >= LEAST_LEFT:
                rest = table.copy()
                rest.loc[row.index[-cut:], sequences] = np.nan
                yield sequences, attention_grid(rest, [row.index[-1]])[place, 0] / row.iloc[-1] - 1


@pytest.mark.parametrize("which", TABLES, ids=lambda which: which[0])
def test_hidden_cells_of_large_batches_are_told_from_the_others(which):
    errors = np.array([error for _, error in hidden(decode_table(*which))])

    assert len(errors) >= 12
    assert abs(np.median(errors)) < 0.03
    assert np.quantile(np.abs(errors), 0.9) < 0.15


def attention_s(profile, tokens):
    """Seconds of a prompt's attention: the step without its other parts."""
    nothing = {"time_s": [0.0] * len(profile.linear.tokens)}, {"time_s": [0.0] * len(profile.head.sequences)}
    linear, head = profile.linear.model_copy(update=nothing[0]), profile.head.model_copy(update=nothing[1])
    return StepTable(profile.model_copy(update={"linear": linear, "head": head})).step_time_s(((0, tokens),), 0, 0)


def test_prompts_twice_as_long_as_measured_are_told_from_the_shorter():
    errors = []
    for key in list_profiles():
        profile = load_profile(*key)
        whole = profile.prefill_attention
        kept = sum(tokens <= 8192 for tokens in whole.prompt_tokens)
        shorter = {name: values[:kept] for name, values in whole.model_dump().items()}
        half = profile.model_copy(update={"prefill_attention": PrefillTimes.model_validate(shorter)})
        errors.append(attention_s(half, 16384) / attention_s(profile, 16384) - 1)

    assert abs(np.median(errors)) < 0.03  # by the last slope: -28 %
    assert np.quantile(np.abs(errors), 0.9) < 0.12
