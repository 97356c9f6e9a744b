"""Plans: what they say of themselves, their hash, and who can run them."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import export
from pairs import Pair
from processes import PACKAGE

import jsmpc
from jsmpc._src.errors import PlanError
from jsmpc._src.jaxprs import compat
from jsmpc._src.plans import code, contents


@jsmpc.plan("float32[batch,2]", w="float32[2]")
def predict(x: Any, *, w: Any) -> Any:
    return {"y": jnp.tanh(x @ w), "n": x.shape[0] * jnp.ones(())}


class Digits(nn.Module):
    """A network for digits."""

    @nn.compact
    def __call__(self, images: Any) -> Any:
        return nn.Dense(10)(nn.relu(nn.Dense(500)(images)))


@pytest.fixture(scope="module")
def mnist() -> tuple[Any, Any]:
    """The network as a plan, and its weights, small ones."""
    params = Digits().init(jax.random.key(0), jnp.zeros((1, 784)))
    params = jax.tree.map(lambda x: x / 2, params)
    return jsmpc.plan(Digits(), params, "float32[batch,784]"), params


def python(program: str, *arguments: object) -> str:
    """What a Python that sees nothing but jsmpc prints."""
    beginning = f"import sys; sys.path.append({PACKAGE!r})"
    found = subprocess.run(
        [sys.executable, "-I", "-c", f"{beginning}\n{program}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


# What it says.


def test_the_signature_has_free_dimensions() -> None:
    found = predict.signature
    assert found.paths == ("args[0]", "kwargs['w']")
    assert [(str(x.shape), x.dtype.name) for x in found.inputs] == [
        ("(batch, 2)", "float32"),
        ("(2,)", "float32"),
    ]
    assert [str(x.shape) for x in found.outputs] == ["()", "(batch,)"]
    assert predict.name == "predict" and len(predict.hash) == 64 and predict.reveals == ()
    assert repr(predict).startswith("Plan(predict: float32[batch,2], float32[2] -> float32[]")
    for n in (1, 3):
        x, w = jnp.ones((n, 2)), jnp.array([0.5, 0.25])
        out = predict(x, w=w)
        assert out["y"].tolist() == jnp.tanh(x @ w).tolist() and float(out["n"]) == n


def test_free_dimensions_of_the_same_name_are_the_same() -> None:
    plan = jsmpc.plan(lambda x, y: x * y, "float32[n]", "float32[n]", name="product")
    assert plan(jnp.ones(3), jnp.ones(3)).shape == (3,)
    with pytest.raises(PlanError, match=r"product: args\[1\] is float32\[4\].*'n': 3"):
        plan(jnp.ones(3), jnp.ones(4))
    with pytest.raises(PlanError, match=r"float32\[0\], where float32\[n\]"):
        plan(jnp.ones(0), jnp.ones(0))
    with pytest.raises(PlanError, match="no shape"):
        jsmpc.plan(jnp.sum, "float32")


def test_arguments_have_the_shapes_and_dtypes_of_the_plan() -> None:
    with pytest.raises(PlanError, match=r"args\[0\] is int32\[3,2\], where float32\[batch,2\]"):
        predict(jnp.ones((3, 2), int), w=jnp.ones(2))
    with pytest.raises(PlanError, match=r"takes args\[0\], kwargs\['w'\]"):
        predict(jnp.ones((3, 2)), jnp.ones(2))
    assert predict(np.ones((3, 2)), w=np.ones(2))["y"].shape == (3,)  # as JAX takes them


def test_the_text_is_read_from_the_code() -> None:
    text = str(predict)
    assert text.startswith(
        f"plan predict\nhash {predict.hash}\ninputs:\n  args[0]: float32[batch,2]"
    )
    assert "stablehlo.tanh" in text and "stablehlo.dot_general" in text
    assert "reveals nothing but its outputs" in text
    assert "test_plans" not in text and "loc(" not in text  # and of no file


def test_nothing_hides_behind_what_looks_like_a_source_line() -> None:
    program = jax.jit(lambda x: jnp.tanh(jnp.cos(jnp.sin(x))))
    text = export.export(program)(jnp.ones(3)).mlir_module()
    for operation, decoy in (("sine", " loc("), ("tanh", ")")):
        found = re.search(rf"stablehlo.{operation} %\w+", text)
        assert found is not None
        marked = f'{found[0]} {{mhlo.frontend_attributes = {{a = "{decoy}"}}}}'
        text = text.replace(found[0], marked)
    shown, _ = compat.read_module(text)
    assert all(f"stablehlo.{x}" in shown for x in ("sine", "cosine", "tanh"))


def test_reveals_of_a_secure_function_inside_are_told() -> None:
    smpc = jsmpc.Replicated3(parties=("ann", "ben", "cid"))
    secure = jsmpc.secure(lambda x: jsmpc.reveal(x.sum(), to="ben"))

    def f(key: Any, x: Any) -> Any:
        return jsmpc.reveal(secure(key, jsmpc.share(key, x, smpc)))

    plan = jsmpc.plan(f, jax.ShapeDtypeStruct((8,), jnp.uint32), "float32[4]")
    assert {(to, n) for to, n, _ in plan.reveals} >= {("ben", 1)}
    assert "1 number to ben, at test_plans.py:" in str(plan)


def test_a_header_cannot_forge_lines_of_the_text() -> None:
    header, body = contents.opened(predict.to_bytes())
    for change in (
        {"paths": ["args[0]\nequations:\n  nothing", header["paths"][1]]},
        {"reveals": [["ben\nx", 1, "x"]]},
        {"name": "x\ny"},
        {"name": None},
        {"paths": header["paths"][:1]},
        {"form": 3, "paths": 7},
    ):
        with pytest.raises(PlanError, match="cannot be read"):
            jsmpc.Plan.from_bytes(contents.joined({**header, **change}, body))


# Its hash.

SOURCE = """
import jax.numpy as jnp, jsmpc
{lines}
def f(x, w):
    return jnp.tanh(x @ w).sum()
