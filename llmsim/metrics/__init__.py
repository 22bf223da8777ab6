"""Pure functions on recorded timelines: latency, SLOs, goodput, smooth goodput, QoE, fluidity, the score."""
