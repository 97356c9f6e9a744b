"""A small network, as `jsmpc serve` takes it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

INPUT = jax.ShapeDtypeStruct((4,), jnp.float32)


def apply(params: Any, x: Any) -> dict[str, Any]:
    """Scores, the best of them, and whether the first is positive."""
    scores = jax.nn.relu(x @ params["w"] + params["b"]) @ params["v"]
    return {"scores": scores, "best": jnp.argmax(scores), "positive": scores[0] > 0}


def params() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 5), "b": (5,), "v": (5, 3)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
