"""What real parties run with material in files: the same file in every process.

Arguments: a folder with stored shares, what to do (deal, use, or crash after material is used), and
the name of the material.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jsmpc
from jsmpc._src.api.session import current


def network(x: Any, w: Any) -> Any:
    """With a loop and a branch, so that material is dealt for both."""

    def step(carry: Any, row: Any) -> Any:
        return carry * 0.5 + row, jnp.maximum(row, carry)

    total, rows = jax.lax.scan(step, jnp.zeros(w.shape[1]), jax.nn.relu(x @ w))
    return jax.lax.cond(total[0] > 1, lambda v: v * v, lambda v: v - 1.0, total), rows


def types(smpc: jsmpc.Protocol) -> Any:
    """Of the arguments, which need not be there when material is dealt."""
    shapes = tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((3, 4), (4, 2)))
    return jax.eval_shape(lambda x: jsmpc.share(jax.random.key(0), x, smpc), shapes)


def main(folder: Path, task: str, name: str) -> None:
    session = current()
    assert session is not None
    f = jsmpc.secure(network)
    if task == "deal":
        material = f.offline(jsmpc.random_key(), *types(session.protocol))
        print("dealt", [file.name for file in material.save(folder / name)])
        return
    shares = jsmpc.load(folder / "in")
    material = jsmpc.Material.load(folder / name)
    if task == "crash" and session.name == "party1":
        session.run = lambda *_: os._exit(9)  # type: ignore[method-assign]
    out = f.online(material, *shares)
    jsmpc.save(list(out), folder / "out")
    print("computed")
    if task == "again":
        f.online(material, *shares)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
