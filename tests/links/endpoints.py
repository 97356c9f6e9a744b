"""Endpoints for tests: certificates, connections in threads of one process, a raw peer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jsmpc._src.deployment import certificates
from jsmpc._src.links import wire
from jsmpc._src.links.links import Links, Peer, connect

NAMES = ("alice", "bob", "carol")


def make_identity(folder: Path, name: str) -> tuple[str, str]:
    """A new self-signed certificate and its key, as paths."""
    key, certificate = certificates.create(name)
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(certificate)
    paths[1].write_bytes(key)
    return str(paths[0]), str(paths[1])


class Network:
    """Listeners, addresses and identities of some endpoints; `tls` or plain."""

    def __init__(self, folder: Path, count: int, tls: bool) -> None:
        names = NAMES[:count]
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in names]
        self.identities = [make_identity(folder, name) if tls else None for name in names]
        self.peers = [
            Peer(
                name,
                "127.0.0.1",
                listener.getsockname()[1],
                Path(identity[0]).read_bytes() if identity else None,
            )
            for name, listener, identity in zip(names, self.listeners, self.identities, strict=True)
        ]

    def connect(self, rank: int, **options: Any) -> Links:
        given = {"identity": self.identities[rank], "patience": 10.0, **options}
        return connect(rank, self.peers, listener=self.listeners[rank], **given)

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()


def together(*acts: Callable[[], Any]) -> list[Any]:
    """The results of all, each in a thread; an exception stands in the place of a result."""

    def attempt(act: Callable[[], Any]) -> Any:
        try:
            return act()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(attempt, acts))


@contextlib.contextmanager
def linked(network: Network, options: Sequence[dict[str, Any]]) -> Iterator[list[Links]]:
    """All endpoints of a network, connected."""
    links = together(*(lambda r=r: network.connect(r, **o) for r, o in enumerate(options)))
    try:
        for link in links:
            assert isinstance(link, Links), link
        yield links
    finally:
        together(*(link.close for link in links if isinstance(link, Links)))


class RawPeer:
    """Endpoint 1 of two over a plain connection, that sends what a test wants."""

    def __init__(self, network: Network, silence: float = 10.0) -> None:
        self.socket = socket.create_connection(network.listeners[0].getsockname())
        self.socket.settimeout(5)
        hello = wire.Hello(wire.VERSION, 1, 2, int(silence * 1000))
        self.socket.sendall(hello.frame() + wire.frame(wire.Kind.READY))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()
