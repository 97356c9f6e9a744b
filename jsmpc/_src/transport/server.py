"""The end that answers requests."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.probe import address
from jsmpc._src.errors import JsmpcError, LinkError
from jsmpc._src.transport import channels, failures, messages
from jsmpc._src.transport.alarms import Alarms
from jsmpc._src.transport.blocks import Buffer
from jsmpc._src.transport.directory import Directory, der
from jsmpc._src.transport.errors import MessageError
from jsmpc._src.transport.messages import Message
from jsmpc._src.transport.slots import Slots
from jsmpc._src.transport.threads import Threads
from jsmpc._src.transport.watched import Watched

Handler = Callable[[str, Message], Message]

_LANES = 8  # streams that may be open, for each call at a time
_IDLE = 60.0  # seconds that a stream may be without a request; clients end theirs before
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
)

_LOGGER = logging.getLogger("jsmpc")


class Server:
    """Answers the requests of those whom a directory names, until it is stopped.

    The directory's file is read again when it changes: whoever is no longer in it is refused from
    the next request on, within a second. Callers are known by their certificates, to the last bit.
    TLS keeps others from reading, changing or repeating what is sent; that an honest caller asks
    the same twice cannot be told from one request sent twice: where that matters, the handler
    numbers requests.

    Args:
      directory: who may ask, and where this worker is to be reached.
      name: this worker's.
      folder: where its identity is; None for the folder of the directory's file.
      handler: called with the caller's name and a request, in one of several threads; returns the
        reply. A `JsmpcError` goes back to the caller as what it is, of any other error only the
        name of its class.
      calls: how many requests are received and worked on at the same time; more are refused at
        once, whoever has made them. Beside what the handler takes, memory is bounded by so many
        times three of the largest messages and 16 MiB.
      each: how many of these may be one caller's; all by default.

    Raises:
      ConfigError: if no worker is called so, or its identity cannot be used.
      LinkError: if its address cannot be listened at.

    Example:
      >>> import socket, tempfile
      >>> from pathlib import Path
      >>> from jsmpc._src.deployment import identity
      >>> from jsmpc._src.transport.client import Channel
      >>> from jsmpc._src.transport.directory import Directory
      >>> from jsmpc._src.transport.server import Server
      >>> folder = tempfile.TemporaryDirectory()
      >>> for name in ("bob", "carol"):
      ...     made = identity.new(name, folder.name)
      >>> with socket.create_server(("127.0.0.1", 0)) as free:
      ...     port = free.getsockname()[1]
      >>> file = Path(folder.name, "workers.toml")
      >>> text = f'[workers.bob]\\nhost = "127.0.0.1"\\nport = {port}'
      >>> text += '\\ncertificate = "bob.cert.pem"'
      >>> text += '\\n[clients.carol]\\ncertificate = "carol.cert.pem"'
      >>> file.write_text(text) > 0
      True
      >>> directory = Directory.load(file)
      >>> with Server(directory, "bob", None, lambda caller, request: {"hello": caller}):
      ...     with Channel(directory, "carol", None, "bob") as bob:
      ...         print(bob.call({}))
      {'hello': 'carol'}
      >>> folder.cleanup()
    """

    def __init__(
        self,
        directory: Directory,
        name: str,
        folder: str | os.PathLike[str] | None,
        handler: Handler,
        *,
        calls: int = 16,
        each: int | None = None,
    ) -> None:
        here, own = directory.worker(name), directory.identity(name, folder)
        self.name, self._handler, self._watched = name, handler, Watched(directory)
        self._grpc = grpc = channels.library()
        self._slots, self._alarms = Slots(calls, each or calls), Alarms()
        self._lanes = Slots(_LANES * calls, _LANES * (each or calls))
        self._lock, self._waiting, self._stopping = threading.Lock(), set[Any](), False
        self._server = grpc.server(
            Threads(),
            handlers=[_methods(grpc, self._lane)],
            options=[*channels.OPTIONS, *_OPTIONS],
            maximum_concurrent_rpcs=_LANES * calls,
        )
        pair = own.key_path.read_bytes(), own.certificate_path.read_bytes()

        self._roots = self._trusted()

        def configuration(trusted: bytes) -> Any:
            # gRPC asks for at least one certificate to trust.
            return grpc.ssl_server_certificate_configuration([pair], trusted or pair[1])

        def changed() -> Any:
            # Only what is new is told: gRPC aborts where a connection begins while it exchanges
            # what it trusts, in some of many thousand times.
            before, self._roots = self._roots, self._trusted()
            return None if self._roots == before else configuration(self._roots)

        credentials = grpc.dynamic_ssl_server_credentials(configuration(self._roots), changed, True)
        try:
            self._server.add_secure_port(address(here), credentials)
        except RuntimeError:
            raise LinkError(
                f"{name} cannot listen at {address(here)}. End what listens there, or give "
                f"{name} another host or port in {directory.file}"
            ) from None
        self._server.start()

    def stop(self, grace: float | None = 5.0) -> None:
        """Takes no more requests, and waits for those at work, `grace` seconds at most.

        What a handler does beyond is lost with the process; it cannot be ended from outside.
        """
        with self._lock:
            self._stopping = True
            waiting = tuple(self._waiting)
        for context in waiting:
            context.cancel()
        self._server.stop(grace).wait()
        self._alarms.close()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until the server is stopped, `seconds` at most; whether it is."""
        return not self._server.wait_for_termination(seconds)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _trusted(self) -> bytes:
        """The certificates of all who may connect now, PEM."""
        try:
            return b"".join(found.pem for found in self._watched.now().certificates.values())
        except ConfigError:
            return b""

    def _lane(self, pieces: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """The replies to requests that come one after the other, all in pieces."""
        certificate = _certificate(context)
        if not self._lanes.take(certificate):
            text = "too many streams are open. Use one channel"
            context.abort(self._grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        try:
            yield from self._answers(certificate, pieces, context)
        finally:
            self._lanes.give(certificate)

    def _answers(
        self, certificate: bytes, pieces: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        while first := self._awaited(pieces, context):
            caller, directory = self._identified(certificate, context)
            if not self._slots.take(caller):
                text = "it is at work on as many calls as it can. Ask again later"
                context.abort(self._grpc.StatusCode.RESOURCE_EXHAUSTED, text)
            with contextlib.ExitStack() as slot:
                slot.callback(self._slots.give, caller)
                limit, largest = directory.deadline, directory.largest
                with self._alarms.within(limit, context.cancel):
                    request = self._received(first, pieces, largest, context)
                reply = channels.chunks(self._reply(caller, request, largest))
                del request
                with self._alarms.within(limit, context.cancel):
                    last = next(reply)
                    for piece in reply:
                        yield last
                        last = piece
                    slot.close()  # before the caller has all, and may ask again
                    yield last

    def _awaited(self, pieces: Iterator[bytes], context: Any) -> bytes | None:
        """The first piece of the next request; None at the end."""
        with self._lock:
            if self._stopping:
                return None
            self._waiting.add(context)
        try:
            with self._alarms.within(_IDLE, context.cancel):
                return next(pieces, None)
        finally:
            with self._lock:
                self._waiting.discard(context)

    def _identified(self, certificate: bytes, context: Any) -> tuple[str, Directory]:
        """Whose certificate it is now; ends the stream of anybody else."""
        try:
            directory = self._watched.now()
            if caller := directory.caller(certificate):
                return caller, directory
            why = "the certificate is not in its file of workers and clients"
            _LOGGER.warning("%s refuses a request of somebody not in its file", self.name)
        except ConfigError as error:
            _LOGGER.warning("%s refuses a request: %s", self.name, error)
            why = "its file of workers and clients, or the certificate, is not valid now"
        context.abort(self._grpc.StatusCode.UNAUTHENTICATED, why)
        raise AssertionError

    def _received(
        self, first: bytes, pieces: Iterator[bytes], largest: int, context: Any
    ) -> Message:
        """A request; ends a stream that brings none, as nobody knows where the next begins."""
        try:
            return messages.decode(channels.joined(itertools.chain([first], pieces), largest))
        except MessageError as error:
            context.abort(self._grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise AssertionError from None

    def _reply(self, caller: str, request: Message, largest: int) -> list[Buffer]:
        """What the handler replies or raises, encoded."""
        try:
            parts = messages.encode({"reply": self._handler(caller, request)})
            channels.check_size(messages.length(parts), largest)
            return parts
        except JsmpcError as error:
            told = error
        except BaseException as error:  # an exit, too, is that of this call alone
            # Its text may quote anything, secrets as well: it stays out of the log too.
            where = "".join(traceback.format_tb(error.__traceback__))
            _LOGGER.error("a request failed by %s at\n%s", type(error).__name__, where)
            told = JsmpcError(f"internal error ({type(error).__name__})")
        return messages.encode({"error": failures.told(told)})


def _certificate(context: Any) -> bytes:
    """What the other end has shown, DER."""
    shown = context.auth_context().get("x509_pem_cert", ())
    return der(shown[0]) if len(shown) == 1 else b""


def _methods(grpc: Any, lane: Callable[..., Iterator[bytes]]) -> Any:
    """gRPC's view of the one method there is."""

    class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return handler if details.method == channels.METHOD else None

    handler = grpc.stream_stream_rpc_method_handler(lane)
    return Methods()
