"""The end that answers requests."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.probe import address
from jsmpc._src.errors import JsmpcError, LinkError
from jsmpc._src.transport import channels, failures, messages
from jsmpc._src.transport.directory import Directory, der
from jsmpc._src.transport.messages import Message
from jsmpc._src.transport.watched import Watched

Handler = Callable[[str, Message], Message]

_LOGGER = logging.getLogger("jsmpc")


class Server:
    """Answers the requests of those whom a directory names, until it is stopped.

    Args:
      directory: who may ask, and where this worker is to be reached.
      name: this worker's.
      folder: where its identity is; None for the folder of the directory's file.
      handler: called with the caller's name and a request in one of several threads; returns the
        reply.
      calls: how many requests are worked on at the same time.

    Raises:
      ConfigError: if no worker is called so, or its identity cannot be used.
      LinkError: if its address cannot be listened at.
    """

    def __init__(
        self,
        directory: Directory,
        name: str,
        folder: str | os.PathLike[str] | None,
        handler: Handler,
        *,
        calls: int = 16,
    ) -> None:
        here, own = directory.worker(name), directory.identity(name, folder)
        self.name, self._handler, self._watched = name, handler, Watched(directory)
        pair = own.key_path.read_bytes(), own.certificate_path.read_bytes()
        grpc = channels.library()
        self._pool = ThreadPoolExecutor(calls, thread_name_prefix="jsmpc-call")
        self._server = grpc.server(
            self._pool,
            handlers=[_methods(grpc, self._answer)],
            options=[*channels.OPTIONS, *_OPTIONS],
            maximum_concurrent_rpcs=calls,
        )

        def trusted() -> Any:
            try:
                found = self._watched.now().certificates.values()
                roots = b"".join(certificate.pem for certificate in found)
            except ConfigError:
                roots = pair[1]  # nobody but itself
            return grpc.ssl_server_certificate_configuration([pair], roots)

        credentials = grpc.dynamic_ssl_server_credentials(trusted(), trusted, True)
        try:
            self._server.add_secure_port(address(here), credentials)
        except RuntimeError:
            self._pool.shutdown()
            raise LinkError(
                f"{name} cannot listen at {address(here)}. End what listens there, or give "
                f"{name} another host or port in {directory.file}"
            ) from None
        self._server.start()

    def stop(self, grace: float | None = 5.0) -> None:
        """Takes no more requests, and waits for those at work, `grace` seconds at most."""
        self._server.stop(grace).wait()
        self._pool.shutdown()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until the server is stopped; whether the time was too short."""
        return bool(self._server.wait_for_termination(seconds))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, pieces: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """The reply to a request, both in pieces."""
        grpc = channels.library()
        try:
            directory = self._watched.now()
            caller = directory.caller(_certificate(context))
        except ConfigError as error:
            _LOGGER.warning("%s refuses a request: %s", self.name, error)
            caller = None
        if caller is None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the certificate is not known here")
        yield from channels.chunks(self._reply(caller, pieces, directory.largest))

    def _reply(self, caller: str, pieces: Iterator[bytes], largest: int) -> list[Any]:
        try:
            request = messages.decode(channels.joined(pieces, largest))
            parts = messages.encode({"reply": self._handler(caller, request)})
            channels.check_size(messages.length(parts), largest)
            return parts
        except JsmpcError as error:
            return messages.encode({"error": failures.told(error)})
        except Exception as error:
            # The text may be of anything, secrets as well: it stays out of logs too.
            where = "".join(traceback.format_tb(error.__traceback__))
            _LOGGER.error("a request failed by %s at\n%s", type(error).__name__, where)
            text = f"internal error ({type(error).__name__})"
            return messages.encode({"error": failures.told(JsmpcError(text))})


_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
)


def _certificate(context: Any) -> bytes:
    found = context.auth_context().get("x509_pem_cert", ())
    return der(found[0]) if len(found) == 1 else b""


def _methods(grpc: Any, answer: Callable[..., Iterator[bytes]]) -> Any:
    class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return handler if details.method == channels.METHOD else None

    handler = grpc.stream_stream_rpc_method_handler(answer)
    return Methods()
