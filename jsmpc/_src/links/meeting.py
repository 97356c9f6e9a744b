"""How the endpoints find each other: one connection between every two of them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from jsmpc._src.errors import LinkError
from jsmpc._src.links import wire
from jsmpc._src.links.greeting import Connection, dismiss, drop, exchange_hello, read_control
from jsmpc._src.links.wire import Broken, Hello, Kind, Refused, Untrusted

_log = logging.getLogger("jsmpc")

_STRANGER = 10.0  # seconds in which an accepted connection has to say who it is
_STRANGERS = 32  # how many may be saying it at once


class Meeting:
    """The set-up of one endpoint's connections.

    Args:
      hello: what this endpoint says of itself.
      peers: name, host, port and certificate (DER; empty without TLS) of each endpoint, by rank.
      identity: as of `links.connect`.
      kind: the class of the connections.
      end: when patience ends, in `time.monotonic`'s seconds.
    """

    def __init__(
        self,
        hello: Hello,
        peers: Sequence[tuple[str, str, int, bytes]],
        identity: tuple[str, str] | None,
        kind: type[Connection],
        end: float,
    ) -> None:
        self._hello, self._rank = hello, hello.rank
        self._names = [peer[0] for peer in peers]
        self._addresses = [(peer[1], peer[2]) for peer in peers]
        self._certificates = [peer[3] for peer in peers]
        self._identity, self._kind, self._end = identity, kind, end
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._ready: set[int] = set()
        self._replaced: list[Connection] = []
        self._found: dict[int, tuple[Connection, Hello]] = {}
        self._strangers: set[socket.socket] = set()
        self._notes: dict[int | None, str] = {}  # the last trouble with a peer, or a stranger
        self._error: str | None = None
        self._over = self._settled = False

    def meet(self, listener: socket.socket) -> dict[int, tuple[Connection, Hello]]:
        """The connection to every peer, once all endpoints have theirs; LinkError."""
        listener.listen(64)
        listener.setblocking(False)
        for rank in range(self._rank):
            self._start(self._call, rank)
        try:
            self._accept(listener)
            with self._lock:
                self._settled = True
            self._error = self._error or self._missing() or self._all_ready()
        finally:
            self._over = self._settled = True
            with self._lock:
                for stranger in self._strangers:
                    with contextlib.suppress(OSError):
                        stranger.shutdown(socket.SHUT_RDWR)
            for thread in self._threads:
                thread.join()
            for connection in self._replaced:
                connection.close()
            if self._error is not None or not self._ready.issuperset(self._found):
                self._tell(self._error or "interrupted")
        if self._error is not None:
            raise LinkError(self._error)
        return self._found

    def _left(self) -> float:
        return self._end - time.monotonic()

    def _complete(self) -> bool:
        return len(self._found) == len(self._names) - 1

    def _start(self, act: Callable[..., None], *arguments: Any) -> None:
        self._threads = [t for t in self._threads if t.is_alive()]
        self._threads.append(threading.Thread(target=act, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket) -> None:
        """Meets who connects, until all are found, something is wrong, or patience ends."""
        while not self._complete() and self._error is None and self._left() > 0:
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            with self._lock:
                watched = {
                    c.fileno(): r for r, (c, _) in self._found.items() if r not in self._ready
                }
            for descriptor in watched:
                poll.register(descriptor, select.POLLIN)
            for descriptor, _ in poll.poll(min(20.0, self._left() * 1000)):
                if descriptor in watched:
                    self._hear(watched[descriptor])
                    continue
                try:
                    raw, address = listener.accept()
                except OSError:
                    continue
                with self._lock:
                    full = len(self._strangers) >= _STRANGERS
                    if not full:
                        self._strangers.add(raw)
                if full:
                    raw.close()
                else:
                    self._start(self._meet_stranger, raw, address)

    def _hear(self, rank: int) -> None:
        """What one who was found says while others are missing; who is gone may come back."""
        try:
            self._error = self._error or self._read_ready(rank, time.monotonic() + 1.0)
        except (Broken, Refused) as error:
            self._note(rank, str(error))
            with self._lock:
                connection, _ = self._found.pop(rank)
            connection.close()
            if rank < self._rank:
                self._start(self._call, rank)

    def _read_ready(self, rank: int, end: float) -> str | None:
        kind, payload = read_control(self._found[rank][0], end)
        if kind == Kind.ABORT:
            return f"{self._names[rank]} ended the set-up: {wire.printable(payload)}"
        if kind != Kind.READY:
            return f"{self._names[rank]} does not follow the protocol"
        self._ready.add(rank)
        return None

    def _meet_stranger(self, raw: socket.socket, address: tuple[str, int]) -> None:
        higher = [c for c in self._certificates[self._rank + 1 :] if c]
        connection: Connection | None = None
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end = time.monotonic() + min(_STRANGER, max(self._left(), 0.1))
            connection = self._kind(raw, True, self._identity, higher, end - time.monotonic())
            hello = exchange_hello(connection, self._hello, end)
            wrong = self._wrong(hello, connection)
            if wrong is not None:
                dismiss(connection, wrong)
                raise Broken(wrong)
            self._add(hello.rank, connection, hello)
        except Untrusted as error:
            drop(raw, connection)
            self._note(None, f"{address[0]} showed a certificate that belongs to nobody: {error}")
        except (Broken, Refused, LinkError, OSError) as error:
            drop(raw, connection)
            self._note(None, f"{address[0]} is no endpoint: {error}")
        finally:
            with self._lock:
                self._strangers.discard(raw)
            raw.close()

    def _wrong(self, hello: Hello, connection: Connection) -> str | None:
        if hello.version != wire.VERSION:
            return f"it speaks version {hello.version} of the protocol, not {wire.VERSION}"
        if hello.endpoints != len(self._names):
            return f"it counts {hello.endpoints} endpoints, not {len(self._names)}"
        if not self._rank < hello.rank < len(self._names):
            return f"it claims to be endpoint {hello.rank}, which does not connect here"
        if connection.certificate != self._certificates[hello.rank]:
            return f"it claims to be {self._names[hello.rank]}, whose certificate is another one"
        return None

    def _call(self, rank: int) -> None:
        """Connects to a lower rank, again and again until it is there."""
        pause = 0.02
        while self._error is None and not self._over and self._left() > 0:
            try:
                return self._call_once(rank)
            except Untrusted as error:
                self._fail(f"{self._place(rank)} showed another certificate than its own: {error}")
            except Refused as error:
                self._fail(
                    f"{self._place(rank)} does not accept this endpoint's certificate: {error}"
                )
            except LinkError as error:
                self._fail(str(error))
            except (Broken, OSError) as error:
                self._note(rank, str(error) or type(error).__name__)
            time.sleep(min(pause, max(self._left(), 0)))
            pause = min(2 * pause, 0.5)
        return None

    def _call_once(self, rank: int) -> None:
        raw = socket.create_connection(self._addresses[rank], min(5.0, max(self._left(), 0.1)))
        connection: Connection | None = None
        with self._lock:
            self._strangers.add(raw)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pinned = self._certificates[rank]
            connection = self._kind(
                raw, False, self._identity, [pinned] if pinned else [], max(self._left(), 0.1)
            )
            if connection.certificate != pinned:
                shown = hashlib.sha256(connection.certificate).hexdigest()
                raise Untrusted(f"one with the SHA-256 {shown}")
            hello = exchange_hello(connection, self._hello, self._end)
            if hello.version != wire.VERSION:
                raise LinkError(
                    f"{self._names[rank]} speaks version {hello.version} of the protocol, "
                    f"not {wire.VERSION}"
                )
            if hello.rank != rank or hello.endpoints != len(self._names):
                raise LinkError(
                    f"{self._place(rank)} says that it is endpoint {hello.rank} of "
                    f"{hello.endpoints}, not {rank} of {len(self._names)}"
                )
            self._add(rank, connection, hello)
        except BaseException:
            drop(raw, connection)
            raise
        finally:
            with self._lock:
                self._strangers.discard(raw)
            raw.close()

    def _add(self, rank: int, connection: Connection, hello: Hello) -> None:
        """Takes a connection; a peer that was started anew replaces the one it had."""
        with self._lock:
            if not self._settled:
                if rank in self._found:
                    # It may be being read just now.
                    self._replaced.append(self._found[rank][0])
                self._found[rank] = (connection, hello)
                self._ready.discard(rank)
                return
        connection.close()

    def _missing(self) -> str | None:
        missing = [r for r in range(len(self._names)) if r != self._rank and r not in self._found]
        if not missing:
            return None
        text = "no connection with " + " and ".join(map(self._place, missing)) + " in time"
        notes = [self._notes[r] for r in (*missing, None) if r in self._notes]
        return text + (f" ({'; '.join(notes)})" if notes else "")

    def _all_ready(self) -> str | None:
        """Waits until all endpoints have found all others; what went wrong."""
        for rank, (connection, _) in sorted(self._found.items()):
            try:
                connection.write(wire.frame(Kind.READY), max(self._left(), 0.1))
            except Broken as error:
                self._notes[rank] = str(error)
        for rank in sorted(self._found.keys() - self._ready):
            try:
                if (wrong := self._read_ready(rank, self._end)) is not None:
                    return wrong
            except (Broken, Refused) as error:
                return f"the connection with {self._names[rank]} ended during the set-up: {error}"
        return None

    def _tell(self, reason: str) -> None:
        for connection, _ in self._found.values():
            dismiss(connection, reason)
            connection.close()

    def _place(self, rank: int) -> str:
        host, port = self._addresses[rank]
        return f"{self._names[rank]} ({host}:{port})"

    def _note(self, rank: int | None, text: str) -> None:
        if not self._over:
            self._notes[rank] = text
            if rank is None:
                _log.warning("a connection was dropped: %s", text)

    def _fail(self, error: str) -> None:
        if not self._over:
            self._error = self._error or error
