"""The benchmark's table: all workloads by their names."""

from __future__ import annotations

from jsmpc.bench import workloads
from jsmpc.bench.networks import NETWORKS
from jsmpc.bench.workloads import Workload

WORKLOADS: dict[str, Workload] = {**workloads.WORKLOADS, **{w.name: w for w in NETWORKS}}
