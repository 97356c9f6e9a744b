"""Batches of a federated data set, which are cut where the data are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.datasets import FederatedDataset
from jsmpc._src.federated.splits import generator
from jsmpc._src.workers.running import run
from jsmpc._src.workers.worker import BaseWorker


def batches(key: Any, dataset: FederatedDataset, size: int) -> Iterator[tuple[Any, BaseWorker]]:
    """Shuffled batches with their location, from one worker after another: an epoch.

    Every example comes once; a worker's last batch may be smaller.

    Args:
      key: a `jax.random.key`; the same one gives the same batches.
      size: how many examples a batch has.

    Returns:
      an iterator of pairs: the batch, as pointers to the data set's arrays, and the worker.

    Raises:
      FederatedError: for a size of less than 1.

    Cost: a request a batch, which tells the worker which rows; examples do not leave it.

    Example:
      >>> import jax, numpy as np, jsmpc
      >>> from jsmpc import federated
      >>> workers = [jsmpc.Worker(name) for name in ("bob", "alice")]
      >>> data = federated.federate({"x": np.arange(6.0)}, workers)
      >>> for batch, location in federated.batches(jax.random.key(1), data, 2):
      ...     print(batch["x"].shape, location)
      (2,) Worker('bob')
      (1,) Worker('bob')
      (2,) Worker('alice')
      (1,) Worker('alice')
    """
    orders = _orders(key, dataset, size)
    return (
        (run(_taken, part, rows), worker)
        for worker, part, order in zip(dataset.workers, dataset.parts, orders, strict=True)
        for rows in order
    )


def batches_of_each(key: Any, dataset: FederatedDataset, size: int) -> Iterator[dict[str, Any]]:
    """Shuffled batches, one from each worker at a time: an epoch.

    They are the same as those of `batches`. A worker that has no more examples is left out.

    Returns:
      an iterator of dictionaries from the workers' names to their batches, as pointers.

    Raises:
      FederatedError: for a size of less than 1.

    Example:
      >>> import jax, numpy as np, jsmpc
      >>> from jsmpc import federated
      >>> workers = [jsmpc.Worker(name) for name in ("bob", "alice")]
      >>> data = federated.federate(np.arange(5.0), workers)
      >>> for batch in federated.batches_of_each(jax.random.key(1), data, 2):
      ...     print({name: x.shape for name, x in batch.items()})
      {'bob': (2,), 'alice': (2,)}
      {'bob': (1,)}
    """
    orders = _orders(key, dataset, size)
    return (
        {
            worker.name: run(_taken, part, order[i])
            for worker, part, order in zip(dataset.workers, dataset.parts, orders, strict=True)
            if i < len(order)
        }
        for i in range(max(map(len, orders)))
    )


def _orders(key: Any, dataset: FederatedDataset, size: int) -> list[list[np.ndarray]]:
    """Which rows are in each batch, for each worker."""
    if size < 1:
        raise FederatedError(f"a batch has 1 or more examples, not {size}")
    keys = jax.random.split(key, len(dataset.workers))
    orders = [
        generator(own).permutation(count).astype(np.int32)
        for own, count in zip(keys, dataset.counts, strict=True)
    ]
    return [
        [order[start : start + size] for start in range(0, len(order), size)] for order in orders
    ]


def _taken(part: Any, rows: Any) -> Any:
    """Some of the rows."""
    return jax.tree.map(lambda x: x[rows], part)
