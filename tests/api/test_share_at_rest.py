"""Shares and material that are stored, copied and sent: whole, or refused."""

from __future__ import annotations

import copy
import pickle
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization
from orbax import checkpoint

import jsmpc

KEY = jax.random.key(0)
X = np.float32([[1.0, -2.0, 4.5], [0.5, 3.0, -1.25]])
PROTOCOLS = [
    jsmpc.Replicated3(),
    jsmpc.Replicated3(bits=32),
    jsmpc.Additive(("bob", "alice"), dealer="james"),
    jsmpc.Additive(3, encoding=jsmpc.FixedPoint(base=10)),
]
each = pytest.mark.parametrize("smpc", PROTOCOLS, ids=lambda p: f"{type(p).__name__}-{p.bits}")


def tree():
    return {"x": X, "n": np.int8([1, -2]), "b": np.array([True, False, True])}


def shared(smpc):
    return jsmpc.share(KEY, tree(), smpc)


def same(ours, smpc):
    for name, value in jsmpc.reveal(ours).items():
        atol = 0 if name != "x" else 1e-2
        np.testing.assert_allclose(value, tree()[name], atol=atol)
        assert value.dtype == tree()[name].dtype
    assert all(s.protocol == smpc for s in ours.values())


@each
@pytest.mark.parametrize("x64", [False, True])
def test_pickle_copy_and_flax_keep_every_bit(smpc, x64):
    ours = shared(smpc)
    with jax.enable_x64(x64):
        copies = [
            pickle.loads(pickle.dumps(ours)),
            copy.copy(ours),
            copy.deepcopy(ours),
            serialization.from_bytes(ours, serialization.to_bytes(ours)),
            serialization.from_state_dict(ours, serialization.to_state_dict(ours)),
        ]
    for other in copies:
        same(other, smpc)
        for name, x in ours.items():
            np.testing.assert_array_equal(x.components[0], other[name].components[0])
            assert x.components[0].dtype == other[name].components[0].dtype


def through_orbax(folder, tree, target=None):
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, tree)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder, tree if target is None else target)


@pytest.mark.parametrize("x64", [False, True])
def test_orbax_keeps_every_bit(tmp_path, x64):
    smpc = PROTOCOLS[2]
    ours = {**shared(smpc), "none": jsmpc.share(KEY, np.zeros((0, 2)), smpc)}
    square = jsmpc.secure(lambda x: x * x)
    state = {**ours, "step": np.array(7), "material": square.offline(KEY, ours["x"])}
    with jax.enable_x64(x64):
        stored = jsmpc.to_arrays(state)
        target = {**stored, **jsmpc.to_arrays(jax.eval_shape(lambda x: x, shared(smpc)))}
        with checkpoint.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "tree", stored)
            without_target = checkpointer.restore(tmp_path / "tree")
        for restored in (through_orbax(tmp_path / "a", stored, target), without_target):
            found = jsmpc.from_arrays(restored, smpc)
            assert found["step"] == 7 and found["none"].shape == (0, 2)
            same({name: found[name] for name in tree()}, smpc)
            for name, x in ours.items():
                np.testing.assert_array_equal(x.components[0], found[name].components[0])
        np.testing.assert_allclose(
            jsmpc.reveal(square.online(found["material"], found["x"])), X * X, atol=1e-4
        )
        with pytest.raises(jsmpc.MaterialError, match="has been used"):
            square.online(state["material"], ours["x"])
        with pytest.raises(jsmpc.MaterialError, match="has been used"):
            jsmpc.to_arrays(state)
        restored = through_orbax(tmp_path / "b", serialization.to_state_dict(ours))
        found = serialization.from_state_dict(ours, restored)
        np.testing.assert_array_equal(found["x"].components[0], ours["x"].components[0])


def test_what_was_stored_is_restored_as_itself_or_not_at_all():
    smpc = PROTOCOLS[2]
    ours = {"x": shared(smpc)["x"]}
    stored = jsmpc.to_arrays(ours)
    for other in (
        PROTOCOLS[3],  # of as many rows, without these checks
        jsmpc.Additive(("alice", "bob"), dealer="james"),
        jsmpc.Additive(("bob", "alice"), dealer="james", bits=32),
        jsmpc.Additive(("bob", "alice"), encoding=jsmpc.FixedPoint(base=10)),
    ):
        with pytest.raises(jsmpc.ProtocolError, match="a stored share is of another"):
            jsmpc.from_arrays(stored, other)
        with pytest.raises(jsmpc.ProtocolError, match="a stored share is of another"):
            serialization.from_state_dict({"x": shared(other)["x"]}, stored)
    material = jsmpc.to_arrays(jsmpc.secure(lambda x: x * x).offline(KEY, ours["x"]))
    with pytest.raises(jsmpc.MaterialError, match="a stored material is of another"):
        jsmpc.from_arrays(material, PROTOCOLS[3])
    whole = stored["x"]
    for i in range(25, whole.size, 7):  # behind the mark
        damaged = whole.copy()
        damaged[i] ^= 1
        with pytest.raises(jsmpc.ProtocolError, match=r"damaged|of another"):
            print(i, jsmpc.from_arrays(damaged, smpc))
    for damaged in (whole[:40], whole[:-1], np.append(whole, np.uint8(0))):
        with pytest.raises(jsmpc.ProtocolError, match="damaged"):
            jsmpc.from_arrays(damaged, smpc)
    with pytest.raises(jsmpc.ProtocolError, match="holds no share"):
        serialization.from_state_dict(ours, {"x": np.zeros(9, np.uint8)})
    with pytest.raises(jsmpc.ProtocolError, match="float32 was stored, where int8"):
        serialization.from_state_dict({"x": shared(smpc)["n"]}, stored)
    with pytest.raises(jsmpc.MaterialError, match="to_arrays inside of a transformation"):
        jax.jit(jsmpc.to_arrays)(ours)


