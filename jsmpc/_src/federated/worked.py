"""What runs at a worker in a round, and what is told of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.federated.asking import NotFiniteError
from jsmpc._src.federated.datasets import FederatedDataset
from jsmpc._src.federated.given import Given, given
from jsmpc._src.federated.local import Stateful
from jsmpc._src.federated.rounds import State
from jsmpc._src.plans.plan import Plan
from jsmpc._src.plans.trace import plan


def kept(work: Stateful, params: Any, dataset: FederatedDataset) -> dict[str, Any]:
    """What each worker has before its first round: it is sent along then, and stays there after."""
    own = strong(work.own(params))
    return {worker.name: own for worker in dataset.workers}


def strong(tree: Any) -> Any:
    """Arrays of the types that they have elsewhere."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), tree)


def arguments(state: State, name: str, key: Any, part: Any) -> tuple[Any, ...]:
    """Of what runs at a worker."""
    own = state.clients[name]
    return state.params, state.common, own, np.asarray(jax.random.key_data(key)), part


@functools.lru_cache(maxsize=64)
def training(work: Stateful, impl: str) -> Callable[..., Given]:
    """What a worker runs; always the same function for the same work."""

    def train(params: Any, common: Any, own: Any, key: Any, data: Any) -> Given:
        count = jax.tree.leaves(data)[0].shape[0]
        wrapped = jax.random.wrap_key_data(key, impl=impl)
        return given(work, params, data, jnp.asarray(count), wrapped, own, common)

    return train


def _tell(weight: Any, loss: Any, finite: Any) -> Any:
    """What the caller is told of an update: three numbers."""
    return jnp.stack([weight, loss, finite.astype(jnp.float32)])


@functools.lru_cache(maxsize=1)
def telling() -> Plan:
    number = jax.ShapeDtypeStruct((), jnp.float32)
    return plan(_tell, number, number, jax.ShapeDtypeStruct((), jnp.bool_))


def told(found: Given) -> tuple[float, float]:
    """A worker's weight and loss; NotFiniteError for an update that cannot take part."""
    weight, loss, finite = telling()(found.weight, found.loss, found.finite).get().tolist()
    if not finite:
        raise NotFiniteError("its update holds NaN or infinity, or its weight is not positive")
    return weight, loss
