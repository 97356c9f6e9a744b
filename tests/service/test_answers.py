"""The summands that parties hand out: their sum, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc._src.api import ports, sharing
from jsmpc._src.api.words import Words
from jsmpc._src.jaxprs import compat
from jsmpc._src.network.network import Network
from jsmpc._src.readings.projection.projection import Port, project
from jsmpc._src.runtime import prf
from jsmpc._src.service import answers

PROTOCOLS = [jsmpc.Replicated3(), jsmpc.Additive(3), jsmpc.Additive(2, bits=32)]
VALUES = [
    np.array([1.5, -2.25, 0.0], np.float32),
    np.array([[-7, 2**30 - 1]], np.int32),
    np.array([True, False, True, True]),
    np.array([-3, 100], np.int8),
]


def words(smpc: jsmpc.Protocol, value: Any, extra: int = 0) -> Words:
    """Shares of a value in rows apart, in which the first has something added."""
    share = sharing.share(prf.random_key(), value, smpc)
    with compat.protocol_mode():
        rows = list(share.components[0])
        rows[0] = rows[0] + np.asarray(extra, rows[0].dtype)
    return Words((tuple(rows),), smpc, share.dtype)


def handed_out(smpc: jsmpc.Protocol, secrets: Sequence[Words]) -> list[list[np.ndarray]]:
    with compat.protocol_mode():
        keys = [prf.random_key() for _ in smpc.endpoints]
        found = answers.summands(smpc, Network(smpc.size), keys, secrets)
        return [[np.asarray(x) for x in parts] for parts in found]


@pytest.mark.parametrize("smpc", PROTOCOLS, ids=repr)
def test_they_sum_to_the_value(smpc: jsmpc.Protocol) -> None:
    for value, parts in zip(
        VALUES, handed_out(smpc, [words(smpc, v) for v in VALUES]), strict=True
    ):
        found = answers.combined(smpc, value.dtype, None, parts)
        assert found.dtype == value.dtype and len(parts) == smpc.size
        np.testing.assert_allclose(found, value, atol=2e-3)


@pytest.mark.parametrize("smpc", PROTOCOLS, ids=repr)
def test_all_but_one_are_uniform_and_fresh(smpc: jsmpc.Protocol) -> None:
    with compat.protocol_mode():
        rows = tuple(jnp.zeros(1000, smpc.ring.dtype) for _ in range(smpc.size))
    zeros = [Words((rows,), smpc, np.dtype(np.float32))] * 2
    parts, again = (handed_out(smpc, zeros)[1] for _ in range(2))
    bits = np.unpackbits(np.stack(parts).view(np.uint8), axis=-1)
    assert abs(bits.mean(1) - 0.5).max() < 0.01  # of all rows; 8 deviations of 32,000 bits
    assert all((p != a).all() for p, a in zip(parts, again, strict=True))
    first, second = handed_out(smpc, zeros)  # two results have masks of their own
    assert not (first[0] == second[0]).any()


@pytest.mark.parametrize("smpc", PROTOCOLS, ids=repr)
def test_no_more_than_the_bits_of_the_dtype(smpc: jsmpc.Protocol) -> None:
    high = 1 << 20
    (parts,) = handed_out(smpc, [words(smpc, np.array([5, -6], np.int8), extra=high)])
    assert {p.dtype.name for p in parts} == {"uint8"}
    np.testing.assert_array_equal(answers.combined(smpc, np.int8, None, parts), [5, -6])
    (bits,) = handed_out(smpc, [words(smpc, np.array([True, False]), extra=6)])
    assert max(p.max() for p in bits) <= 1


@pytest.mark.parametrize("smpc", PROTOCOLS, ids=repr)
def test_a_party_sends_keys_and_gets_its_own_summand(smpc: jsmpc.Protocol) -> None:
    rows = [ports.apart(Words.of(smpc, (5,), np.dtype(np.float32)))]
    key = jax.ShapeDtypeStruct((8,), np.uint32)

    def program(keys: Any, rows: Any) -> Any:
        return answers.summands(smpc, Network(smpc.size), keys, rows)

    with compat.protocol_mode():
        jaxpr = jax.make_jaxpr(program)([key] * len(smpc.endpoints), rows)
        inputs = [*ports.of_keys(smpc), *ports.of_inputs(smpc, rows)]
        outputs = [Port(frozenset({i})) for i in range(smpc.size)]
        found = project(jaxpr, inputs, outputs, smpc.endpoints, smpc.dealer is not None)
    sent = [s for s in found.block.steps if hasattr(s, "target") and s.live]
    assert [s.value.aval.shape for s in sent] == [(8,)] * (smpc.size * (smpc.size - 1) // 2)
