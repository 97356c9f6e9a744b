"""Training among real parties: the second owns images and labels, nobody sees the model.

Run by `jsmpc launch train` on one machine, by each party with `jsmpc party … train`, or by
Python alone as a simulation. Everybody learns the loss of each step; the trained weights stay
shared, each party's rows in its own file where `--save` names one.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jsmpc
from jsmpc.examples import training
from jsmpc.examples.datasets.mnist import load_mnist


def main() -> None:
    parser = argparse.ArgumentParser(prog="jsmpc launch train", description=__doc__)
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="default: 128")
    parser.add_argument("--rate", type=float, default=0.1, metavar="R", help="default: 0.1")
    parser.add_argument("--save", metavar="PATH", help="where the trained weights go")
    options = parser.parse_args()
    smpc = jsmpc.protocol(jsmpc.Replicated3())
    model, (starter, holder) = training.MODELS["mlp"], smpc.parties[:2]
    shape = (options.steps, options.batch_size)

    def batches() -> Any:
        data = load_mnist()
        order = training.schedule(len(data.x_train), options.batch_size, options.steps)
        return training.load(data, order)

    def start() -> Any:
        return training.initial_params(model, seed=0)

    params = jax.eval_shape(start)
    kinds = (
        jax.ShapeDtypeStruct((*shape, 784), jnp.float32),
        jax.ShapeDtypeStruct((*shape, 10), jnp.float32),
    )
    secret = jsmpc.input(start, owner=starter, protocol=smpc, like=params, label="first weights")
    given = jsmpc.input(batches, owner=holder, protocol=smpc, like=kinds, label="images and labels")
    optimizer = optax.sgd(options.rate)
    steps = training.make_steps(training.make_step(model, optimizer))

    def train(params: Any, batches: Any) -> Any:
        (trained, _), losses = steps((params, optimizer.init(params)), batches)
        return trained, losses

    begin = time.perf_counter()
    trained, losses = jsmpc.secure(train)(jsmpc.random_key(), secret, given)
    seconds = time.perf_counter() - begin
    if options.save:
        jsmpc.save(flax.serialization.to_state_dict(trained), options.save)
    print(
        "losses",
        np.array2string(np.asarray(losses), precision=3, threshold=8)
        if isinstance(losses, jax.Array)
        else losses,
        f"in {seconds:.1f} s",
    )


if __name__ == "__main__":
    main()
