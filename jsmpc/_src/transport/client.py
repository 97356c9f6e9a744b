"""The end that asks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from jsmpc._src.deployment.probe import address
from jsmpc._src.errors import JsmpcError, LinkError
from jsmpc._src.transport import channels, failures, messages
from jsmpc._src.transport.directory import Directory
from jsmpc._src.transport.errors import MessageError
from jsmpc._src.transport.messages import Message


class Channel:
    """Asks one worker.

    Args:
      directory: where the worker is, and its certificate.
      own_name: who asks: a client or worker of the directory.
      folder: where its identity is; None for the folder of the directory's file.
      target: the worker's name.
      kinds: errors that are raised as what they are, beside the public ones.

    Raises:
      ConfigError: if one of the names is not in the directory, or an identity cannot be used.
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
        self.target, self._directory, self._kinds = target, directory, tuple(kinds)
        grpc = self._grpc = channels.library()
        credentials = grpc.ssl_channel_credentials(
            there.certificate, own.key_path.read_bytes(), own.certificate_path.read_bytes()
        )
        options = [*channels.OPTIONS, *_OPTIONS, ("grpc.ssl_target_name_override", target)]
        self._channel = grpc.secure_channel(address(there), credentials, options)
        self._stream = self._channel.stream_stream(channels.METHOD)
        self._single = self._channel.unary_stream(channels.METHOD)

    def call(self, request: Message, deadline: float | None = None) -> Message:
        """The worker's reply to a request.

        Args:
          request: a message; see `messages.encode`.
          deadline: the seconds that it may take; None for those of the directory.

        Raises:
          MessageError: if the request, or the reply, is no message or too large.
          LinkError: if the worker cannot be reached, refuses this end, dies or is too slow.
          JsmpcError: what the worker raised, of the same class.
        """
        seconds = self._directory.deadline if deadline is None else deadline
        parts = messages.encode(request)
        size = messages.length(parts)
        channels.check_size(size, self._directory.largest)
        pieces = channels.chunks(parts)
        try:
            if size <= channels.CHUNK:
                call = self._single(next(pieces), timeout=seconds)
            else:
                call = self._stream(pieces, timeout=seconds)
            data = channels.joined(call, self._directory.largest)
        except self._grpc.RpcError as error:
            raise LinkError(f"{self.target}: {self._cause(error, seconds)}") from None
        except ValueError as error:
            if isinstance(error, MessageError):
                raise
            raise LinkError(f"{self.target}: the channel is closed") from None
        match messages.decode(data):
            case {"reply": dict(reply)}:
                return reply
            case {"error": error}:
                found = failures.understood(error, self._kinds)
                found.add_note(f"raised by {self.target}")
                raise found
        raise MessageError(f"{self.target}: a reply that is none")

    def close(self) -> None:
        """Ends the connection, and calls that are under way; again is nothing."""
        self._channel.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cause(self, error: Any, seconds: float) -> str:
        code, text = error.code(), error.details()
        if code == self._grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer within {seconds:g} s"
        return f"{text} ({code.name})"


_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 2500),
    ("grpc.http2.max_pings_without_data", 0),
)
