"""The benchmark's table, its header and its JSON form."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

import jsmpc
from jsmpc._src.kernels import native
from jsmpc.bench import processes
from jsmpc.bench.limits import Limits, share_of_ceiling
from jsmpc.bench.measure import Row, Settings
from jsmpc.bench.table import WORKLOADS


def header(settings: Settings, repeat: int) -> dict[str, Any]:
    """What the figures depend on: versions, machine, protocol, kernels."""
    protocol = settings.make()
    return {
        "jsmpc": jsmpc.__version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "protocol": type(protocol).__name__,
        "parties": protocol.size,
        "bits": protocol.bits,
        "phase": settings.phase,
        "native_kernels": native.available(),
        "why_not_native": native.why_unavailable(),
        "repeat": repeat,
    }


def cpu_model() -> str:
    """The processor's name, as far as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def header_text(values: dict[str, Any]) -> str:
    kernels = "native" if values["native_kernels"] else f"pure XLA ({values['why_not_native']})"
    phase = "both phases" if values["phase"] == "both" else "online phase"
    return (
        f"jsmpc {values['jsmpc']}, JAX {values['jax']}, jaxlib {values['jaxlib']}, "
        f"NumPy {values['numpy']}, Python {values['python']}\n"
        f"{values['cpu']}, {values['cores']} cores; kernels: {kernels}\n"
        f"{values['protocol']}, {values['parties']} parties, {values['bits']} bits, {phase}; "
        f"median of {values['repeat']}, everything in the inputs secret and shared beforehand"
    )


def limits_text(limits: Limits) -> str:
    """The ceilings, a line each."""
    lines = [
        ("memory write", f"{limits.write:.1f} GB/s"),
        ("memory copy", f"{limits.copy:.1f} GB/s"),
    ]
    if limits.multiply_add is not None:
        lines.append(("multiply-add uint64", f"{limits.multiply_add:.1f} Gop/s (registers)"))
    for kind, rates in limits.gemm.items():
        shown = ", ".join(f"{rate:.1f} ({shape})" for shape, rate in rates.items())
        lines.append((f"GEMM {kind}", f"{shown} Gop/s"))
    for kind, rate in limits.keystream.items():
        lines.append((f"ChaCha20 {kind}", f"{rate:.2f} GB/s"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(["Ceilings of this machine", *(f"  {n:<{width}}  {v}" for n, v in lines)])


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"


def _megabytes(count: float | None) -> str:
    return "" if count is None else f"{count / 1e6:.4g}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


_Column = tuple[str, Callable[[Row], str]]


def _columns(
    rows: Sequence[Row], settings: Settings, limits: Limits | None, peers: Sequence[str]
) -> list[_Column]:
    columns: list[_Column] = [
        ("workload", lambda r: r.workload),
        ("median ms", lambda r: _milliseconds(r.median)),
        ("first s", lambda r: _seconds(r.first_call)),
    ]
    if settings.phase == "both":
        columns += [
            ("trace s", lambda r: _seconds(r.trace)),
            ("compile s", lambda r: _seconds(r.compile)),
        ]
    if any(r.warm_first_call is not None for r in rows):
        columns.append(("warm first s", lambda r: _seconds(r.warm_first_call)))
    if settings.phase == "online":
        columns.append(("offline ms", lambda r: _milliseconds(r.offline)))
    columns += [
        ("MB/party", lambda r: _megabytes(r.bytes_per_party)),
        ("busiest MB", lambda r: _megabytes(r.busiest_bytes)),
        ("rounds", lambda r: "" if r.rounds is None else str(r.rounds)),
    ]
    if any(r.dealer_bytes for r in rows):
        columns.append(("dealer MB", lambda r: _megabytes(r.dealer_bytes)))
    columns += [
        ("max error", lambda r: "" if r.max_error is None else f"{r.max_error:.2g}"),
        ("peak MB", lambda r: "" if r.peak_bytes is None else f"{r.peak_bytes / 1e6:.0f}"),
    ]
    if limits is not None:
        columns.append(("of ceiling", lambda r: _ceiling(r, limits, settings)))
    for peer in peers:
        columns += [
            (f"{peer} ms", functools.partial(_peer, peer)),
            ("ratio", functools.partial(_ratio, peer)),
        ]
    return columns


def _ceiling(row: Row, limits: Limits, settings: Settings) -> str:
    share = share_of_ceiling(WORKLOADS[row.workload], row, limits, settings)
    return "" if share is None else f"{100 * share[1]:.0f} % {share[0]}"


def _peer(name: str, row: Row) -> str:
    peer = row.peers.get(name)
    if peer is None:
        return ""
    return _milliseconds(peer.median) if peer.status == "ok" else peer.status


def _ratio(name: str, row: Row) -> str:
    """How much longer a peer takes; with a process a party, than jsmpc's own parties so."""
    peer = row.peers.get(name)
    own = row.peers.get(processes.NAME) if name.endswith(f" {processes.NAME}") else row
    if peer is None or own is None or peer.median is None or own.median is None:
        return ""
    return f"{peer.median / own.median:.1f}"


def table(
    rows: Sequence[Row], settings: Settings, limits: Limits | None, peers: Sequence[str]
) -> str:
    """The rows, aligned; what could not be measured says why."""
    columns = _columns(rows, settings, limits, peers)
    cells = [[name for name, _ in columns]]
    cells += [[show(row) for _, show in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = []
    for line, row in zip(cells, [None, *rows], strict=True):
        if row is not None and row.status != "ok":
            status = "not yet supported" if row.status == "unsupported" else "failed"
            lines.append(f"{line[0]:<{widths[0]}}  {status}: {row.note}")
            continue
        rest = (f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        lines.append("  ".join([f"{line[0]:<{widths[0]}}", *rest]).rstrip())
    return "\n".join(lines)


def as_json(
    values: dict[str, Any], rows: Sequence[Row], settings: Settings, limits: Limits | None
) -> dict[str, Any]:
    """All that was measured, as plain data."""
    shown = []
    for row in rows:
        entry = dataclasses.asdict(row)
        if limits is not None:
            share = share_of_ceiling(WORKLOADS[row.workload], row, limits, settings)
            entry["ceiling"], entry["share_of_ceiling"] = share or (None, None)
        shown.append(entry)
    ceilings = None if limits is None else dataclasses.asdict(limits)
    return {"header": values, "limits": ceilings, "rows": shown}