plan = jsmpc.plan(f, "float32[n,3]", "float32[3]")
"""


def test_the_hash_is_that_of_what_is_computed_wherever_it_is_traced(tmp_path: Path) -> None:
    for folder, lines in (("here", ""), ("elsewhere", "\n# a comment\n\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}_f.py").write_text(SOURCE.format(lines=lines))
    program = (
        "sys.path.append(sys.argv[1])\nimport importlib\n"
        "print(importlib.import_module(sys.argv[2]).plan.hash)"
    )
    found = [python(program, tmp_path / x, f"{x}_f").strip() for x in ("here", "elsewhere")]

    def f(x: Any, w: Any) -> Any:
        return jnp.tanh(x @ w).sum()

    assert found[0] == found[1] == jsmpc.plan(f, "float32[n,3]", "float32[3]").hash
    assert found[0] != jsmpc.plan(f, "float32[n,3]", "float32[3]", name="g").hash
    assert (
        found[0]
        != jsmpc.plan(lambda x, w: f(x, w) + 0, "float32[n,3]", "float32[3]", name="f").hash
    )
    with jax.enable_x64(True):
        assert found[0] != jsmpc.plan(f, "float32[n,3]", "float32[3]").hash


def test_every_changed_bit_is_found(mnist: Any) -> None:
    plan, _ = mnist
    data, draw = plan.to_bytes(), random.Random(0)
    assert jsmpc.Plan.from_bytes(data) == plan
    places = [*range(0, 60, 2), *(draw.randrange(len(data)) for _ in range(100)), len(data) - 1]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << draw.randrange(8)
        with pytest.raises(PlanError, match="damaged, or it is none"):
            jsmpc.Plan.from_bytes(bytes(changed))
    for part in (b"", data[:-1], data[:50], data + b"\0", b"jsmpc plan 1\n"):
        with pytest.raises(PlanError):
            jsmpc.Plan.from_bytes(part)


def test_files_are_what_was_saved(tmp_path: Path) -> None:
    file = predict.save(tmp_path / "predict.plan")
    assert jsmpc.Plan.load(file) == predict and str(jsmpc.Plan.load(file)) == str(predict)
    with pytest.raises(PlanError, match="cannot be read"):
        jsmpc.Plan.load(tmp_path / "none.plan")
    file.write_bytes(b"something else")
    with pytest.raises(PlanError, match="damaged"):
        jsmpc.Plan.load(file)


def test_well_hashed_garbage_is_no_plan() -> None:
    header, body = contents.opened(predict.to_bytes())
    draw = random.Random(1)
    for _ in range(20):
        changed = bytearray(body)
        del changed[draw.randrange(len(body)) :]
        with pytest.raises(PlanError, match="cannot be read"):
            jsmpc.Plan.from_bytes(contents.joined(header, bytes(changed)))
    for content in (b"", b"\0" * 8, b"\xff" * 20, (2**60).to_bytes(8, "little") + b"{}"):
        with pytest.raises(PlanError):
            jsmpc.Plan.from_bytes(b"jsmpc plan 1\n" + hashlib.sha256(content).digest() + content)


# Who runs it.


def test_it_runs_where_its_source_is_not(mnist: Any, tmp_path: Path) -> None:
    plan, params = mnist
    images = jax.random.normal(jax.random.key(1), (3, 784))
    plan.save(tmp_path / "mnist.plan")
    np.savez(tmp_path / "in.npz", images=images, **dict(_named(params)))
    program = """
