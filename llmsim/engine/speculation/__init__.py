"""Speculative decoding in an engine: sequences that verify drafted tokens, several in a step."""
