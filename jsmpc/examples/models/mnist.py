"""The network 784-500-10 on handwritten digits: from an image's normalized pixels to ten logits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jsmpc.examples import mnist
from jsmpc.examples.datasets.mnist import load_mnist

INPUT = jax.ShapeDtypeStruct((784,), jnp.float32)


def apply(params: Any, image: jax.Array) -> jax.Array:
    """The logits, float32 (10,), of one image."""
    return mnist.classify(params, image)


def params() -> Any:
    """The weights, trained in the clear on the packaged images."""
    return mnist.train(load_mnist())
