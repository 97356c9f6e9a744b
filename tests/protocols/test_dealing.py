"""What a correlation plans is what it deals, and what it deals is correlated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness import key, protocol
from jsmpc._src.network.network import Network
from jsmpc._src.ring.bilinear import AND, MATMUL
from jsmpc._src.runtime import correlations
from jsmpc._src.runtime.context import Context

WORD = np.dtype(np.uint64)
CORRELATIONS = [
    correlations.Triple(MATMUL, (2, 3), (3, 4), WORD),
    correlations.Triple(AND, (5,), (5,), np.dtype(np.uint8)),
    correlations.SquarePair((5,), WORD),
    correlations.TruncationMask((5,), WORD, 1000),
    correlations.ThresholdMask((5,), WORD, 1),
    correlations.BitMask((5,), WORD),
    correlations.OddMask((5,), WORD),
    correlations.Dabit((5,), WORD),
    correlations.DabitProduct((5,), WORD),
]


def test_every_correlation_is_tried() -> None:
    kinds = correlations.Correlation.__subclasses__()
    ours = {k for k in kinds if k.__module__ == correlations.__name__}
    assert {type(c) for c in CORRELATIONS} == ours


@pytest.mark.parametrize("correlation", CORRELATIONS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("parties", [2, 3])
def test_shares_add_up_to_correlated_values(correlation: Any, parties: int) -> None:
    smpc, net = protocol(f"additive{parties}", 64), Network(parties)
    with jax.enable_x64(True):
        seeds = smpc.setup(net, [jnp.asarray(key(3))] * (parties + 1))
        dealt = Context(net, seeds).deal(correlation)
        expanded = correlation.expand(net, seeds, 0)
        sent, blank = correlation.deal(net, expanded), correlation.blank(net)
        kinds = (*correlation.uniform, *correlation.derived)
    assert jax.tree.structure(sent) == jax.tree.structure(blank)
    shapes = [[(x.shape, x.dtype) for x in jax.tree.leaves(t)] for t in (sent, blank)]
    assert shapes[0] == shapes[1]
    count = len(correlation.uniform)
    with jax.enable_x64(True):
        values = [w.group.sum(x.values) for w, x in zip(kinds, dealt, strict=True)]
        expected = correlation.derive(*values[:count])
    for found, value in zip(values[count:], expected, strict=True):
        np.testing.assert_array_equal(found, value)
        assert np.asarray(found).any()
