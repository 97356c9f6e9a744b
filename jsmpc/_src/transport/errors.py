"""The error of what is sent between processes."""

from __future__ import annotations

from jsmpc._src.errors import JsmpcError


class MessageError(JsmpcError, ValueError):
    """What cannot be sent as a message, or bytes that are none.

    Example:
      >>> from jsmpc._src.transport import messages
      >>> messages.decode(b"no message")
      Traceback (most recent call last):
          ...
      jsmpc._src.transport.errors.MessageError: no message: …
    """
