"""The persistent connections of one endpoint to its peers."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from jsmpc._src.errors import LinkError
from jsmpc._src.links import native, wire
from jsmpc._src.links.core import PureCore
from jsmpc._src.links.meeting import Meeting
from jsmpc._src.links.native import NativeConnection, NativeCore
from jsmpc._src.links.secured import PureConnection


@dataclasses.dataclass(frozen=True)
class Peer:
    """An endpoint as the others know it.

    Attributes:
      name: of the party, for errors and counters.
      host, port: where it listens.
      certificate: its self-signed certificate, PEM; None where connections are plain.
    """

    name: str
    host: str
    port: int
    certificate: bytes | None


class Links:
    """Persistent connections of one endpoint to its peers; made by `connect`.

    What has failed stays failed. Leaving the context says goodbye to the peers.

    Attributes:
      rank: of this endpoint.
      names: of all endpoints, by rank.
      token: what a compiled program is called with, uint32, to find the connections.
      pure: whether they do without the native library.
    """

    def __init__(self, rank: int, names: Sequence[str], core: NativeCore | PureCore) -> None:
        self.rank, self.names, self._core = rank, tuple(names), core
        self.token, self.pure = np.uint32(core.handle), isinstance(core, PureCore)
        self._last: tuple[dict[str, int], dict[str, int], int, str] | None = None

    @property
    def sent(self) -> dict[str, int]:
        """The payload bytes sent to each peer."""
        return self._count(0) if self._last is None else dict(self._last[0])

    @property
    def received(self) -> dict[str, int]:
        """The payload bytes received from each peer."""
        return self._count(1) if self._last is None else dict(self._last[1])

    @property
    def exchanges(self) -> int:
        """How many exchanges were run."""
        return self._core.count(0, 2) if self._last is None else self._last[2]

    @property
    def failure(self) -> str | None:
        """Why the links are of no use any more; None while they are."""
        return self._core.failure() if self._last is None else self._last[3]

    def exchange(
        self, sent: Sequence[tuple[int, Any]], received: Sequence[tuple[int, Any]]
    ) -> None:
        """One exchange outside of programs, of contiguous NumPy arrays.

        Args:
          sent: (peer, array) each; received: (peer, array) each, the arrays are overwritten.

        Raises:
          LinkError: naming the peer and the cause.
        """
        self._core.exchange(sent, received)

    def send_bytes(self, peer: int, data: bytes) -> None:
        """Sends bytes that the peer's `receive_bytes` returns; LinkError."""
        self._core.send_bytes(peer, data)

    def receive_bytes(self, peer: int, limit: int = 1 << 24) -> bytes:
        """What the peer's `send_bytes` sends, at most `limit` bytes; LinkError."""
        return self._core.receive_bytes(peer, limit)

    def abort(self, reason: str) -> None:
        """Tells the peers why this endpoint ends the run, and closes the connections."""
        self._close(reason)

    def close(self) -> None:
        """Says goodbye to the peers, and closes the connections; again is nothing."""
        self._close(None)

    def _close(self, reason: str | None) -> None:
        if self._last is None:
            failure = self.failure or (
                "the links were closed" if reason is None else f"this endpoint ended: {reason}"
            )
            self._last = self.sent, self.received, self.exchanges, failure
        self._core.close(reason)

    def _count(self, which: int) -> dict[str, int]:
        return {
            name: self._core.count(rank, which)
            for rank, name in enumerate(self.names)
            if rank != self.rank
        }

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    rank: int,
    peers: Sequence[Peer],
    *,
    listener: socket.socket,
    identity: tuple[str, str] | None,
    patience: float = 60.0,
    silence: float = 10.0,
    stall: float = 600.0,
    pure: bool = False,
) -> Links:
    """Connects an endpoint with all others: returns once all are connected with each other.

    Connections are encrypted by TLS 1.3; each side shows its certificate, and the other accepts
    exactly that one.

    Args:
      rank: of this endpoint.
      peers: all endpoints by rank, this one included.
      listener: a bound socket, on which this endpoint accepts those of higher rank.
      identity: paths of this endpoint's certificate and private key, PEM; None for plain
        connections, which stay on one machine.
      patience: the seconds in which all endpoints have to appear, in any order.
      silence: the seconds without a sign of life after which a peer counts as dead.
      stall: the seconds after which a peer that lives but sends no data counts as stuck.
      pure: does without the native library.

    Raises:
      LinkError: somebody is missing, has another certificate than that in `peers`, or ended the
        set-up; the text says who.
    """
    if not 0 <= rank < len(peers):
        raise LinkError(f"endpoint {rank} is none of the {len(peers)}")
    if min(patience, silence, stall) <= 0:
        raise LinkError("patience, silence and stall are positive numbers of seconds")
    certificates = [_certificate(peer, identity is not None) for peer in peers]
    use_native = not pure and native.available()
    meeting = Meeting(
        wire.Hello(wire.VERSION, rank, len(peers), min(int(silence * 1000), 0xFFFFFFFF)),
        [(p.name, p.host, p.port, der) for p, der in zip(peers, certificates, strict=True)],
        identity,
        NativeConnection if use_native else PureConnection,
        time.monotonic() + patience,
    )
    found = meeting.meet(listener)
    # The peer's patience decides how often it hears from this endpoint.
    beats = [
        min(silence, found[r][1].silence_ms / 1000) / 4 if r in found else silence
        for r in range(len(peers))
    ]
    connections: list[Any] = [found[r][0] if r in found else None for r in range(len(peers))]
    names = [peer.name for peer in peers]
    core = (NativeCore if use_native else PureCore)(names, connections, beats, silence, stall)
    return Links(rank, names, core)


def _certificate(peer: Peer, secured: bool) -> bytes:
    """The certificate that is pinned, DER; empty on one machine without TLS."""
    if not secured:
        if not _loopback(peer.host):
            raise LinkError(
                f"{peer.name} is on another machine ({peer.host}): without certificates, "
                "connections stay on one machine (127.0.0.1, ::1 or localhost)"
            )
        return b""
    if peer.certificate is None:
        raise LinkError(f"{peer.name} has no certificate, without which nobody can be it")
    try:
        return ssl.PEM_cert_to_DER_cert(peer.certificate.decode().strip())
    except ValueError as error:
        raise LinkError(f"the certificate of {peer.name} is not PEM: {error}") from None


def _loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
