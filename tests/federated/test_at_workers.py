"""The tutorials' toy model: bob and alice learn by themselves, and their average is nobody's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jsmpc

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([[0], [0], [1], [1]], np.float32)
SGD = optax.sgd(0.1)


def loss(params: Any, x: Any, y: Any) -> Any:
    return ((x @ params["w"] + params["b"] - y) ** 2).sum()


def five_steps(params: Any, x: Any, y: Any) -> Any:
    def step(carry: Any, _: None) -> Any:
        params, state = carry
        updates, state = SGD.update(jax.grad(loss)(params, x, y), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, SGD.init(params)), length=5)[0][0]


def test_two_workers_learn_and_an_average_alone_leaves_them() -> None:
    bob, alice = jsmpc.Worker("bob"), jsmpc.Worker("alice")
    aggregators = [jsmpc.Worker(name) for name in ("ann", "ben", "cat")]
    smpc = jsmpc.Replicated3(parties=("ann", "ben", "cat"))
    mean = jsmpc.secure(lambda p, q: jax.tree.map(lambda a, b: jsmpc.reveal((a + b) / 2), p, q))
    halves = [(w.offer(X[i::2], tags=["#x"]), w.offer(Y[i::2])) for i, w in enumerate((bob, alice))]
    params: Any = {"w": jnp.zeros((2, 1)), "b": jnp.zeros(1)}
    for _ in range(10):
        trained = [jsmpc.run(five_steps, params, x, y) for x, y in halves]
        shares = [
            jsmpc.share(jsmpc.random_key(), one, smpc, workers=aggregators) for one in trained
        ]
        plain = [five_steps(params, X[i::2], Y[i::2]) for i in range(2)]
        params = mean(jsmpc.random_key(), *shares)
        for name, found in params.items():
            # each update is within half a unit in the last place, their halved sum within one
            np.testing.assert_allclose(found, (plain[0][name] + plain[1][name]) / 2, atol=2**-17)
    assert loss(params, X, Y) < 0.05
    for worker in (bob, alice):  # nothing was taken from them but shares
        assert {e.event for e in worker.log} == {"offer", "plan", "run", "share", "drop"}
