"""What clients and the server send: a message of a step of a round, signed where there are keys.

A letter is `transport.messages` of {about, step, sender, body}, and a signature of 64 bytes after
it if clients have identities. What it is about is a hash of the set-up and of the round's number,
so nothing is taken from elsewhere.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jsmpc._src.federated.masked import keys
from jsmpc._src.federated.masked.failures import RoundError
from jsmpc._src.transport import messages
from jsmpc._src.transport.errors import MessageError

SERVER = -1  # the sender of the server's letters
_DOMAIN = b"jsmpc one server letter\0"


class Step(enum.IntEnum):
    """The steps of a round, by what a client sends."""

    ADVERTISE = 0
    SHARE = 1
    MASK = 2
    AGREE = 3
    UNMASK = 4

    @property
    def label(self) -> str:
        """As users name it."""
        return self.name.lower()


@dataclasses.dataclass(frozen=True)
class Context:
    """What is the same in all letters of a round.

    Attributes:
      about: a hash of the set-up and the round's number.
      name: of the round, for errors.
      identities: the public keys of clients' signatures; none where letters are not signed.
    """

    about: bytes
    name: str
    identities: tuple[bytes, ...] = ()

    def write(
        self, step: Step, sender: int, body: Mapping[str, Any], identity: bytes | None = None
    ) -> bytes:
        """A letter, signed by a client's private key if there is one."""
        fields = {"about": self.about, "step": int(step), "sender": sender, "body": dict(body)}
        text = b"".join(messages.encode(fields))
        return text if identity is None else text + keys.signed(identity, _hashed(text))

    def read(self, data: bytes, limit: int) -> tuple[Step, int, dict[str, Any]]:
        """The step, sender and body of a letter of this round.

        Args:
          limit: bytes that it may have.

        Raises:
          RoundError: if it is too long, no letter, of another round or set-up, or not signed by
            its sender.
        """
        if type(data) not in (bytes, bytearray, memoryview) or len(data) > limit:
            self.refuse("malformed", f"a letter is at most {limit} bytes")
        view = memoryview(data)
        try:
            size, _ = messages.opened(view)
            text, signature = view[:size], bytes(view[size:])
            fields = messages.decode(text)
        except MessageError as error:
            self.refuse("malformed", str(error))
        match fields:
            case {"about": bytes(about), "step": int(step), "sender": int(sender), "body": body}:
                if len(fields) != 4 or type(body) is not dict or type(step) is bool:
                    self.refuse("malformed", "it has other fields than a letter")
            case _:
                self.refuse("malformed", "it has other fields than a letter")
        if about != self.about:
            self.refuse("another round", "it is of another round or set-up")
        if step not in list(Step):
            self.refuse("malformed", "there is no such step")
        self._require_signature(sender, text, signature)
        return Step(step), sender, body

    def _require_signature(self, sender: int, text: memoryview, signature: bytes) -> None:
        if sender == SERVER or not self.identities:
            if signature:
                self.refuse("malformed", "there are bytes after it")
            return
        known = 0 <= sender < len(self.identities)
        if not known or not keys.is_signed(self.identities[sender], _hashed(text), signature):
            self.refuse("signature", "it is not signed by its sender")

    def refuse(self, reason: str, why: str) -> Any:
        """RoundError for a letter that is not what it is to be."""
        raise RoundError(f"{self.name}: a letter is refused: {why}", reason)


def _hashed(text: bytes | memoryview) -> bytes:
    return _DOMAIN + hashlib.sha256(text).digest()


def fields(context: Context, body: Mapping[str, Any], **kinds: type) -> list[Any]:
    """The values of a body that has exactly these fields, of these types."""
    if set(body) != set(kinds) or any(type(body[k]) is not t for k, t in kinds.items()):
        context.refuse("malformed", f"its body is not {', '.join(sorted(kinds))}")
    return [body[name] for name in kinds]


def packed(members: Iterable[int], clients: int) -> bytes:
    """A set of clients, a bit each."""
    return sum(1 << u for u in members).to_bytes(-(-clients // 8), "little")


def unpacked(context: Context, data: bytes, clients: int) -> tuple[int, ...]:
    """The clients of a set in order."""
    number = int.from_bytes(data, "little")
    if len(data) != -(-clients // 8) or number >> clients:
        context.refuse("malformed", "a set of clients is not one")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return tuple(np.flatnonzero(bits).tolist())


def pieces(context: Context, data: bytes, size: int, count: int) -> list[bytes]:
    """Bytes in so many pieces of a size."""
    if len(data) != size * count:
        context.refuse("malformed", f"there are not {count} of what there are to be")
    return [data[size * i : size * (i + 1)] for i in range(count)]