@each
def test_words_that_were_cut_or_computed_on_are_refused(smpc):
    ours = shared(smpc)
    if smpc.bits == 64:
        with pytest.raises(jsmpc.SecretError, match=r"uint64, and came back as uint32.*pickle"):
            jax.device_put(jax.device_get(ours))
        with pytest.raises(jsmpc.SecretError, match="came back as uint32"):
            jax.tree.map(lambda w: jnp.asarray(np.asarray(w)) if w.nbytes else w, ours)
    with pytest.raises(jsmpc.SecretError, match="came back as float"):
        jax.tree.map(lambda w: w.astype(np.float32) if w.nbytes else w, ours)


def test_what_arrives_as_a_share_with_other_arrays_is_refused_wherever_it_is_used():
    smpc = jsmpc.Replicated3()
    words = shared(smpc)["x"].components[0]
    with jax.enable_x64(True):
        wrong = [
            (jsmpc.SecretError, words.astype(np.uint32)),
            (jsmpc.SecretError, words.astype(np.float64)),
            (jsmpc.ProtocolError, words[:2]),
            (jsmpc.ProtocolError, jnp.concatenate([words, words])),
            (jsmpc.ProtocolError, words[0, 0, 0]),
        ]
    for error, array in wrong:
        share = jax.tree.unflatten(jax.tree.structure(shared(smpc)["x"]), [words, None])
        share.components = (array,)
        for use in (
            jsmpc.reveal,
            lambda x: jsmpc.secure(lambda v: v + v)(KEY, x),
            lambda x: jsmpc.secure(lambda v: v + v).offline(KEY, x),
            lambda x: jsmpc.secure(lambda v: v + v).cost(x),
        ):
            with pytest.raises(error):
                use(share)


def test_leaves_may_be_moved_and_sliced_together():
    ours = shared(PROTOCOLS[0])["x"]
    with jax.enable_x64(True):
        part = jax.tree.map(lambda w: w[:, 1:, ::2], ours)
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 2), part, part)
    np.testing.assert_allclose(jsmpc.reveal(part), X[1:, ::2], atol=1e-5)
    np.testing.assert_allclose(jsmpc.reveal(joined), np.tile(X[1:, ::2], (1, 2)), atol=1e-5)
    with jax.enable_x64(True), pytest.raises(jsmpc.ProtocolError, match="do not belong together"):
        jsmpc.reveal(jax.tree.map(lambda w: w[:, :1] if w.dtype == np.uint64 else w, ours))


def test_material_round_trips_and_is_used_once_by_all_its_copies():
    smpc = PROTOCOLS[2]
    square, x = jsmpc.secure(lambda x: x * x), shared(smpc)["x"]
    for copied in (
        copy.copy,
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: jax.tree.map(lambda w: w, m),
    ):
        material = square.offline(KEY, x)
        other = copied(material)
        np.testing.assert_allclose(jsmpc.reveal(square.online(other, x)), X * X, atol=1e-4)
        for again in (material, other, copied(other)):
            with pytest.raises(jsmpc.MaterialError, match="used twice"):
                square.online(again, x)


def test_material_in_transformations_or_with_words_cut_is_refused():
    smpc = PROTOCOLS[2]
    square, x = jsmpc.secure(lambda x: x * x), shared(smpc)["x"]
    material = square.offline(KEY, x)
    with pytest.raises(jsmpc.MaterialError, match="online inside of a transformation"):
        jax.jit(square.online)(material, x)
    with pytest.raises(jsmpc.MaterialError, match="online inside of a transformation"):
        jax.jit(lambda x: square.online(material, x))(x)
    with pytest.raises(jsmpc.MaterialError, match="online inside of a transformation"):
        jax.vmap(lambda _: square.online(material, x), out_axes=1)(jnp.arange(2))
    with pytest.raises(jsmpc.MaterialError, match="save inside of a transformation"):
        jax.jit(lambda m: m.save("nowhere"))(material)
    with pytest.raises(jsmpc.MaterialError, match="cut by JAX's 32-bit mode"):
        square.online(jax.device_put(jax.device_get(material)), x)
    square.online(material, x)


def test_of_many_threads_one_gets_the_material():
    square, x = jsmpc.secure(lambda x: x * x), shared(PROTOCOLS[2])["x"]
    material = square.offline(KEY, x)

    def use(_):
        try:
            return square.online(material, x)
        except jsmpc.MaterialError:
            return None

    with futures.ThreadPoolExecutor(8) as pool:
        results = [r for r in pool.map(use, range(16)) if r is not None]
    assert len(results) == 1
    np.testing.assert_allclose(jsmpc.reveal(results[0]), X * X, atol=1e-4)
