"""The trace formats that llmsim reads, found by their file names: `workload.format` of a scenario."""
