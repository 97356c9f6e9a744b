"""Workloads that are networks and steps of training as users write them, in Flax and Optax."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jsmpc.bench.workloads import Inputs, Workload
from jsmpc.examples.sentences.encoder import Layers

Array = jax.Array


def _weights(model: Any, *inputs: tuple[int, ...]) -> Any:
    """The shapes of a model's weights."""
    given = [jax.ShapeDtypeStruct(shape, np.float32) for shape in inputs]
    return jax.eval_shape(model.init, jax.random.key(0), *given)


def _drawn(rng: np.random.Generator, weights: Any) -> list[np.ndarray]:
    """Weights as initializers of Flax draw them: kernels by their fan-in, scales 1, offsets 0."""

    def drawn(path: Any, x: Any) -> np.ndarray:
        name = path[-1].key
        if name in ("scale", "var"):
            return np.ones(x.shape, np.float32)
        if name in ("bias", "mean"):
            return np.zeros(x.shape, np.float32)
        fan_in = x.shape[0] * x.shape[1] if path[-2].key == "out" else np.prod(x.shape[:-1])
        if path[-2].key in ("query", "key", "value"):
            fan_in = x.shape[0]
        return (rng.standard_normal(x.shape) / np.sqrt(fan_in)).astype(np.float32)

    return jax.tree.leaves(jax.tree_util.tree_map_with_path(drawn, weights))


def _encoder(tokens: int) -> Workload:
    model, width = Layers(), 384
    weights = _weights(model, (tokens, width))

    def encode(*arrays: Array) -> Any:
        *leaves, x = arrays
        return model.apply(jax.tree.unflatten(jax.tree.structure(weights), leaves), x)

    def generate(rng: np.random.Generator) -> Inputs:
        x = rng.standard_normal((tokens, width)).astype(np.float32)
        return (*_drawn(rng, weights), x)

    head = width // model.heads
    attention = ((tokens, head, tokens), (tokens, tokens, head)) * model.heads
    dense = ((tokens, width, width),) * 4
    mlp = ((tokens, width, model.hidden), (tokens, model.hidden, width))
    return Workload(
        f"encoder_{tokens}",
        f"the six layers of MiniLM (width 384, 12 heads, MLP 1536), {tokens} tokens, their mean",
        encode,
        generate,
        products=(*attention, *dense, *mlp) * model.count,
    )


NETWORKS = (_encoder(16), _encoder(64))
