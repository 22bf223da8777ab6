"""Where the shipped quantile tables come from, and how to make them again.

``python -m llmsim.workload.quantile_sources DATA_DIR llmsim/workload/quantiles`` reads the public
files named below and writes the tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmsim.workload.quantile_table import QuantileTable, derive_quantiles

Ints = NDArray[np.int64]

FIDELITY_DRAWS = 100_000
FIDELITY_SEED = 0


@dataclass(frozen=True, slots=True)
class Source:
    """One public file of observed lengths."""

    file: str  #: path under the data folder
    prompt_column: str
    output_column: str
    description: str
    origin: str
    licence: str
    date: str

    def read(self, data_dir: Path) -> tuple[Ints, Ints]:
        """Return the observed (prompt_tokens, output_tokens)."""
        table = pd.read_csv(data_dir / self.file, usecols=[self.prompt_column, self.output_column])
        return table[self.prompt_column].to_numpy(np.int64), table[self.output_column].to_numpy(np.int64)


_AZURE = "Azure/AzurePublicDataset, AzureLLMInferenceTrace 2023, by Microsoft"
_ETALON_COLUMNS = ("num_prefill_tokens", "num_decode_tokens")

SOURCES: Mapping[str, Source] = {
    "azure_conv": Source(
        "traces/azure2023/AzureLLMInferenceTrace_conv.csv",
        "ContextTokens",
        "GeneratedTokens",
        "Conversations with an LLM service in production",
        _AZURE,
        "CC BY 4.0",
        "2023-11-16",
    ),
    "azure_code": Source(
        "traces/azure2023/AzureLLMInferenceTrace_code.csv",
        "ContextTokens",
        "GeneratedTokens",
        "Code completions by an LLM service in production",
        _AZURE,
        "CC BY 4.0",
        "2023-11-16",
    ),
    "sharegpt": Source(
        "traces/lengths/sharegpt_8k_filtered_stats_llama2_tokenizer.csv",
        *_ETALON_COLUMNS,
        "ShareGPT conversations, history included, at most 8k tokens in all, Llama 2 tokenizer",
        "etalon",
        "Apache-2.0",
        "not stated in the source",
    ),
    "arxiv_summarization": Source(
        "traces/lengths/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv",
        *_ETALON_COLUMNS,
        "Summaries of arXiv papers, at most 4096 tokens in all, Llama 2 tokenizer",
        "microsoft/vidur",
        "MIT",
        "not stated in the source",
    ),
}


def fidelity(table: QuantileTable, prompt: Ints, output: Ints) -> dict[str, float]:
    """Compare draws with the source: how well the joint distribution survived.

    Relative errors of mean and percentiles, both rank correlations (Spearman), and the share of draws whose
    total exceeds any in the source (some sources cap it).
    """
    drawn = table.draw(np.random.default_rng(FIDELITY_SEED), FIDELITY_DRAWS)
    result = {}
    for side, real, made in zip(("prompt", "output"), (prompt, output), drawn, strict=True):
        result[f"{side}_mean_error"] = made.mean() / real.mean() - 1
        for q in (50, 90, 99):
            result[f"{side}_p{q}_error"] = np.percentile(made, q) / np.percentile(real, q) - 1
    result["total_above_source_max"] = np.mean(drawn[0] + drawn[1] > (prompt + output).max())
    result["rank_correlation_source"] = rank_correlation(prompt, output)
    result["rank_correlation_drawn"] = rank_correlation(*drawn)
    return {name: round(float(value), 4) for name, value in result.items()}


def rank_correlation(x: Ints, y: Ints) -> float:
    """Return Spearman's rank correlation; ties share their mean rank."""
    return float(np.corrcoef(pd.Series(x).rank(), pd.Series(y).rank())[0, 1])


def make_table(name: str, data_dir: Path) -> str:
    """Return the JSON text of one shipped table."""
    source = SOURCES[name]
    prompt, output = source.read(data_dir)
    table = derive_quantiles(prompt, output)
    about = asdict(source) | {
        "requests": len(prompt),
        "changes": "reduced to quantiles by llmsim.workload.quantile_sources",
        "fidelity": fidelity(table, prompt, output) | {"draws": FIDELITY_DRAWS, "seed": FIDELITY_SEED},
    }
    lines = [f'"{key}": {json.dumps(value)}' for key, value in about.items()]
    lines.append(f'"levels": {json.dumps(table.levels.tolist())}')
    lines.append(f'"prompt_tokens": {json.dumps(table.prompt_tokens.astype(int).tolist())}')
    groups = ",\n".join(json.dumps(group) for group in table.output_tokens.astype(int).tolist())
    lines.append(f'"output_tokens": [\n{groups}\n]')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Write every table."""
    data_dir, out_dir = (Path(argument) for argument in sys.argv[1:3])
    for name in SOURCES:
        (out_dir / f"{name}.json").write_text(make_table(name, data_dir), encoding="utf-8")


if __name__ == "__main__":
    main()
