"""Who asks for what, and when: arrival processes, length sources, traces. Random numbers are drawn here only."""
