"""AdaServe and what its paper compares it with, as changes of the scenario related/adaserve."""

from __future__ import annotations

OURS, CHUNKED, FIRST = "AdaServe", "chunked prefill", "prefill first"
#: of every draft that follows on accepted ones, this share is accepted, as in the scenario
ACCEPTED = 0.7


def fixed(drafts: int) -> tuple[str, ...]:
    """The scenario with so many drafts for all, under vLLM's scheduler."""
    rates = [round(ACCEPTED**k, 3) for k in range(1, drafts + 1)]
    return (
        "scheduler={name='chunked_prefill', max_num_batched_tokens=2048, max_num_seqs=128}",
        f"speculation.num_speculative_tokens={drafts}",
        f"speculation.acceptance_rates={rates}",
    )


FIXED = {f"{drafts} drafts": fixed(drafts) for drafts in (4, 6, 8)}
KINDS: dict[str, tuple[str, ...]] = {
    OURS: (),
    **FIXED,
    CHUNKED: ("scheduler={name='chunked_prefill', max_num_batched_tokens=512, max_num_seqs=256}", "speculation=null"),
    FIRST: ("scheduler={name='fcfs'}", "speculation=null"),
}
