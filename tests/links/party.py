"""One of three parties, in a process of its own."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src.links.exchange import exchange
from jsmpc._src.links.links import Links, Peer, connect

NAMES = ("alice", "bob", "carol")


def program(links: Links, token: Any, x: Any, rounds: int) -> Any:
    """Everybody sends to everybody, and adds what arrives."""
    others = [rank for rank in range(3) if rank != links.rank]
    types = [jax.ShapeDtypeStruct(x.shape, x.dtype)] * 2

    def step(carry: Any, _: None) -> Any:
        token, x = carry
        token, received = exchange(token, [x, x], others, types, others, links.pure)
        return (token, received[0] + received[1]), None

    return jax.lax.scan(step, (token, x), None, length=rounds)[0]


def failure(links: Links, source: int) -> str:
    """What an exchange ends with in which the source sends nothing."""
    kind = jax.ShapeDtypeStruct((3,), jnp.uint32)
    wait = jax.jit(lambda t: exchange(t, [], [], [kind], [source], links.pure)[1])
    try:
        jax.block_until_ready(wait(links.token))
    except jax.errors.JaxRuntimeError as error:
        return str(error).splitlines()[0]
    return "nothing"


def main(rank: int, listener: int, ports: list[int], folder: str) -> None:
    files = {name: Path(folder, f"{name}.crt") for name in NAMES}
    peers = [
        Peer(name, "127.0.0.1", port, files[name].read_bytes())
        for name, port in zip(NAMES, ports, strict=True)
    ]
    identity = (str(files[NAMES[rank]]), str(Path(folder, f"{NAMES[rank]}.key")))
    with socket.socket(fileno=listener) as bound:
        with connect(rank, peers, listener=bound, identity=identity, silence=1.0) as links:
            run = jax.jit(lambda t, x: program(links, t, x, 20))
            _, x = jax.device_get(run(links.token, jnp.full(1000, rank, jnp.uint32)))
            print(
                json.dumps({"value": int(x[-1]), "sent": links.sent, "exchanges": links.exchanges}),
                flush=True,
            )
            print(failure(links, source=0 if rank == 1 else 1), flush=True)
        sys.stdin.readline()
        with connect(rank, peers, listener=bound, identity=identity, silence=3.0) as links:
            print("connected", flush=True)
            print(failure(links, source=0 if rank == 2 else 2), flush=True)


main(**json.loads(sys.argv[1]))
