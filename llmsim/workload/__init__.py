"""Who asks for what, and when: arrival processes, length sources, traces; the only place that draws at random."""
