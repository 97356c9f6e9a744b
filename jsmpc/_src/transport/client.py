"""The end that asks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import Any

from jsmpc._src.deployment.probe import address
from jsmpc._src.errors import JsmpcError, LinkError
from jsmpc._src.transport import causes, channels, failures, messages
from jsmpc._src.transport.alarms import Alarms
from jsmpc._src.transport.blocks import Buffer
from jsmpc._src.transport.connection import Connection
from jsmpc._src.transport.directory import Directory
from jsmpc._src.transport.errors import MessageError
from jsmpc._src.transport.lane import Lane
from jsmpc._src.transport.messages import Message

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", 5000),  # how long to try
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 3500),
    ("grpc.http2.ping_timeout_ms", 3500),
    ("grpc.http2.max_pings_without_data", 0),
)


class Channel:
    """Asks one worker; several threads may.

    It connects when it is first asked, and again after a failure. The worker has to show the
    certificate that the directory has for it; whoever reads on the way learns the worker's name and
    the sizes of messages. That the other end has died is noticed within 5 seconds, and at once if
    its machine still runs; a link of less than 5 Mbit/s may look like one that is dead.

    Args:
      directory: where the worker is, and its certificate.
      own_name: who asks: a client or worker of the directory.
      folder: where its identity is; None for the folder of the directory's file.
      target: the worker's name.
      kinds: errors that are raised as what they are, beside the public ones.

    Raises:
      ConfigError: if one of the names is not in the directory, or an identity cannot be used.

    Example:
      That of `Server` has both ends.
    """

    def __init__(
        self,
        directory: Directory,
        own_name: str,
        folder: str | os.PathLike[str] | None,
        target: str,
        *,
        kinds: Iterable[type[JsmpcError]] = (),
    ) -> None:
        there, own = directory.worker(target), directory.identity(own_name, folder)
        self.target, self._own_name, self._address = target, own_name, address(there)
        self._directory, self._kinds = directory, tuple(kinds)
        self._grpc = channels.library()
        self._credentials = self._grpc.ssl_channel_credentials(
            there.certificate, own.key_path.read_bytes(), own.certificate_path.read_bytes()
        )
        self._alarms, self._lock, self._closed = Alarms(), threading.Lock(), False
        self._connections = [self._connected()]  # of which only the last is used for new calls

    def call(self, request: Message, deadline: float | None = None) -> Message:
        """The worker's reply to a request.

        Args:
          request: a message; see `messages.encode`.
          deadline: the seconds that it may take; None for those of the directory.

        Raises:
          ValueError: if the deadline is not positive.
          MessageError: if the request, or the reply, is no message or too large.
          LinkError: if the worker cannot be reached, refuses this end, dies or is too slow. Whether
            it has done what was asked is not known then.
          JsmpcError: what the worker raised, of the same class.
        """
        seconds = self._directory.deadline if deadline is None else deadline
        if not seconds > 0:
            raise ValueError(f"deadline must be a positive number of seconds, not {seconds}")
        parts = messages.encode(request)
        channels.check_size(messages.length(parts), self._directory.largest)
        try:
            reply = messages.decode(self._asked(parts, seconds))
        except MessageError as error:
            raise MessageError(f"{self.target}: {error}") from None
        match reply:
            case {"reply": dict(found)}:
                return found
            case {"error": error}:
                raise failures.understood(error, self._kinds, self.target)
        raise MessageError(f"{self.target} sends a message that is no reply")

    def close(self) -> None:
        """Ends the connection, and calls that are under way; again is nothing."""
        with self._lock:
            self._closed, connections = True, self._connections
        for connection in connections:
            connection.close()
        self._alarms.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asked(self, parts: list[Buffer], seconds: float) -> bytearray:
        """The bytes of the reply."""
        due = time.monotonic() + seconds
        connection, lane = self._taken()
        alarm, good = self._alarms.set(seconds, lane.end), False
        try:
            data = lane.ask(parts, self._directory.largest)
            good = bool(data)
        except self._grpc.RpcError as error:
            if error.code() == self._grpc.StatusCode.UNAVAILABLE:
                connection.fail()
            late = f"no answer within {seconds:g} s" if time.monotonic() >= due else None
            raise self._error(error, late) from None
        finally:
            in_time = self._alarms.clear(alarm)
            connection.give_back(lane, good and in_time)
        if not data:
            raise LinkError(f"{self.target} has closed the connection")
        return data

    def _taken(self) -> tuple[Connection, Lane]:
        """A lane, on a new connection if the last one has failed."""
        with self._lock:
            if self._closed:
                raise LinkError(f"{self.target}: the channel is closed. Make a new one")
            while (lane := self._connections[-1].take()) is None:
                used = [connection for connection in self._connections if connection.used]
                self._connections = [*used, self._connected()]
            return self._connections[-1], lane

    def _connected(self) -> Connection:
        """A connection, which is made when it is first used."""
        options = [*channels.OPTIONS, *_OPTIONS, ("grpc.ssl_target_name_override", self.target)]
        place = f"dns:///{self._address}"  # a host may be called unix
        channel = self._grpc.secure_channel(place, self._credentials, options)
        return Connection(channel, self._alarms)

    def _error(self, error: Any, known: str | None) -> JsmpcError:
        code, text = error.code().name, error.details() or ""
        if code == "INVALID_ARGUMENT":
            return MessageError(text)
        why = known or causes.explained(code, text, self._address, self._own_name)
        return LinkError(f"{self.target}: {why}")
