"""Length sources, found by their file names: `workload.lengths.source` of a scenario."""
