"""What the parties of an emulated network run in the tests.

Arguments: how often a function is called, 0 for without end, and the number of values.
"""

from __future__ import annotations

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

import jsmpc
from jsmpc._src.api.session import current

INPUTS = 1000


def positive(x: jax.Array, values: int) -> jax.Array:
    """The sum of ReLU of so many values, which are shared once and repeated."""
    return jnp.sum(jax.nn.relu(jnp.tile(x, values // INPUTS)))


def main(calls: int, values: int) -> None:
    links = current().links
    x = np.linspace(-1, 1, INPUTS).astype(np.float32)
    x = jsmpc.input(lambda: x, owner="party0", like=jax.ShapeDtypeStruct((INPUTS,), jnp.float32))
    f = jsmpc.secure(lambda x: positive(x, values))
    call = 0
    while not calls or call < calls:
        sent, exchanges = sum(links.sent.values()), links.exchanges
        out = f(jsmpc.random_key(), x)
        call += 1
        if call == 2:
            sent, exchanges = sum(links.sent.values()) - sent, links.exchanges - exchanges
            found = {"sent": sent, "exchanges": exchanges, "native": not links.pure}
            print("running", json.dumps(found))
    print("result", jsmpc.reveal(out))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
