"""The papers behind a protocol, and behind what was run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc

KEY = jax.random.key(1)


def share(smpc: jsmpc.Protocol) -> jsmpc.Share:
    return jsmpc.share(KEY, np.ones(40, np.float32), smpc)


def test_those_of_protocols() -> None:
    assert jsmpc.references(jsmpc.Replicated3()) == list(jsmpc.Replicated3.references)
    assert jsmpc.references(jsmpc.Additive)[0].startswith("D. Beaver, ")
    assert "SIRNN" in str(jsmpc.references(jsmpc.Replicated3))


def test_those_of_what_a_function_used() -> None:
    secure = jsmpc.secure(lambda x: 1 / x)
    secure.cost(share(jsmpc.Replicated3()))
    found = jsmpc.references(secure)
    assert found[: len(jsmpc.Replicated3.references)] == list(jsmpc.Replicated3.references)
    assert any("Goldschmidt" in paper for paper in found)
    assert any("Kogge" in paper for paper in found)
    assert not any("Batcher" in paper for paper in found)


def test_a_routine_that_was_traced_before_cites_again_and_so_does_a_loop() -> None:
    x = share(jsmpc.Additive())
    for f in (
        lambda x: 1 / x,
        lambda x: jax.lax.scan(lambda c, _: (1 / c, None), x, None, length=2)[0],
        lambda x: jax.lax.cond(x[0] > 0, lambda v: 1 / v, lambda v: v, x),
    ):
        secure = jsmpc.secure(f)
        jsmpc.verify(secure)(x)
        assert any("Goldschmidt" in paper for paper in jsmpc.references(secure))


def test_what_several_calls_used_is_added() -> None:
    secure = jsmpc.secure(jnp.sort)
    secure.cost(share(jsmpc.Replicated3()))
    before = jsmpc.references(secure)
    secure.cost(share(jsmpc.Additive()))
    assert set(before) < set(jsmpc.references(secure))
    assert any("Batcher" in paper for paper in before)


def test_texts() -> None:
    found = jsmpc.references(jsmpc.Additive)
    assert str(found).splitlines() == list(found)
    first = found.bibtex().split("\n\n")[0]
    assert first.startswith("@misc{beaver1991,") and "year = {1991}" in first
    assert found.bibtex().count("@misc{") == len(found)


def test_what_has_none() -> None:
    with pytest.raises(jsmpc.ProtocolError, match="has not been run"):
        jsmpc.references(jsmpc.secure(jnp.sort))
    with pytest.raises(TypeError, match=r"a protocol or what jsmpc\.secure returned, not int"):
        jsmpc.references(3)  # type: ignore[arg-type]
