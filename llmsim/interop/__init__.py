"""Measured results in and out: the files of benchmarks, each format a module of `formats`, and plain timelines."""
