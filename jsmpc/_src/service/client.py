"""The end that asks: a client of a service, who alone sees queries and answers."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import sharing
from jsmpc._src.api.forms import tree_of
from jsmpc._src.deployment.config import Config
from jsmpc._src.errors import EncodingError, LinkError, ServiceError
from jsmpc._src.service import answers, query
from jsmpc._src.service.calls import Calls, replies
from jsmpc._src.service.directory import Parties
from jsmpc._src.transport.client import Channel

_AGAIN = 0.2  # seconds between two attempts to find a service
_DEADLINE, _DESCRIPTION, _WITHDRAWAL = 60.0, 10.0, 1.0  # seconds for each kind of call
_AT_ONCE = 4  # queries of one prediction


class Client:
    """Asks a service for predictions; made by `jsmpc.connect`.

    It may be used by several threads. Leaving the context closes it.

    Attributes:
      input: the shape and dtype of one input.
      largest: the most inputs that the service takes at once.
    """

    def __init__(
        self,
        config: str | os.PathLike[str],
        name: str,
        folder: str | os.PathLike[str] | None,
        patience: float,
    ) -> None:
        directory, found = Parties.load(config), Config.load(config)
        self._protocol, self._fingerprint = found.protocol, found.fingerprint
        with contextlib.ExitStack() as stack:
            self._channels = [
                stack.enter_context(Channel(directory, name, folder, party))
                for party in self._protocol.parties
            ]
            self._calls = Calls(self._channels)
            stack.callback(self._calls.close)
            told = self._described(time.monotonic() + patience)
            self._closing = stack.pop_all()
        shape, dtype = told["input"]
        self.input = jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
        self.largest: int = told["largest"]
        self._results: dict[str, Any] = told["results"]

    def predict(self, x: Any, deadline: float = _DEADLINE) -> Any:
        """The model's predictions; nobody else learns inputs or predictions.

        Args:
          x: one input, of the shape and dtype of `input`, or a batch with a leading axis; integers
            and floats of other widths are taken where the dtype holds them.
          deadline: the seconds that each query may take; what is larger than `largest` is several.

        Returns:
          what the model returns, for one input or with the batch's axis first: arrays, in the
          dictionaries, lists and tuples of the model.

        Raises:
          EncodingError: for another shape or dtype, NaN, infinity, or a number out of range, before
            anything is sent.
          LimitError: if the client has asked too much.
          ServiceError: if the service stops or has ended, or dropped the query.
          LinkError: naming a party that cannot be reached, has died, or is too slow.

        Guarantee: each party gets its own rows of shares that are drawn here, and learns how many
        inputs there are, when, and from whom. Secrecy is that of the service's protocol.
        """
        batch, single = self._checked(x)
        pieces = [batch[i : i + self.largest] for i in range(0, len(batch), self.largest)]
        if not pieces:
            raise EncodingError("predict got a batch without inputs. Pass at least one")
        results = list(self._asked(pieces, deadline))
        leaves = [jnp.concatenate(x) if len(x) > 1 else x[0] for x in zip(*results, strict=True)]
        return tree_of(self._results["tree"], iter([x[0] for x in leaves] if single else leaves))

    def close(self) -> None:
        """Ends the connections; again is nothing."""
        self._closing.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = f"{self.input.dtype}{list(self.input.shape)}"
        return f"<client of {', '.join(self._protocol.parties)}: predict({kind})>"

    def _checked(self, x: Any) -> tuple[np.ndarray, bool]:
        """A batch of inputs, and whether it was a single one; EncodingError."""
        kind, given = self.input, np.asarray(x)
        single = given.shape == kind.shape
        if not single and given.shape[1:] != kind.shape:
            raise EncodingError(
                f"predict takes one input of shape {kind.shape} or a batch of them, (n, "
                f"{', '.join(map(str, kind.shape))}), not {given.shape}"
            )
        found = np.dtype(given.dtype)
        if _family(found) != _family(kind.dtype):
            raise EncodingError(f"predict takes inputs of {kind.dtype}, not of {found}")
        batch = (given[None] if single else given).astype(kind.dtype)
        if _family(found) == "integer" and (batch != (given[None] if single else given)).any():
            raise EncodingError(f"predict got an integer that {kind.dtype} does not hold")
        sharing.plain(batch, self._protocol, "the input of predict")
        return batch, single

    def _asked(self, pieces: Sequence[np.ndarray], deadline: float) -> Iterator[list[jax.Array]]:
        """The results of each piece, a few pieces at a time."""
        for first in range(0, len(pieces), _AT_ONCE):
            some = pieces[first : first + _AT_ONCE]
            numbers = [secrets.token_bytes(16) for _ in some]
            try:
                calls = [self._sent(*x, deadline) for x in zip(some, numbers, strict=True)]
                for piece, call in zip(some, calls, strict=True):
                    yield self._combined(replies(call), len(piece))
            except BaseException:
                for number in numbers:
                    self._calls.notify({"do": "withdraw", "number": number}, _WITHDRAWAL)
                raise

    def _sent(
        self, inputs: np.ndarray, number: bytes, deadline: float
    ) -> list[Future[dict[str, Any]]]:
        padded = min(self.largest, 1 << (len(inputs) - 1).bit_length())
        messages = query.messages(self._protocol, inputs, padded, number)
        return self._calls.start(messages, deadline)

    def _combined(self, told: Sequence[dict[str, Any]], count: int) -> list[jax.Array]:
        """The results that the parties' summands stand for."""
        summands = [reply.get("summands") for reply in told]
        found = []
        for i, (shape, dtype, digits) in enumerate(self._results["leaves"]):
            parts: list[Any] = [x[i] if type(x) is list and i < len(x) else None for x in summands]
            for party, part in zip(self._protocol.parties, parts, strict=True):
                if type(part) is not np.ndarray or part.shape != (count, *shape):
                    raise ServiceError(f"{party} answers with something that is no answer")
            try:
                found.append(answers.combined(self._protocol, dtype, digits, parts))
            except TypeError:
                raise ServiceError("the parties' answers are of different kinds") from None
        return found

    def _described(self, until: float) -> dict[str, Any]:
        """What all parties say of the service, once they are ready."""
        while True:
            try:
                question = [{"do": "describe"}] * len(self._channels)
                told = replies(self._calls.start(question, _DESCRIPTION))
            except (LinkError, ServiceError):
                if time.monotonic() > until:
                    raise
                time.sleep(_AGAIN)
                continue
            break
        if any(x.get("parties") != self._fingerprint for x in told):
            raise ServiceError(
                "the parties' file of parties is another one: protocol, ring, encoding or "
                "certificates differ. Ask them for theirs"
            )
        if any(x != told[0] for x in told):
            raise ServiceError("the parties do not serve the same model")
        return told[0]


def _family(dtype: np.dtype[Any]) -> str:
    if jnp.issubdtype(dtype, jnp.bool_):
        return "bool"
    if jnp.issubdtype(dtype, jnp.integer):
        return "integer"
    return "floating" if jnp.issubdtype(dtype, jnp.floating) else dtype.name
