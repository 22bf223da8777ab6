"""Where step times come from, by name (`cluster.latency`): one file each, whose class is a `LatencySource`."""
