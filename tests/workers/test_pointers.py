"""Pointers: what is sent, computed, taken back and let go of, at workers here and in processes."""

from __future__ import annotations

import concurrent.futures
import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from pairs import Pair

import jsmpc
from jsmpc._src.errors import PlanError, PointerError


def same(found: Any, expected: Any) -> None:
    """Equal to the bit, in dtype, shape and containers."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert isinstance(x, jax.Array)
        assert x.dtype == y.dtype and x.shape == y.shape
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def ids(worker: Any) -> set[str]:
    return set(worker.objects)


# Sent, and brought back.


def test_what_is_sent_comes_back_and_is_gone_there(pair: Pair) -> None:
    value = jnp.arange(6.0).reshape(2, 3)
    x = pair.bob.send(value, tags=["#x"], description="six numbers")
    assert (x.location, x.owner, x.shape, x.dtype) == (pair.bob, pair.me, (2, 3), np.float32)
    assert (x.tags, x.description, x.ndim, x.size, len(x)) == (("#x",), "six numbers", 2, 6, 2)
    assert pair.bob.objects == {x.id: "float32[2,3] #x"}
    same(x.copy(), value)
    same(x.get(), value)
    assert pair.bob.objects == {}
    with pytest.raises(PointerError, match="taken back by get"):
        x.get()
    with pytest.raises(PointerError, match="taken back by get"):
        x + 1


@pytest.mark.parametrize(
    "value",
    [1, 2.5, True, np.float16(3), np.arange(3, dtype=np.uint8), np.zeros((0, 2), np.int8), 1 + 2j],
    ids=str,
)
def test_numbers_and_numpy_arrays_arrive_as_jax_has_them(pair: Pair, value: Any) -> None:
    expected = jnp.asarray(value)
    same(pair.bob.send(value).get(), jnp.asarray(expected, expected.dtype))


def test_what_is_sent_does_not_change_any_more(pair: Pair) -> None:
    for dtype in (np.float32, np.int64):
        value = np.zeros(1 << 14, dtype)
        x = pair.bob.send(value)
        value[:] = 1
        assert not x.get().any()


class Position(NamedTuple):
    x: Any
    y: Any


def test_containers_come_back_as_they_were(pair: Pair) -> None:
    tree = {"w": [jnp.ones(2), (jnp.zeros(3, int), None)], "at": Position(jnp.ones(1), ()), "e": {}}
    p = pair.bob.send(tree)
    expected = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
    assert p.structure == expected
    with pytest.raises(PointerError, match="structure"):
        _ = p.shape
    assert p["w"][0].shape == (2,)
    same(p["w"][0].copy(), jnp.ones(2))
    same((p["w"][0] + 1).get(), jnp.full(2, 2.0))
    same(p.get(), tree)


def test_one_array_of_a_pytree_has_no_pointer_of_its_own(pair: Pair) -> None:
    p = pair.bob.send({"w": jnp.ones(2)})
    with pytest.raises(PointerError, match=r"jsmpc\.run"):
        pair.alice.send(p["w"])


def test_get_brings_a_whole_tree(pair: Pair) -> None:
    x = jsmpc.send(jnp.arange(3.0), pair.bob)
    found = jsmpc.get({"sum": x.sum(), "twice": [x + x], "here": 3})
    same(found["twice"], [jnp.arange(3.0) * 2])
    assert float(found["sum"]) == 3 and found["here"] == 3


# Let go of.


def test_the_last_pointer_frees(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones(3))
    other = pair.bob.search()
    again = copy.deepcopy(x)
    assert ids(pair.bob) == {x.id} and other[0].id == x.id
    del other, again
    assert ids(pair.bob) == {x.id}
    del x
    assert ids(pair.bob) == set()


def test_what_is_computed_and_not_kept_frees(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones(3))
    y = ((x + 1) * 2 - x).sum()
    assert ids(pair.bob) == {x.id, y.id}


def test_clear_deletes_all_of_the_callers_and_no_more(pair: Pair) -> None:
    dave = pair.client("dave")["bob"]
    theirs = dave.send(jnp.ones(2))
    x = pair.bob.send(jnp.ones(3))
    y = x + 1
    assert pair.bob.clear() == 2
    assert ids(pair.bob) == {theirs.id}
    with pytest.raises(PointerError, match="no object"):
        y.get()
    assert dave.clear() == 1


def test_nobody_gives_up_the_pointers_of_others(pair: Pair) -> None:
    dave = pair.client("dave")["bob"]
    x = pair.bob.send(jnp.ones(3), tags=["#mine"])
    for _ in range(3):
        dave.asked("drop", ids=[x.id, x.id])
    (found,) = dave.search("#mine")
    same(found.get(), jnp.ones(3))  # theirs is gone, not mine
    assert dave.search("#mine")[0].owner == pair.me
    same(x.get(), jnp.ones(3))
    assert len(pair.bob.objects) == 1  # dave's last search
    del found
    dave.asked("drop", ids=[x.id])
    assert ids(pair.bob) == set()


# Found.


def test_search_finds_by_all_words(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones(2), tags=["#radio", "#2019"], description="Daily hours of radio")
    y = pair.alice.send(jnp.ones(3), tags=["#radio"])
    found = jsmpc.search(["#radio"], [pair.bob, pair.alice])
    assert [p.id for p in found["bob"]] == [x.id] and [p.id for p in found["alice"]] == [y.id]
    assert [p.id for p in pair.bob.search("#radio", "hours")] == [x.id]
    assert pair.bob.search("#radio", "#2020") == [] == pair.bob.search("#rad")
    with pytest.raises(PointerError, match="list of strings"):
        pair.bob.send(jnp.ones(1), tags="#radio")


def test_another_client_finds_it_and_computes(pair: Pair) -> None:
    x = pair.bob.send(jnp.arange(4.0), tags=["#shared"])
    (found,) = pair.client("dave")["bob"].search("#shared")
    assert found.owner == pair.me
    twice = found * 2
    assert twice.owner == "dave"
    same(twice.get(), x.copy() * 2)


# Moved, and pointed to.


def test_move_goes_from_worker_to_worker(pair: Pair) -> None:
    x = pair.bob.send({"w": jnp.arange(3)}, tags=["#m"])
    y = x.move(pair.alice)
    assert y.location is pair.alice and y.tags == ("#m",) and ids(pair.bob) == set()
    with pytest.raises(PointerError, match="taken back by move"):
        x.get()
    assert "move" in pair.events(pair.bob) and "get" not in pair.events(pair.bob)
    same(y.get(), {"w": jnp.arange(3)})
    with pytest.raises(PointerError, match="there already"):
        pair.bob.send(jnp.ones(1)).move(pair.bob)


def test_what_was_moved_is_freed_by_its_pointer(pair: Pair) -> None:
    y = pair.bob.send(jnp.ones(2)).move(pair.alice)
    assert ids(pair.alice) == {y.id}
    del y
    assert ids(pair.alice) == set()


def test_pointers_to_pointers(pair: Pair) -> None:
    x = pair.bob.send(jnp.arange(3.0))
    to_x = x.send(pair.alice, tags=["#far"])
    assert to_x.location is pair.alice and to_x.shape == (3,)
    assert pair.alice.objects == {to_x.id: "pointer float32[3] #far"}
    y = to_x + to_x * 2
    assert y.location is pair.alice and len(pair.alice.objects) == 2 == len(pair.bob.objects)
    found = y.get()
    assert found.location is pair.bob and ids(pair.alice) == {to_x.id}
    same(found.get(), jnp.arange(3.0) * 3)
    kept = to_x.copy()
    same(kept.copy(), jnp.arange(3.0))
    same(to_x.get().get(), jnp.arange(3.0))
    assert ids(pair.alice) == set() == ids(pair.bob)


def test_a_pointer_keeps_what_it_points_to(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones(3))
    to_x = x.send(pair.alice)
    number = x.id
    del x
    assert ids(pair.bob) == {number}
    del to_x
    assert ids(pair.alice) == set() == ids(pair.bob)


def test_pointers_to_pointers_of_pytrees_and_of_three_steps(pair: Pair) -> None:
    p = pair.bob.send({"w": jnp.ones(2), "b": jnp.zeros(())})
    far = p.send(pair.alice)
    result = jsmpc.run(lambda p: p["w"].sum() + p["b"], far)
    same(result.get().get(), jnp.float32(2))
    further = far.send(pair.bob)  # bob points to alice, who points to bob
    same((further["w"] + 1).get().get().get(), jnp.full(2, 2.0))
    with pytest.raises(PointerError, match="there already"):
        p.send(pair.bob)


def test_a_pointer_moves_and_still_leads_there(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones(2))
    y = pair.alice.send(x)
    with pytest.raises(PointerError, match="keeps no pointers"):
        y.move(pair.bob)
    same(y.get().get(), jnp.ones(2))


# Computed there.

OPERATIONS: dict[str, list[Callable[[Any, Any], Any]]] = {
    "any": [
        operator.add,
        operator.mul,
        operator.eq,
        lambda x, y: 1 + x,
        lambda x, y: x @ y.T,
        lambda x, y: x[1:, ::2],
        lambda x, y: x.sum(axis=0, keepdims=True),
        lambda x, y: x.any(),
    ],
    "ordered": [
        operator.sub,
        operator.truediv,
        lambda x, y: -x,
        lambda x, y: x.max(axis=0),
        lambda x, y: x > y,
    ],
    "more": [
        operator.ne,
        operator.lt,
        operator.ge,
        operator.le,
        operator.floordiv,
        operator.mod,
        operator.pow,
        lambda x, y: 2 / y,
        lambda x, y: 2 - x,
        lambda x, y: abs(x),
        lambda x, y: x[-1, None, ...],
        lambda x, y: x.reshape(3, 2).astype(jnp.float32),
        lambda x, y: x.prod(1),
        lambda x, y: x.all(),
        lambda x, y: x.cumsum(axis=1),
        lambda x, y: x.mean(),
        lambda x, y: x.std(axis=1),
        lambda x, y: x.var(),
        lambda x, y: x.min(),
        lambda x, y: x.argmax(axis=1),
        lambda x, y: x.argmin(),
    ],
    "bits": [operator.and_, operator.or_, operator.xor, lambda x, y: ~x],
    "shifts": [operator.lshift, operator.rshift],
}
KINDS = {
    "int32": ["any", "ordered", "more", "bits", "shifts"],
    "float32": ["any", "ordered", "more"],
    "bfloat16": ["any", "ordered"],
    "uint8": ["any", "ordered", "shifts"],
    "bool": ["any", "bits"],
    "complex64": ["any"],
}


@pytest.mark.parametrize(
    ("pair", "dtype"),
    [*(("here", dtype) for dtype in KINDS), ("processes", "int32")],
    indirect=["pair"],
)
def test_operations_are_those_of_arrays(pair: Pair, dtype: str) -> None:
    x = jnp.array([[1, 2, 3], [4, 5, 1]]).astype(dtype)
    y = jnp.array([[2, 1, 1], [3, 2, 1]]).astype(dtype)
    there = pair.bob.send(x), pair.bob.send(y)
    chosen = [f for kind in KINDS[dtype] for f in OPERATIONS[kind]]
    found = [f(*there) for f in chosen]
    expected = jax.jit(lambda x, y: [f(x, y) for f in chosen])(x, y)
    assert [(p.shape, p.dtype) for p in found] == [(v.shape, v.dtype) for v in expected]
    same(jsmpc.get(found), expected)


def test_64_bits(pair: Pair) -> None:
    with jax.enable_x64(True):
        big = jnp.array([2**63 + 1, 5], jnp.uint64)
        x = pair.bob.send(big)
        assert x.dtype == np.uint64
        same((x * 3 + x).get(), big * 3 + big)
        same((x > 2**62).get(), big > 2**62)
        same(jsmpc.run(jnp.mean, pair.bob.send(jnp.arange(3.0))).get(), jnp.float64(1))
        same(x.copy(), big)


def test_numpy_arrays_of_64_bits_are_not_cut_and_computed_on_as_they_are(pair: Pair) -> None:
    x = pair.bob.send(np.array([1, 2**40]))
    y = x + 1
    assert (x.dtype, y.dtype) == (np.int64, np.int64)
    assert y.get().tolist() == [2, 2**40 + 1]
    same((pair.bob.send(jnp.ones(2)) + np.ones(2)).get(), jnp.ones(2) + np.ones(2))  # float32


def test_arrays_of_this_side_are_sent_along(pair: Pair) -> None:
    x = pair.bob.send(jnp.arange(3.0))
    for here in (jnp.ones(3), np.ones(3, np.float32), np.float32(2), 2, True):
        same((here - x).get(), jnp.asarray(here) - jnp.arange(3.0))
        same((x * here).get(), jnp.arange(3.0) * here)
    assert "put" in pair.events(pair.bob) and pair.events(pair.bob).count("put") == 1


def test_run_takes_any_function(pair: Pair) -> None:
    x, scale = pair.bob.send(jnp.arange(4.0)), jnp.float32(3)

    @jax.jit
    def f(x: Any, scale: Any, *, shift: Any) -> Any:
        return {"y": jnp.sin(x) * scale + shift, "n": (x.sum(),)}

    found = jsmpc.run(f, x, scale, shift=1)
    assert jax.tree.structure(found) == jax.tree.structure({"y": 0, "n": (0,)})
    same(jsmpc.get(found), f(jnp.arange(4.0), scale, shift=1))
    same(jsmpc.run(f, jnp.ones(2), 1.0, shift=2), f(jnp.ones(2), 1.0, shift=2))  # nobody's: here


def test_gradients_of_a_flax_model_are_pytrees_of_pointers(pair: Pair) -> None:
    model, adam = nn.Dense(2), optax.adam(0.1)
    x, y = jnp.ones((3, 4)), jnp.zeros((3, 2))
    params = jax.jit(model.init)(jax.random.key(0), x)

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        loss, found = jax.value_and_grad(lambda p: ((model.apply(p, x) - y) ** 2).mean())(params)
        updates, state = adam.update(found, state, params)
        return optax.apply_updates(params, updates), state, loss

    state = adam.init(params)
    there = jsmpc.run(adam.init, p := pair.bob.send(params)), pair.bob.send(x), pair.bob.send(y)
    far_state, far_x, far_y = there
    compiled, far = jax.jit(step), p
    for _ in range(3):
        params, state, loss = compiled(params, state, x, y)
        far, far_state, far_loss = jsmpc.run(step, far, far_state, far_x, far_y)
    same(jsmpc.get(far), params)
    same(jsmpc.get(far_state), state)
    same(far_loss.get(), loss)


def test_a_toy_model_trains_as_it_does_here_to_the_bit(pair: Pair) -> None:
    data = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    target = jnp.array([[0], [0], [1], [1.0]])
    sgd = optax.sgd(0.1)

    def step(params: Any, state: Any, data: Any, target: Any) -> Any:
        def loss(params: Any) -> Any:
            return ((data @ params["w"] + params["b"] - target) ** 2).sum()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = sgd.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    params = {"w": jnp.array([[0.3], [-0.2]]), "b": jnp.zeros(1)}
    state, compiled, expected = sgd.init(params), jax.jit(step), []
    far = [pair.bob.send(x) for x in (data, target)]
    far_params, far_state, losses = pair.bob.send(params), sgd.init(params), []
    for _ in range(20):
        params, state, loss = compiled(params, state, data, target)
        expected.append(loss)
        far_params, far_state, far_loss = jsmpc.run(step, far_params, far_state, *far)
        losses.append(far_loss.get())
    same(losses, expected)
    same(jsmpc.get(far_params), params)
    assert float(losses[-1]) < float(losses[0]) / 10


# Refused.


def test_two_workers_have_no_common_result(pair: Pair) -> None:
    x, y = pair.bob.send(jnp.ones(2)), pair.alice.send(jnp.ones(2))
    with pytest.raises(PointerError, match=r"alice and bob.*move"):
        x + y
    far, near = x.send(pair.alice), pair.alice.send(jnp.ones(2))
    with pytest.raises(PointerError, match="alice and bob"):
        far + near
    assert "run" not in pair.events(pair.bob) + pair.events(pair.alice)


def test_what_does_not_fit_is_refused_before_it_runs(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones((2, 3)))
    with pytest.raises(PlanError, match=r"matmul at bob.*float32\[2,3\]"):
        x @ x
    with pytest.raises(PlanError, match="cannot be computed"):
        x + jnp.ones(4)
    plan = jsmpc.plan(jnp.sum, "float32[3]")
    with pytest.raises(PlanError, match=r"float32\[2,3\], where float32\[3\]"):
        plan(x)
    with pytest.raises(PlanError, match="takes"):
        plan(x, x)
    assert "run" not in pair.events(pair.bob)


def test_an_unknown_id_is_told(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones(2))
    pair.bob.clear()
    to_alice = [lambda: x.send(pair.alice), lambda: x.move(pair.alice)]
    for act in (x.copy, x.get, lambda: x + 1, *to_alice):
        with pytest.raises(PointerError, match="has no object"):
            act()
    assert ids(pair.alice) == set()


def test_no_value_is_shown_by_accident(pair: Pair) -> None:
    x = pair.bob.send(jnp.array([1234.5]))
    for act in (bool, float, int, np.asarray, jnp.asarray, jax.jit(lambda x: x), operator.index):
        with pytest.raises((PointerError, TypeError, ValueError)):
            act(x)
    for act in (iter, list, pickle.dumps):
        with pytest.raises((PointerError, TypeError)):
            act(x)
    with pytest.raises((PointerError, TypeError)):
        np.add(np.ones(1), x)
    with pytest.raises(PointerError, match="Index by arrays in a function"):
        x[jnp.array([0])]
    assert "1234" not in repr(x) + str(x) + str(pair.bob.objects) + repr(vars(x))
    assert not {"get", "read"} & set(pair.events(pair.bob))


def test_what_cannot_be_sent(pair: Pair) -> None:
    @jax.jit
    def f(x: Any) -> Any:
        pair.bob.send(x)

    with pytest.raises(PointerError, match="being traced"):
        f(jnp.ones(2))
    share = jsmpc.share(jax.random.key(0), jnp.ones(2), jsmpc.Replicated3())
    with pytest.raises(PointerError, match="share"):
        pair.bob.send([share])
    with pytest.raises(PointerError, match="key_data"):
        pair.bob.send(jax.random.key(0))
    for value in ("text", {1: jnp.ones(1)}, {jnp.ones}, object()):
        with pytest.raises(TypeError):
            pair.bob.send(value)
    with pytest.raises(PointerError, match="no worker"):
        jsmpc.send(jnp.ones(1), "bob")  # type: ignore[arg-type]
    assert pair.bob.objects == {}


def test_no_room_is_told_and_nothing_is_half_stored(pair: Pair) -> None:
    x = pair.bob.send({"a": np.zeros(40 << 20, np.uint8)})  # of 64 MiB
    with pytest.raises(PointerError, match=r"bob has no room for 41,943,0\d\d B.*Get or delete"):
        pair.bob.send({"a": jnp.ones(3), "b": np.zeros(40 << 20, np.uint8)})
    with pytest.raises(PointerError, match="no room"):
        jsmpc.run(lambda p: (p["a"][:2], p["a"] + 1), x)
    assert ids(pair.bob) == {x.id} and "run" in pair.events(pair.bob)
    with pytest.raises(PointerError, match="no room"):  # not even computed
        jsmpc.run(lambda p: jnp.zeros((1 << 45,), jnp.uint8) + p["a"][0], x)
    del x
    same(pair.bob.send(jnp.ones(3)).get(), jnp.ones(3))


def test_objects_take_room_by_themselves() -> None:
    bob = jsmpc.Worker("bob", room=1 << 20)
    many = [np.zeros(0, np.uint8)] * 1000
    kept = [bob.send(many) for _ in range(3)]
    with pytest.raises(PointerError, match="no room"):
        bob.send(many)
    assert len(bob.objects) == len(kept)


def test_several_threads_and_clients_at_once(pair: Pair) -> None:
    clients = [pair.bob, pair.client("dave")["bob"]]
    double = jax.jit(lambda x: 2 * x)

    def work(number: int) -> None:
        bob = clients[number % 2]
        for i in range(6):
            value = jnp.full(3, 10.0 * number + i)
            x = bob.send(value, tags=[f"#{number}-{i}"])
            y = jsmpc.run(double, x) + x
            (found,) = bob.search(f"#{number}-{i}")
            assert found.id == x.id
            same(y.get(), 3 * value)
            same(x.get(), value)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert clients[1].clear() == 0 == clients[0].clear()
    assert pair.events(pair.bob).count("run") == 6 * 6 * 2


def test_nothing_that_is_being_traced_is_sent(pair: Pair) -> None:
    x = pair.bob.send(np.ones(2, np.float32))
    plan = jsmpc.plan(jnp.add, "float32[2]", "float32[2]")
    for f in (lambda v: x + v, lambda v: jsmpc.run(jnp.add, x, v), lambda v: plan(x, v)):
        with pytest.raises(jsmpc.PointerError, match="an argument that is being traced"):
            jax.jit(lambda v, f=f: f(v).get())(np.ones(2, np.float32))
    assert "run" not in pair.events(pair.bob)
