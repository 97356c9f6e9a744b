"""One workload measured: in this process, or in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jsmpc
from jsmpc._src.api.held import Held, is_held
from jsmpc._src.api.share import Share, is_share
from jsmpc.bench import serving
from jsmpc.bench.serving import Candidate, Unsupported, peak_bytes
from jsmpc.bench.workloads import Workload
from jsmpc.extend import make_protocol

PHASES = ("both", "online")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the workloads are run."""

    protocol: str = "replicated"
    parties: int | None = None
    bits: int = 64
    phase: str = "both"

    def make(self) -> jsmpc.Protocol:
        """The protocol.

        Raises:
          jsmpc.ProtocolError: if there is no such protocol, or not among that many parties.
        """
        return make_protocol(self.protocol, self.parties, self.bits)


@dataclasses.dataclass
class Row:
    """What was measured of one workload; times in seconds.

    Attributes:
      workload: its name.
      status: `ok`, `unsupported` or `failed`; `note` then says why.
      median: of the steady state, on inputs already shared; `times` are the single runs.
      first_call: trace, compile and run; `warm_first_call` the same in a new process with a
        warm persistent compilation cache.
      compile: the part of the first call that XLA takes, where both phases are timed; `trace` the
        rest of it, tracing and one run.
      offline: median of making the material, where only the online phase is timed.
      bytes_per_party, busiest_bytes, rounds, dealer_bytes: counted from the messages; the first
        is a party's mean, the second what the one sends that sends most.
      max_error: largest absolute difference from plain JAX in float64.
      peak_bytes: largest resident size of the process that ran the workload.
      share_bytes: size of the shares of its inputs and outputs, all parties together.
      peers: the same, as far as known, of other systems by their names.
    """

    workload: str
    status: str = "ok"
    note: str = ""
    median: float | None = None
    times: list[float] = dataclasses.field(default_factory=list)
    first_call: float | None = None
    warm_first_call: float | None = None
    trace: float | None = None
    compile: float | None = None
    offline: float | None = None
    bytes_per_party: float | None = None
    busiest_bytes: int | None = None
    rounds: int | None = None
    dealer_bytes: int | None = None
    max_error: float | None = None
    peak_bytes: int | None = None
    share_bytes: int | None = None
    peers: dict[str, Row] = dataclasses.field(default_factory=dict)


class Calls:
    """Calls of a workload's secure function, each in two steps, of which the second is measured.

    Args:
      workload: the function.
      args: its arguments, secrets shared already.
      phase: `online` to make the material in the first step.
    """

    def __init__(self, workload: Workload, args: Sequence[Any], phase: str):
        self.secure = jsmpc.secure(workload.function)
        self.args, self._phase = args, phase
        self._call: Callable[[], Any] = lambda: None
        self.result: Any = None

    def prepare(self) -> float | None:
        """Draw a key; seconds of making the material, where only the online phase is measured."""
        key = jax.block_until_ready(jsmpc.random_key())
        self.result = None
        if self._phase == "online":
            seconds, material = timed(lambda: self.secure.offline(key, *self.args))
            self._call = lambda: self.secure.online(material, *self.args)
            return seconds
        self._call = lambda: self.secure(key, *self.args)
        return None

    def run(self) -> float:
        """Seconds of the call that was prepared."""
        seconds, self.result = timed(self._call)
        return seconds


class Local:
    """A workload in this process, its inputs shared already."""

    def __init__(self, workload: Workload, settings: Settings):
        self._workload, self._phase = workload, settings.phase
        plain = workload.inputs()
        secret = [x for i, x in enumerate(plain) if i not in workload.public]
        shares = iter(jsmpc.share(jsmpc.random_key(), secret, settings.make()))
        args = [
            jax.numpy.asarray(x) if i in workload.public else next(shares)
            for i, x in enumerate(plain)
        ]
        jax.block_until_ready(args)
        self._calls = Calls(workload, args, settings.phase)
        self._offline: list[float] = []
        self._first: tuple[float, float] | None = None  # of both phases: whole, and XLA's part

    def first(self) -> float:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", jsmpc.EncodingWarning)
                with _compiling() as compiled:
                    seconds = self.again()
                if self._phase == "both":
                    self._first = seconds, sum(compiled)
                return seconds
        except jsmpc.UnsupportedError as error:
            raise Unsupported(str(error)) from error
        finally:
            self._offline.clear()  # the first holds the dealer's own compilation

    def again(self) -> float:
        offline = self._calls.prepare()
        if offline is not None:
            self._offline.append(offline)
        return self._calls.run()

    def finish(self) -> dict[str, Any]:
        peak = peak_bytes()
        args, result = self._calls.args, self._calls.result
        cost = self._calls.secure.cost(*args)
        return {
            "offline": statistics.median(self._offline) if self._offline else None,
            "trace": self._first and self._first[0] - self._first[1],
            "compile": self._first and self._first[1],
            "bytes_per_party": cost.bytes_per_party,
            "busiest_bytes": max(cost.bytes_sent),
            "rounds": cost.rounds,
            "dealer_bytes": cost.dealer_bytes,
            "max_error": largest_error(revealed(result), reference(self._workload)),
            "peak_bytes": peak,
            "share_bytes": sum(x.nbytes for x in jax.tree.leaves((args, result))),
        }


