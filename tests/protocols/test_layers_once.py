"""Equal layers of a function are traced and compiled once, and each call draws anew."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from harness import SECRET, protocol
from jsmpc._src.jaxprs import compat, layers
from jsmpc._src.jaxprs.layer import layer_p
from jsmpc._src.kernels import native
from jsmpc._src.kernels.fusion.layers import taking_whole_values
from recording import pairs, record_draws

COUNT = 3
KEY = jax.random.key(7)


@pytest.fixture(autouse=True)
def small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LEAST", 3)


def network(x: Any, weights: Any) -> Any:
    for w in weights:
        x = jax.nn.relu(x @ w) * 0.5 + x
    return x


def plain(count: int = COUNT, size: int = 4) -> tuple[Any, list[Any]]:
    rng = np.random.default_rng(0)
    x, *weights = rng.uniform(-1, 1, (count + 1, size, size)).astype(np.float32)
    return x, weights


def shared(smpc: Any, count: int = COUNT) -> tuple[Any, Any]:
    return jsmpc.share(jax.random.key(1), plain(count), smpc)


def calls(jaxpr: Any) -> list[Any]:
    return [e for e in compat.open_jaxpr(jaxpr)[0].eqns if e.primitive is layer_p]


@pytest.mark.parametrize("name", SECRET)
def test_calls_of_one_layer_draw_and_send_what_is_declared(name: str) -> None:
    secure, args = jsmpc.secure(network), shared(protocol(name, 64))
    found = calls(secure.trace(*args))
    assert len(found) == COUNT
    assert len({id(eqn.params["jaxpr"]) for eqn in found}) == 1
    recorder = record_draws(secure, jnp.arange(8, dtype=jnp.uint32), *args)
    drawn = pairs(recorder)
    assert drawn
    assert len(set(drawn)) == len(drawn)
    cost = secure.cost(*args)
    assert cost.rounds == max(m.round for m in recorder.messages)


@pytest.mark.parametrize("name", SECRET)
@pytest.mark.parametrize("bits", [64, 32])
def test_pieces_phases_and_the_whole_give_the_same(name: str, bits: int) -> None:
    if name.startswith("fss") and bits == 32:
        pytest.skip("as with 64 bits")
    secure, args = jsmpc.secure(network), shared(protocol(name, bits))
    in_pieces = secure(KEY, *args)
    np.testing.assert_allclose(jsmpc.reveal(in_pieces), network(*plain()), atol=2e-2)
    whole = jax.jit(secure)(KEY, *args)
    online = secure.online(secure.offline(KEY, *args), *args)
    for found in (whole, online):
        np.testing.assert_array_equal(jsmpc.reveal(found), jsmpc.reveal(in_pieces))


def test_xla_alone_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    args = shared(protocol("replicated3", 64), 2)
    expected = jsmpc.secure(network)(KEY, *args)
    monkeypatch.setattr(native, "available", lambda: False)
    found = jsmpc.secure(network)(KEY, *args)
    for a, b in zip(found.components, expected.components, strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_differ_from_layer_to_layer() -> None:
    """Layers of equal weights and inputs are re-shared by different words."""

    def program(x: Any) -> Any:
        found = []
        for _ in range(2):
            found += [jax.nn.relu(x * x) * 0.5]
        return found

    x = jsmpc.share(jax.random.key(1), np.float32([1, 2, 3]), protocol("replicated3", 64))
    secure = jsmpc.secure(program)
    assert len(calls(secure.trace(x))) == 2
    first, second = secure(KEY, x)
    np.testing.assert_allclose(jsmpc.reveal(first), jsmpc.reveal(second), atol=1e-4)
    for a, b in zip(first.components, second.components, strict=True):
        assert not np.any(np.asarray(a) == np.asarray(b))


def test_transformed_calls() -> None:
    smpc = protocol("replicated3", 64)
    x, weights = plain()
    xs = np.stack([x, -x])
    secure, shares = jsmpc.secure(network), jsmpc.share(jax.random.key(1), (xs, weights), smpc)
    expected = [network(x, weights) for x in xs]
    mapped = jax.vmap(secure, in_axes=(0, 1, None), out_axes=1)(jax.random.split(KEY, 2), *shares)
    np.testing.assert_allclose(jsmpc.reveal(mapped), expected, atol=1e-3)

    def step(carry: Any, key: Any) -> Any:
        return secure(key, carry, shares[1]), None

    once, _ = jax.lax.scan(step, jsmpc.share(KEY, x, smpc), jax.random.split(KEY, 2))
    np.testing.assert_allclose(jsmpc.reveal(once), network(network(x, weights), weights), atol=1e-3)


def test_layers_in_a_loop() -> None:
    def program(x: Any, weights: Any) -> Any:
        return jax.lax.scan(lambda c, _: (network(c, weights), None), x, None, length=2)[0]

    smpc = protocol("replicated3", 64)
    secure, args = jsmpc.secure(program), shared(smpc)
    np.testing.assert_allclose(jsmpc.reveal(secure(KEY, *args)), program(*plain()), atol=1e-3)
    drawn = pairs(record_draws(secure, jnp.arange(8, dtype=jnp.uint32), *args))
    assert len(set(drawn)) == len(drawn)


def compiled(count: int, caplog: pytest.LogCaptureFixture) -> int:
    """How many programs a first call compiles."""
    secure, args = jsmpc.secure(network), shared(protocol("replicated3", 64), count)
    caplog.clear()
    with jax.log_compiles():
        secure(KEY, *args)
    return sum("Finished XLA compilation" in message for message in caplog.messages)


def test_more_layers_compile_no_more(caplog: pytest.LogCaptureFixture) -> None:
    compiled(2, caplog)  # and what any call compiles once
    assert compiled(7, caplog) == compiled(4, caplog) > 0


def test_weights_are_read_where_they_lie() -> None:
    """A layer takes stacked shares, not the parties' rows of them."""
    secure, args = jsmpc.secure(network), shared(protocol("replicated3", 64))
    program = taking_whole_values(compat.open_jaxpr(secure.trace(*args))[0])
    weights = [v for v in program.invars if v.aval.shape == (3, 4, 4)][-COUNT:]
    found = calls(program)
    assert len({id(eqn.params["jaxpr"]) for eqn in found}) == 1
    for i, eqn in enumerate(found):
        assert weights[i] in eqn.invars


