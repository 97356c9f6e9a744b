"""How a data set falls to clients: which of its examples each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jsmpc._src.errors import FederatedError

Parts = list[np.ndarray]  # of each client, the numbers of its examples


def equal(key: Any, examples: int, clients: int) -> Parts:
    """Every client has as many examples as the others, or one more, drawn at random.

    Args:
      key: a `jax.random.key`; the same one gives the same parts.
      examples: how many there are; clients: among how many they are split.

    Raises:
      FederatedError: for more clients than examples.

    Example:
      >>> import jax
      >>> [len(part) for part in equal(jax.random.key(0), 10, 3)]
      [4, 3, 3]
    """
    _require_enough(examples, clients)
    return np.array_split(_shuffled(key, examples), clients)


def sized(key: Any, examples: int, sizes: Sequence[int]) -> Parts:
    """Every client has as many examples as is said, drawn at random; the rest is nobody's.

    Raises:
      FederatedError: for sizes that are negative, or more in all than there are examples.
    """
    total = sum(sizes)
    _require(
        min(sizes, default=-1) >= 0, f"the sizes of parts are 0 or more, not {list(sizes)[:8]}"
    )
    _require(total <= examples, f"the parts have {total} examples, and there are {examples}")
    return np.split(_shuffled(key, examples)[:total], np.cumsum(sizes)[:-1])


def dirichlet(key: Any, labels: Any, clients: int, alpha: float) -> Parts:
    """Every label is split by shares of clients that are drawn from a Dirichlet distribution.

    The smaller alpha is, the fewer labels a client has; each has one example at least.

    Args:
      labels: of all examples, a vector of integers.

    Raises:
      FederatedError: unless alpha is positive, or for more clients than examples.

    Source: Hsu, Qi and Brown, Measuring the effects of non-identical data distribution for
    federated visual classification, 2019, section 3.

    Example:
      >>> import jax, numpy as np
      >>> labels = np.repeat(np.arange(10), 100)
      >>> parts = dirichlet(jax.random.key(0), labels, 5, 0.3)
      >>> sorted(np.concatenate(parts)) == list(range(1000))
      True
    """
    labels = _labels(labels)
    _require(alpha > 0, f"alpha of a Dirichlet distribution is positive, not {alpha}")
    _require_enough(len(labels), clients)
    rng = generator(key)
    parts: list[list[np.ndarray]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, alpha))
        ends = np.round(np.cumsum(shares) * len(own)).astype(int)[:-1]
        for pieces, piece in zip(parts, np.split(own, ends), strict=True):
            pieces.append(piece)
    found = [np.concatenate(pieces) for pieces in parts]
    for empty in (i for i, own in enumerate(found) if not len(own)):
        largest = max(range(clients), key=lambda i: len(found[i]))
        found[empty], found[largest] = found[largest][:1], found[largest][1:]
    return [rng.permutation(part) for part in found]


def shards(key: Any, labels: Any, clients: int, each: int) -> Parts:
    """Examples are sorted by label and cut into equal pieces, of which each client has some.

    Args:
      labels: of all examples; each: how many pieces a client has.

    Raises:
      FederatedError: for more pieces than examples.

    Source: McMahan and others, Communication-efficient learning of deep networks from
    decentralized data, AISTATS 2017, section 3.
    """
    labels, count = _labels(labels), clients * each
    _require(0 < count <= len(labels), f"{len(labels)} examples cannot be cut into {count} pieces")
    rng = generator(key)
    order = rng.permutation(len(labels))
    pieces = np.array_split(order[np.argsort(labels[order], kind="stable")], count)
    dealt = rng.permutation(count).reshape(clients, each)
    return [rng.permutation(np.concatenate([pieces[i] for i in own])) for own in dealt]


def _shuffled(key: Any, examples: int) -> np.ndarray:
    return generator(key).permutation(examples)


def generator(key: Any) -> np.random.Generator:
    """Of who has which examples, which is no secret."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())


def _labels(labels: Any) -> np.ndarray:
    found = np.asarray(labels)
    _require(
        found.ndim == 1 and np.issubdtype(found.dtype, np.integer),
        f"labels are a vector of integers, not {found.dtype}{list(found.shape)}",
    )
    return found


def _require_enough(examples: int, clients: int) -> None:
    _require(
        0 < clients <= examples, f"{examples} examples cannot be split among {clients} clients"
    )


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise FederatedError(f"split: {problem}")
