"""Emulated networks: real parties in network namespaces, joined by wires of a rate and a delay.

A relay (`relay.cc`) takes each packet from one namespace to another, in its time. What it counts
and limits are IPv4 packets of 1,500 bytes at most, headers included; the kernel hands them over in
bundles, as to network cards, so that a gigabit a second costs half a core and silence nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_RELAY = Path(__file__).with_name("relay.cc")
_NETWORK = "10.77.0"
_PATIENCE = 10.0  # seconds for what takes none


@dataclasses.dataclass(frozen=True)
class Wire:
    """What joins each endpoint to the switch in the middle.

    Attributes:
      rate: bits a second in each direction.
      round_trip: seconds from one endpoint to another and back.
      queue: the bytes that wait at most, at each end of a wire.
      bundle: the bytes of packets that travel together at most: what arrives is known so late.
      congestion: the kernel's congestion control.
      idle_restart: whether it forgets what a connection can carry while that carries little, as
        Linux does unless its `net.ipv4.tcp_slow_start_after_idle` is 0.
    """

    rate: float
    round_trip: float
    queue: int = 1_500_000  # a thousand packets
    bundle: int = 16_384
    congestion: str = "cubic"
    idle_restart: bool = True


LAN = Wire(rate=1e9, round_trip=0.5e-3)
WAN = Wire(rate=100e6, round_trip=40e-3)


@dataclasses.dataclass(frozen=True)
class Count:
    """The bytes of packets that an endpoint sent and received, and that were lost after sending."""

    sent: int
    received: int
    lost: int


@functools.cache
def why_unavailable() -> str | None:
    """Why no network can be emulated here, or None where one can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "emulated networks need Linux, and root for its namespaces"
    for tool in ("nsenter", "ip", "g++"):
        if shutil.which(tool) is None:
            return f"emulated networks need {tool}"
    try:
        with Emulation(1, LAN):
            return None
    except EmulationError as error:
        return f"no network can be emulated: {error}"


class EmulationError(Exception):
    """A network that cannot be made, or whose relay does not answer."""


class Emulation:
    """Network namespaces, one an endpoint, as long as the context lasts.

    Args:
      count: of endpoints; wire: between each of them and the others.
    """

    def __init__(self, count: int, wire: Wire) -> None:
        self.wire = wire
        self.addresses = tuple(f"{_NETWORK}.{i + 1}" for i in range(count))
        self.own = self.ports = (4001,) * count
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Emulation:
        with self._stack:
            self._relay = self._stack.enter_context(_relay(len(self.addresses), self.wire))
            self._spaces = self._answer().split()
            for endpoint in range(len(self.addresses)):
                self._configure(endpoint)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def inside(self, endpoint: int) -> list[str]:
        """What stands before a command that is to run in an endpoint's namespace."""
        return ["nsenter", f"--net=/proc/{self._relay.pid}/fd/{self._spaces[endpoint]}", "--"]

    def cut(self, endpoint: int) -> None:
        """Loses all that an endpoint sends from now on."""
        self._ask(f"cut {endpoint + 1}")

    def counts(self) -> list[Count]:
        """What each endpoint has sent and received so far."""
        numbers = map(int, self._ask("count").split())
        return [Count(*three) for three in zip(numbers, numbers, numbers, strict=True)]

    def relay_seconds(self) -> float:
        """The processor time that the relay has taken."""
        fields = Path(f"/proc/{self._relay.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _configure(self, endpoint: int) -> None:
        wire, route = self.wire, f"{_NETWORK}.0/24 dev wire"
        restart = f"echo {wire.idle_restart:d} > /proc/sys/net/ipv4/tcp_slow_start_after_idle"
        batch = (
            "link set lo up",
            f"addr add {self.addresses[endpoint]}/24 dev wire noprefixroute",
            f"link set wire mtu 1500 gso_max_size {wire.bundle} up",
            f"route add {route} src {self.addresses[endpoint]} congctl {wire.congestion}",
        )
        done = subprocess.run(
            [*self.inside(endpoint), "sh", "-c", f"{restart} && ip -batch -"],
            input="\n".join(batch) + "\n",
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        if done.returncode:
            raise EmulationError(done.stderr.strip())

    def _ask(self, line: str) -> str:
        with contextlib.suppress(BrokenPipeError):
            self._relay.stdin.write(line + "\n")
            self._relay.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        line = self._relay.stdout.readline()
        if not line:
            raise EmulationError(self._relay.stderr.read().strip() or "the relay has ended")
        return line


@functools.cache
def _program() -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """The compiled relay, and the folder that is there as long as this process is."""
    folder = tempfile.TemporaryDirectory(prefix="jsmpc-relay-")
    program = Path(folder.name, "relay")
    command = ["g++", "-std=c++17", "-O2", "-o", str(program), str(_RELAY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise EmulationError(done.stderr.strip())
    return program, folder


@contextlib.contextmanager
def _relay(count: int, wire: Wire) -> Iterator[subprocess.Popen[str]]:
    """The running relay; it ends with its input, also when this process is killed."""
    arguments = [count, f"{wire.rate:.0f}", wire.round_trip / 2, wire.queue]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([_program()[0], *map(str, arguments)], text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