def test_known_constants_stay_known() -> None:
    """A layer that another constant comes to is another layer."""

    def program(x: Any) -> Any:
        for scale in (2.0, 4.0, 4.0):
            factor = np.full(3, scale, np.float32)
            x = jax.nn.relu(x * factor) * 0.5 + x
        return x

    x = np.float32([1, -2, 3])
    secure = jsmpc.secure(program)
    share = jsmpc.share(jax.random.key(1), x, protocol("replicated3", 64))
    np.testing.assert_allclose(jsmpc.reveal(secure(KEY, share)), program(x), atol=1e-3)
    found = calls(secure.trace(share))
    assert len(found) == 3
    assert len({id(eqn.params["jaxpr"]) for eqn in found}) == 2


def test_overflows_in_a_layer_are_found() -> None:
    secure = jsmpc.secure(network, check=True)
    smpc = protocol("replicated3", 64)
    x, weights = plain()
    args = jsmpc.share(jax.random.key(1), (x, weights), smpc)
    np.testing.assert_allclose(jsmpc.reveal(secure(KEY, *args)), network(x, weights), atol=1e-3)
    large = jsmpc.share(
        jax.random.key(1), (x, [weights[0], weights[1] * 1e6, weights[2] * 1e6]), smpc
    )
    with pytest.raises(jsmpc.EncodingError, match=r"dot_general at .*test_layers_once.py"):
        secure(KEY, *large)


def test_faults_of_public_operands_in_a_layer_are_found() -> None:
    def program(x: Any, factors: Any) -> Any:
        for f in factors:
            x = jnp.cumsum(jax.nn.relu(x * f)) * 0.5  # a sum has no elements of no use
        return x

    x = np.float32([1, 2])
    secure = jsmpc.secure(program)
    share = jsmpc.share(jax.random.key(1), x, protocol("replicated3", 64))
    factors = [np.float32([2, 3]), np.float32([4, 3]), np.float32([2, 3])]
    assert len(calls(secure.trace(share, factors))) == 3
    np.testing.assert_allclose(
        jsmpc.reveal(secure(KEY, share, factors)), program(x, factors), atol=1e-3
    )
    factors[1][0] = np.nan
    with pytest.raises(jsmpc.EncodingError, match=r"mul at .*test_layers_once.py"):
        secure(KEY, share, factors)


def test_numbers_lost_in_a_layer_are_told() -> None:
    def program(x: Any, terms: Any) -> Any:
        for t in terms:
            x = jnp.cumsum(jax.nn.relu(x + t)) * 0.5
        return x

    secure = jsmpc.secure(program)
    share = jsmpc.share(jax.random.key(1), np.float32([1, 2]), protocol("replicated3", 64))
    terms = [np.float32([1, 2]), np.float32([1e-9, 1e-9]), np.float32([1, 2])]
    assert len(calls(secure.trace(share, terms))) == 3
    with pytest.warns(jsmpc.EncodingWarning, match=r"add at .*test_layers_once.py"):
        secure(KEY, share, terms)


def test_elements_of_no_use_pass_through_the_end_of_a_layer() -> None:
    def program(x: Any, factors: Any, used: Any) -> Any:
        for f in factors:
            x = jnp.where(used, jax.nn.relu(x) * f, x) * 0.5
        return x

    secure = jsmpc.secure(program)
    share = jsmpc.share(jax.random.key(1), np.float32([1, 2]), protocol("replicated3", 64))
    factors = [np.float32([2, 3]), np.float32([np.nan, 3]), np.float32([2, 3])]
    found = calls(secure.trace(share, factors, np.array([False, True])))
    assert [len(e.outvars) for e in found][1:] == [3 + 1] * 2  # and which elements are of no use
    found = jsmpc.reveal(secure(KEY, share, factors, np.array([False, True])))
    np.testing.assert_allclose(found, [0.125, 6.75], atol=1e-3)
    with pytest.raises(jsmpc.EncodingError, match=r"mul at .*test_layers_once.py"):
        secure(KEY, share, factors, np.array([True, True]))
