"""Arrival processes, found by their file names: `workload.arrivals.process` of a scenario."""
