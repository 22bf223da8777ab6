"""Measured results in: plain timelines, vLLM's and SGLang's benchmark files."""