_compiled: list[list[float]] = []  # of who is listening, seconds of what XLA compiles


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        for found in _compiled:
            found.append(duration_secs)


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def _compiling() -> Iterator[list[float]]:
    """The seconds of each program that XLA compiles inside."""
    found: list[float] = []
    _compiled.append(found)
    try:
        yield found
    finally:
        _compiled.remove(found)


def timed(f: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until the result is there, and the result."""
    start = time.perf_counter()
    result = jax.block_until_ready(f())
    return time.perf_counter() - start, result


def revealed(tree: Any) -> list[Any]:
    """The leaves of a result, floating-point ones decoded to float64 without a loss.

    Among real parties the dealer has markers in their place.
    """

    def widened(x: Any) -> Any:
        if is_share(x) and np.issubdtype(x.dtype, np.floating):
            return Share(x.components, x.protocol, np.float64, x.digits)
        if is_held(x) and np.issubdtype(x.dtype, np.floating):
            return Held(x.session, x.shape, np.float64, x.rows, x.digits)
        return x

    with jax.enable_x64(True):
        wide = jax.tree.map(widened, tree, is_leaf=is_share)
        return jax.tree.leaves(jsmpc.reveal(wide))


def reference(workload: Workload) -> list[np.ndarray]:
    """The leaves of the result of plain JAX in float64, on the same inputs."""
    with jax.enable_x64(True):
        wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in workload.inputs()]
        result = jax.jit(workload.function)(*wide)
        return [np.asarray(x) for x in jax.tree.leaves(result)]


def largest_error(found: Sequence[Any], expected: Sequence[np.ndarray]) -> float:
    """The largest absolute difference; infinite where shapes differ or a value is NaN."""
    worst = 0.0
    for x, y in zip(map(np.asarray, found), expected, strict=True):
        if x.shape != y.shape:
            return float("inf")
        difference = np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64))
        if difference.size:
            worst = max(worst, float(np.nan_to_num(difference, nan=np.inf).max()))
    return worst


class Remote:
    """A candidate in a process of its own that speaks the lines of `serving`."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None):
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in __exit__)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: Any) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # a request to a process that died
                    pipe.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def first(self) -> float:
        return self._ask("first")

    def again(self) -> float:
        return self._ask("again")

    def finish(self) -> dict[str, Any]:
        return self._ask("finish")

    def _ask(self, request: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            reply = json.loads(self._process.stdout.readline() or "{}")
        except (BrokenPipeError, json.JSONDecodeError):
            reply = {}
        return serving.result(reply or {"failed": self._last_words()})

    def _last_words(self) -> str:
        self._process.terminate()
        self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        reason = lines[-1] if lines else "no output"
        return f"the process ended with status {self._process.returncode}: {reason}"


def remote(workload: Workload, settings: Settings, cache: Path | None = None) -> Remote:
    """The workload in a new process, with a directory for persistent compilation if given."""
    arguments = {
        "workload": workload.name,
        "settings": dataclasses.asdict(settings),
        "cache": str(cache) if cache else None,
    }
    return Remote([sys.executable, "-m", "jsmpc.bench.worker", json.dumps(arguments)])


def warm_first_call(workload: Workload, settings: Settings) -> float:
    """Seconds of a first call whose compilation another process has left in the cache."""
    with tempfile.TemporaryDirectory() as directory:
        seconds = 0.0
        for _ in range(2):
            with remote(workload, settings, Path(directory)) as process:
                seconds = process.first()
        return seconds


def fill(row: Row, candidates: Sequence[tuple[Row, Candidate]], repeat: int) -> None:
    """Measure candidates in turns, the first of them being the row's own.

    The others are left alone where the row's own cannot be measured.
    """
    running: list[tuple[Row, Candidate]] = []
    for part, candidate in candidates:
        if _attempt(_first, part, candidate):
            running.append((part, candidate))
        elif part is row:
            return
    for _ in range(repeat):
        running = [(p, c) for p, c in running if _attempt(_again, p, c)]
    for part, candidate in running:
        _attempt(_finish, part, candidate)
    row.peers = {part.workload: part for part, _ in candidates if part is not row}


def _first(row: Row, candidate: Candidate) -> None:
    row.first_call = candidate.first()


def _again(row: Row, candidate: Candidate) -> None:
    row.times.append(candidate.again())


def _finish(row: Row, candidate: Candidate) -> None:
    for name, value in candidate.finish().items():
        setattr(row, name, value)
    row.median = statistics.median(row.times)


def _attempt(step: Callable[[Row, Candidate], None], row: Row, candidate: Candidate) -> bool:
    try:
        step(row, candidate)
    except Unsupported as error:
        row.status, row.note = "unsupported", _first_line(error)
    except Exception as error:
        row.status, row.note = "failed", _first_line(error)
    return row.status == "ok"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
