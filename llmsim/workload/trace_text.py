"""How many tokens a text has, for traces that hold texts."""

from __future__ import annotations

import math

from llmsim.errors import InputError
from llmsim.workload.arguments import positive
from llmsim.workload.trace_format import CountTokens
from llmsim.workload.trace_layout import TraceOptions

_ASK = (
    "holds texts, not numbers of tokens; say workload.tokens_per_character (English: about 0.25) or "
    "workload.tokenizer = a tokenizer.json (llmsim trace: --tokens-per-character, --tokenizer)"
)


def token_counter(options: TraceOptions) -> CountTokens:
    """Return what counts the tokens of a text: 0 of an empty one, at least 1 of any other.

    Raises InputError for a tokenizer that cannot be read; the counter itself raises it where neither a share nor a
    tokenizer was given.
    """
    if options.tokenizer is not None:
        return _of_tokenizer(options.tokenizer)
    if options.tokens_per_character is None:
        return _refused
    share = positive("tokens_per_character", options.tokens_per_character)
    return lambda text: math.ceil(len(text) * share)


def _refused(text: str) -> int:
    raise InputError(_ASK)


def _of_tokenizer(path: str) -> CountTokens:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError("tokenizer: needs the package tokenizers (pip install llmsim[tokenizers])") from None
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the package raises nothing more special
        raise InputError(f"tokenizer = '{path}': not a tokenizer.json ({' '.join(str(error).split())})") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
