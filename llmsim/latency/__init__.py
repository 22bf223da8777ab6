"""How long a step takes. One contract, one file per model."""
