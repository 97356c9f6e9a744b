"""What real parties of a protocol with a state run: the same file in every process."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import jsmpc


def function(x: Any, w: Any) -> Any:
    """Products, a sum with a public number, a loop."""
    y = x @ w + 1.5
    return jax.lax.fori_loop(0, 2, lambda i, c: c * y, y)


def values() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return tuple(rng.normal(size=s).astype(np.float32) for s in ((2, 3), (3, 2)))


if __name__ == "__main__":
    x, w = (jsmpc.input(v, f"party{i}") for i, v in enumerate(values()))
    f = jsmpc.secure(function)
    print("at once", jsmpc.reveal(f(jsmpc.random_key(), x, w), to="party1"))
    material = f.offline(jsmpc.random_key(), x, w)
    z = f.online(material, x, w)
    print("in phases", jsmpc.reveal(z, to="party1"))
    for store in (
        lambda: jsmpc.save(z, "z"),
        lambda: f.offline(jsmpc.random_key(), x, w).save("m"),
    ):
        try:
            store()
        except jsmpc.JsmpcError as error:
            print("refused:", error)