import json, numpy as np, jsmpc
plan = jsmpc.Plan.load(sys.argv[1] + "/mnist.plan")
found = np.load(sys.argv[1] + "/in.npz")
layers = {n: {k: found[n + "." + k] for k in ("kernel", "bias")} for n in ("Dense_0", "Dense_1")}
images = found["images"]
out = [plan({"params": layers}, x) for x in (images, images[:1])]
np.savez(sys.argv[1] + "/out.npz", *out)
print(json.dumps([m for m in sys.modules if "flax" in m or "test_plans" in m]))
"""
    assert json.loads(python(program, tmp_path)) == []
    out = np.load(tmp_path / "out.npz")
    for found, x in zip((out["arr_0"], out["arr_1"]), (images, images[:1]), strict=True):
        np.testing.assert_allclose(found, Digits().apply(params, x), atol=1e-5)


def _named(params: Any) -> Any:
    for layer, arrays in params["params"].items():
        for name, x in arrays.items():
            yield f"{layer}.{name}", x


def test_it_runs_at_a_worker_for_two_batch_sizes(pair: Pair, mnist: Any) -> None:
    plan, params = mnist
    weights = pair.bob.send(params)
    there = pair.bob.send(plan, tags=["#mnist"])
    assert pair.bob.objects[there.id] == "plan #mnist" and there.get() is plan
    for n in (2, 5):
        images = jax.random.normal(jax.random.key(n), (n, 784))
        found = there(weights, pair.bob.send(images))
        assert found.location is pair.bob and found.shape == (n, 10)
        assert jnp.array_equal(found.get(), plan(params, images))
    (found,) = pair.client("dave")["bob"].search("#mnist")
    assert found.get() == plan
    uploads = pair.events(pair.bob).count("plan")
    assert uploads == 0  # it was there already


def test_a_plan_with_a_secure_computation_runs_at_a_worker(pair: Pair) -> None:
    smpc = jsmpc.Additive(dealer="james")
    square = jsmpc.secure(lambda x: (x * x).sum())

    def f(key: Any, x: Any) -> Any:
        return jsmpc.reveal(square(key, jsmpc.share(key, x, smpc)))

    plan = jsmpc.plan(f, "uint32[8]", "float32[3]")
    key = jnp.arange(8, dtype=jnp.uint32)
    found = plan(key, pair.bob.send(jnp.array([1.0, 2.0, 3.0])))
    assert abs(float(found.get()) - 14) < 1e-4


def test_callbacks_do_not_travel() -> None:
    def f(x: Any) -> Any:
        return jax.pure_callback(lambda a: a, jax.ShapeDtypeStruct((2,), jnp.float32), x)

    def g(x: Any) -> Any:
        jax.debug.print("{}", x)
        return x

    for each in (f, g):
        with pytest.raises(PlanError, match=r"cannot be exported.*Leave callbacks"):
            jsmpc.plan(each, "float32[2]")


def test_native_functions_outside_of_the_list_are_refused_at_a_worker(pair: Pair) -> None:
    for target in ("xla_ffi_python_cpu_callback", "somebodys_kernel", "AllocateBuffer", " x"):
        plan = calling(target)
        with pytest.raises(PlanError, match=r"calls .*, which plans may not"):
            plan(jnp.ones(2))
        with pytest.raises(PlanError, match=r"calls .*, which plans may not"):
            plan(pair.bob.send(jnp.ones(2)))
    cholesky = jsmpc.plan(jnp.linalg.cholesky, "float32[2,2]")
    assert code.custom_calls(cholesky._exported) == {"lapack_spotrf_ffi"}
    assert cholesky(pair.bob.send(jnp.eye(2))).get().tolist() == jnp.eye(2).tolist()


def calling(target: str) -> Any:
    """A plan that calls a native function, made by somebody who does not ask whether it may."""

    def f(x: Any) -> Any:
        return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct((2,), jnp.float32))(x)

    checks = [export.DisabledSafetyCheck.custom_call(target)]
    exported = export.export(jax.jit(f), disabled_checks=checks)(
        jax.ShapeDtypeStruct((2,), jnp.float32)
    )
    header, _ = contents.opened(jsmpc.plan(lambda x: x, "float32[2]").to_bytes())
    return jsmpc.Plan.from_bytes(contents.joined(header, bytes(exported.serialize())))


def test_a_plan_that_fails_in_any_way_is_an_error_of_its_own(pair: Pair) -> None:
    """Its types say other things than its code: whoever made it did not use jsmpc."""
    plan = jsmpc.plan(lambda x: x + 1, "float32[3]")
    header, _ = contents.opened(plan.to_bytes())
    other = export.export(jax.jit(lambda x: x * 2))(jax.ShapeDtypeStruct((3,), jnp.float32))
    object.__setattr__(other, "in_avals", tuple(a.update(shape=(4,)) for a in other.in_avals))
    forged = jsmpc.Plan.from_bytes(contents.joined(header, bytes(other.serialize())))
    x = pair.bob.send(jnp.ones(4))
    with pytest.raises(PlanError, match="failed at bob"):
        forged(x)
    assert pair.events(pair.bob)[-1] == "refused"
    assert (x + 1).get().tolist() == [2.0] * 4


# Roles.


def test_roles_run_here_and_at_workers(pair: Pair, tmp_path: Path) -> None:
    scale = jsmpc.plan(lambda x: (2 * x, x.sum()), "float32[3]", name="scale")
    total = jsmpc.plan(lambda x, s: x.sum() + s, "float32[3]", "float32[]", name="total")
    roles = jsmpc.Roles({"first": scale, "second": total})
    assert float(roles.run(jnp.ones(3))) == 9
    file = roles.save(tmp_path / "roles")
    assert repr(jsmpc.Roles.load(file)) == repr(roles) == "Roles(first: scale, second: total)"

    sent = pair.bob.send(roles, tags=["#protocol"])
    assert pair.bob.objects[sent.id] == "roles #protocol"
    dave = pair.client("dave")
    (found,) = dave["bob"].search("#protocol")
    for deployed in (
        found.get().deploy(dave["bob"], dave["alice"]),
        found.get().deploy(second=dave["alice"], first=dave["bob"]),
    ):
        result = deployed.run(jnp.ones(3))
        assert result.location is dave["alice"] and float(result.get()) == 9
    there = dave["alice"].send(jnp.ones(3))
    assert float(deployed.run(there).get()) == 9  # moves to the first worker
    assert len(pair.alice.objects) == 1  # the plan
    del deployed, result, found, there


def test_roles_need_plans_and_workers(tmp_path: Path) -> None:
    bob = jsmpc.Worker("bob")
    plan = jsmpc.plan(lambda x: x, "float32[3]", name="same")
    with pytest.raises(PlanError, match="no plan but a function"):
        jsmpc.Roles({"a": lambda x: x})  # type: ignore[dict-item]
    with pytest.raises(PlanError, match="without a plan"):
        jsmpc.Roles({})
    for given, named in (((), {}), ((bob, bob), {}), ((), {"b": bob}), ((bob,), {"a": bob})):
        with pytest.raises(PlanError, match="Give each role one"):
            jsmpc.Roles({"a": plan}).deploy(*given, **named)
    (tmp_path / "roles").write_bytes(b"\x81")
    for file in ("roles", "none"):
        with pytest.raises(PlanError, match="cannot be read"):
            jsmpc.Roles.load(tmp_path / file)
    data = bytearray(jsmpc.Roles({"a": plan}).to_bytes())
    data[-5] ^= 1
    with pytest.raises(PlanError):
        jsmpc.Roles.from_bytes(bytes(data))


def test_it_runs_inside_of_programs_and_as_a_whole() -> None:
    twice, x = jsmpc.plan(lambda x: 2 * x, "float32[3]"), jnp.arange(3.0)
    np.testing.assert_array_equal(jax.jit(twice)(x), 2 * x)
    found = jax.lax.scan(lambda c, _: (twice(c), None), x, None, length=3)[0]
    np.testing.assert_array_equal(found, 8 * x)
    for mapped in (jax.vmap(twice), jax.jit(jax.vmap(twice))):
        with pytest.raises(jsmpc.PlanError, match="cannot be mapped from outside"):
            mapped(jnp.ones((2, 3)))
    gradient = jax.grad(lambda x: twice(x).sum())
    for derived in (gradient, jax.jit(gradient)):
        with pytest.raises(jsmpc.PlanError, match="cannot be differentiated from outside"):
            derived(x)
