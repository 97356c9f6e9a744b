"""Private MNIST among real parties: the first owns a model, the second images and their labels.

Run by `jsmpc launch mnist` on one machine, by each party with `jsmpc party … mnist`, or by
Python alone as a simulation. Everybody learns how many answers are right, and nothing else.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jsmpc
from jsmpc.examples import mnist
from jsmpc.examples.datasets.mnist import load_mnist


def main() -> None:
    parser = argparse.ArgumentParser(prog="jsmpc launch mnist", description=__doc__)
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--batch-size", type=int, default=50, metavar="N", help="default: 50")
    options = parser.parse_args()
    smpc = jsmpc.protocol(jsmpc.Replicated3())
    modeller, holder = smpc.parties[:2]
    steps = -(-options.images // options.batch_size)
    shape = (steps, options.batch_size)

    def weights() -> Any:
        return mnist.train(load_mnist())

    def batches() -> Any:
        """Images and labels in batches; the last one is filled with a label that is no digit."""
        data = load_mnist()
        images = mnist.normalize(data.x_test[: options.images])
        labels = data.y_test[: options.images].astype(np.int32)
        missing = steps * options.batch_size - len(labels)
        images = np.pad(images, ((0, missing), (0, 0)))
        labels = np.pad(labels, (0, missing), constant_values=10)
        return images.reshape(*shape, -1), labels.reshape(shape)

    params = jax.eval_shape(mnist.MODEL.init, jax.random.key(0), jnp.zeros((1, 784)))
    kinds = (
        jax.ShapeDtypeStruct((*shape, 784), jnp.float32),
        jax.ShapeDtypeStruct(shape, jnp.int32),
    )
    secret = jsmpc.input(weights, owner=modeller, protocol=smpc, like=params, label="model")
    given = jsmpc.input(batches, owner=holder, protocol=smpc, like=kinds, label="images and labels")

    def count(params: Any, images: Any, labels: Any) -> Any:
        def add(total: Any, batch: Any) -> Any:
            return total + mnist.count_correct(params, *batch), None

        return jsmpc.reveal(jax.lax.scan(add, jnp.int32(0), (images, labels))[0])

    private, seconds = jsmpc.secure(count), []
    for _ in range(2):
        start = time.perf_counter()
        correct = private(jsmpc.random_key(), secret, *given)
        seconds.append(time.perf_counter() - start)
    print(
        f"{correct} of {options.images} correct; first call {seconds[0]:.1f} s, then "
        f"{seconds[1] / options.images * 1e3:.3f} ms an image"
    )


if __name__ == "__main__":
    main()
