"""What real parties run in the tests: the same file in every process.

Arguments: a folder with stored shares, and what else is to be tried.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jsmpc
from jsmpc._src.api.session import current

MARKER = 0x5EC2E7  # stands in the inputs, and may stand nowhere else


def network(x: Any, w: Any) -> Any:
    hidden = jax.nn.relu(x @ w)
    scaled = jax.lax.fori_loop(0, 3, lambda i, c: jnp.maximum(c * 0.5, hidden) * 0.9, hidden)
    return scaled, jsmpc.reveal(jnp.sum(hidden)), 2 * jsmpc.reveal(hidden[0], to="party1")


def main(folder: Path) -> None:
    session = current()
    assert session is not None
    x, w = jsmpc.load(folder / "in")
    out, total, own = jsmpc.secure(network)(jax.random.key(1), x, w)
    jsmpc.save({"out": out}, folder / "out")
    shape = {"ids": jax.ShapeDtypeStruct((40,), jnp.int32)}
    owned = jsmpc.input(
        lambda: {"ids": np.full(40, MARKER, np.int32)}, owner="party0", like=shape, label="ids"
    )
    equal = jsmpc.secure(lambda a: jsmpc.reveal((a["ids"] == MARKER).sum()))(
        jsmpc.random_key(), owned
    )
    print("total", total, "equal", equal)
    print("own", own)
    print("to party1", jsmpc.reveal(out, to="party1"))
    # What is public at the parties may be an argument, also where a dealer does not know it.
    more = jsmpc.secure(lambda a, n: jsmpc.reveal(a["ids"].max() - MARKER + n))
    print("more", more(jsmpc.random_key(), owned, equal))
    compiled = len(session._programs)
    for _ in range(3):
        again = jsmpc.input(np.ones(40, np.int32), owner="party1")
        jsmpc.reveal(again, to="party1")
    print("compiled", len(session._programs) - compiled)
    try:
        jax.jit(lambda key: more(key, owned, 1))(jsmpc.random_key())
    except jsmpc.ProtocolError as error:
        print("under jit:", error)
    with ThreadPoolExecutor(1) as pool:
        print("in a thread:", pool.submit(jsmpc.reveal, again).exception())
    if session.name != "party0":
        print("marker seen", _seen())
    try:  # party1's public argument is another
        print("revealed", more(jsmpc.random_key(), owned, 1 + (session.name == "party1")))
        jsmpc.reveal(again)
    except jsmpc.JsmpcError as error:
        print("differing:", error)
    try:
        jsmpc.reveal(again)
    except jsmpc.JsmpcError as error:
        print("afterwards:", error)


def _seen() -> bool:
    """Whether the marker stands in any live array, by itself or as a word."""
    words = [np.asarray(x) for x in jax.live_arrays() if x.dtype.kind in "ui" and x.size > 1]
    return any((x == MARKER).any() for x in words)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
