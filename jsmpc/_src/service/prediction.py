"""A model's predictions of batches, as one endpoint computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import choreographed, kept
from jsmpc._src.api.forms import form_of
from jsmpc._src.api.function import SecureFunction
from jsmpc._src.api.held import Held, is_held
from jsmpc._src.api.session import Session
from jsmpc._src.api.words import Words
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.errors import ServiceError
from jsmpc._src.jaxprs import compat
from jsmpc._src.runtime import prf
from jsmpc._src.service.answers import Answers
from jsmpc._src.service.model import Model

Rows = tuple[np.ndarray, ...]


class Prediction:
    """Predicts batches of sizes that are powers of two; all endpoints call it alike.

    Args:
      session: of this endpoint.
      model: what is served; weights: `Held` arrays, as `jsmpc.load` gives them.
      largest: the most inputs of a batch.

    Raises:
      ServiceError: for a model that reveals something to the parties, whose results are no
        secrets, or are no dictionaries, lists and tuples of arrays.
      ProtocolError: for a protocol whose shares mean nothing outside of its session.
    """

    def __init__(self, session: Session, model: Model, weights: Any, largest: int) -> None:
        kept.refuse_files(session, "queries", ServiceError)
        self.sizes = sizes(largest)
        self._session, self._model, self._weights = session, model, weights
        self._word = Words.of(session.protocol, (), model.input.dtype).components[0].dtype
        self._secure: SecureFunction[..., Any] = SecureFunction(model.batched)
        self._answers: dict[int, Answers] = {}
        self.results: dict[str, Any] = {}
        self._require_secrecy()

    @property
    def largest(self) -> int:
        """The most inputs of a batch."""
        return self.sizes[-1]

    def warm(self) -> None:
        """Compiles for all sizes, largest first, by predictions of zeros."""
        for size in reversed(self.sizes):
            self([self._zeros(size)])

    def __call__(self, batch: Sequence[Rows], size: int | None = None) -> list[np.ndarray]:
        """This party's summands of the results, for the rows of several queries together.

        Args:
          batch: of each query this party's rows, each (n, *shape of an input).
          size: how many inputs these are in all; at a dealer, which has no rows.
        """
        inputs = self._held(batch, size)
        out = self._secure(prf.random_key(), self._weights, inputs)
        results = jax.tree.leaves(out, is_leaf=is_held)
        padded = inputs.shape[0]
        if padded not in self._answers:
            self._describe(out, results, padded)
            self._answers[padded] = Answers(self._session, results)
        return self._answers[padded](results)

    def _held(self, batch: Sequence[Rows], size: int | None) -> Held:
        """A secret of the next power of two inputs: zeros, in shares of zeros, fill it."""
        kind = self._model.input
        count = sum(len(rows[0]) for rows in batch) if size is None else size
        padded = next(s for s in self.sizes if s >= count)
        rows: list[jax.Array] = []
        if self._session.is_party:
            filling = [np.zeros((padded - count, *kind.shape), self._word)]
            columns = zip(*batch, strict=True)
            with compat.protocol_mode():
                rows = [jnp.asarray(np.concatenate([*c, *filling])) for c in columns]
        return Held(self._session, (padded, *kind.shape), kind.dtype, (tuple(rows),))

    def _zeros(self, size: int) -> Rows:
        empty = np.zeros((size, *self._model.input.shape), self._word)
        return (empty,) * max(1, len(self._session.rows()))

    def _require_secrecy(self) -> None:
        inputs = self._held([self._zeros(1)], None)
        jaxpr, _ = self._secure.jaxpr(self._weights, inputs)
        if shown := choreographed.reveals(self._session.protocol, jaxpr):
            raise ServiceError(
                f"{self._model.file} reveals something to {shown[0].to} at {shown[0].line}: what "
                "is served reveals nothing to the parties. Leave jsmpc.reveal out"
            )

    def _describe(self, out: Any, results: Sequence[Any], size: int) -> None:
        """Notes what clients get; ServiceError where that is nothing to be shared."""
        if not results or not all(map(is_held, results)):
            raise ServiceError(
                f"{self._model.file}: a result of apply depends neither on the weights nor on the "
                "input, so that it is no secret. Return what does"
            )
        try:
            form = form_of(out, [], is_held)
        except TypeError:
            raise ServiceError(
                f"{self._model.file}: the results of apply must be arrays in dictionaries with "
                "strings as keys, lists and tuples"
            ) from None
        kinds = [[list(x.shape[1:]), x.dtype.name, x.digits] for x in results]
        self.results = {"tree": form, "leaves": kinds}


def sizes(largest: int) -> list[int]:
    """The sizes of batches: powers of two.

    Raises:
      ConfigError: if the largest is none.

    Example:
      >>> sizes(8)
      [1, 2, 4, 8]
    """
    if largest < 1 or largest & (largest - 1):
        raise ConfigError(f"the largest batch must be a power of two, not {largest}")
    return [1 << i for i in range(largest.bit_length())]
