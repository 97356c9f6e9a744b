"""The process of one workload: `python -m jsmpc.bench.worker JSON`; see `serving`."""

from __future__ import annotations

import json
import sys

import jax

from jsmpc.bench.measure import Local, Settings
from jsmpc.bench.serving import serve
from jsmpc.bench.table import WORKLOADS


def main(argument: str) -> None:
    """Serve the workload that the JSON object names, with its settings and cache directory."""
    options = json.loads(argument)

    def make() -> Local:
        candidate = Local(WORKLOADS[options["workload"]], Settings(**options["settings"]))
        if options["cache"]:
            jax.config.update("jax_compilation_cache_dir", options["cache"])
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
            jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        return candidate

    serve(make)


if __name__ == "__main__":
    main(sys.argv[1])
