"""Questions asked of many runs: sweep, compare, plan, validation, bench."""
