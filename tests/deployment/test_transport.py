"""What links count is what `cost` says, to the byte and to the exchange."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from parties import Deployment, Loopback
from relu_calls import INPUTS, positive

import jsmpc
from jsmpc._src.links import native
from jsmpc._src.readings.projection.projection import messages

PROGRAM = Path(__file__).with_name("relu_calls.py")
PURE = """
import sys
from jsmpc._src.links import native
native.why_unavailable = lambda: "not in this test"
from jsmpc.examples.command import main
sys.exit(main(sys.argv[1:]))
"""
KINDS = {"native": ("-m", "jsmpc"), "pure": ("-c", PURE)}
needs_native = pytest.mark.skipif(
    native.why_unavailable() is not None, reason="the native links are not built"
)


@pytest.mark.parametrize("kind", [pytest.param("native", marks=needs_native), "pure"])
def test_links_count_the_messages_of_cost(kind: str, tmp_path: Path) -> None:
    smpc = jsmpc.Replicated3()
    x = jsmpc.share(jax.random.key(0), np.zeros(INPUTS, np.float32), smpc)
    secure = jsmpc.secure(functools.partial(positive, values=INPUTS))
    cost, sent = secure.cost(x), messages(secure.project(x).block)
    assert len({m.slot for m in sent}) == cost.rounds + 1  # and the seeds before them
    with Deployment(
        Loopback(3), tmp_path, PROGRAM, 2, INPUTS, interpreted=KINDS[kind]
    ) as deployment:
        ended = deployment.ended(90)
    for party, end in enumerate(ended):
        assert end.code == 0, end.err
        found = json.loads(end.out.split("running")[1].splitlines()[0])
        assert found["native"] == (kind == "native")
        assert found["sent"] == cost.bytes_sent[party] + cost.setup_bytes[party]
        # A round in which a party neither sends nor receives is none of its exchanges.
        own = {m.slot for m in sent if party in (m.source, m.target)}
        assert found["exchanges"] == len(own)
