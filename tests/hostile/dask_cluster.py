"""A Dask cluster on this machine: prints its address, and ends with the process that began it."""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Begin, say where, and wait."""
    import distributed

    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    )
    print(json.dumps({"address": cluster.scheduler_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
