"""What real parties run while something goes wrong: the same file in every process.

Arguments: the kind of fault, who has it, and after how many seconds, where it comes from inside.
"""

from __future__ import annotations

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import jsmpc
from jsmpc._src.api.session import current

RUNS, PAUSE = 300, 0.01
SECONDS = RUNS * PAUSE  # that it takes at least


def main(kind: str, victim: str, after: float) -> None:
    session = current()
    assert session is not None
    mine = session.name == victim
    size = 4 if mine and kind == "shapes" else 3
    like = jax.ShapeDtypeStruct((size,), jnp.float32)
    x = jsmpc.input(lambda: np.ones(size, np.float32), owner="party0", like=like)
    factor = 2.0 if mine and kind == "program" else 3.0
    f = jsmpc.secure(lambda x: x * x * factor)
    print("begun", flush=True)
    start = time.monotonic()
    for _ in range(RUNS):
        time.sleep(PAUSE)
        y = f(jsmpc.random_key(), x)
        if mine and time.monotonic() > start + after:
            if kind == "raise":
                raise RuntimeError("the secret is 42")
            if kind == "slow":
                time.sleep(60)
    print("RESULT", jsmpc.reveal(y))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
