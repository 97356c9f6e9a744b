"""All that differs between the supported JAX versions, 0.10 to 0.12."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from jax import lax
from jax._src import ad_checkpoint, config, hijax
from jax._src.export import _export
from jax._src.interpreters import mlir, partial_eval
from jax.extend.core import ClosedJaxpr, Literal
from jax.extend.mlir import ir

checkpoint_name_p: Any = ad_checkpoint.name_p
unexpanded_call_p: Any = hijax.call_hi_primitive_p


def open_jaxpr(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """A (closed) jaxpr as equations and constants; since 0.11 one class does both."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def primitives(*names: str) -> list[Any]:
    """Those of the named primitives that this version of JAX has."""
    return [p for name in names if (p := getattr(lax, f"{name}_p", None)) is not None]


def scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """The numbers of constants and of carried values of a scan; renamed in 0.11."""
    if "num_carry" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def program(f: Callable[..., Any], avals: Sequence[Any], results: Sequence[Any] = ()) -> Any:
    """The jaxpr of a function of operands so described, in 64-bit mode if any is that wide.

    Args:
      f: the function.
      avals: the operands' shapes and dtypes.
      results: those of the results, if they tell the mode too.
    """
    with jax.enable_x64(any(a.dtype.itemsize == 8 for a in (*avals, *results))):
        return jax.make_jaxpr(f)(*(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals))


def pruned(jaxpr: Any, used: Sequence[bool]) -> Any:
    """A closed jaxpr with some of its outputs and what they need, of the same inputs."""
    opened, consts = open_jaxpr(jaxpr)
    less, _ = partial_eval.dce_jaxpr(opened, list(used), instantiate=True)
    return ClosedJaxpr(less, consts)


def expanded(eqn: Any) -> Any:
    """The jaxpr of a call that JAX expands only when it compiles, as `jnp.searchsorted` in 0.12."""
    operands, results = (tuple(v.aval for v in vs) for vs in (eqn.invars, eqn.outvars))
    return _expanded(eqn.primitive, tuple(eqn.params.items()), operands, results)


@functools.lru_cache(maxsize=256)
def _expanded(primitive: Any, params: Any, operands: Any, results: Any) -> Any:
    return program(functools.partial(primitive.to_lojax, **dict(params)), operands, results)


def literal_value(literal: Literal) -> Any:
    """A literal as a NumPy scalar of its own dtype, whatever the 64-bit mode."""
    aval: Any = literal.aval
    return np.asarray(literal.val, aval.dtype)


def bind(eqn: Any, args: Sequence[Any]) -> list[Any]:
    """The results of an equation on other operands, always as a list."""
    params = eqn.primitive.get_bind_params(eqn.params)
    if isinstance(params, tuple):  # until 0.10.1 sub-functions came apart
        functions, params = params
        args = [*functions, *args]
    with eqn.ctx.manager:
        out = eqn.primitive.bind(*args, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def protocol_mode() -> AbstractContextManager[Any]:
    """JAX's settings for protocol code: words of 64 bits, compiled, whatever the user's are."""
    usual = (
        not config.disable_jit.value
        and config.numpy_rank_promotion.value == "allow"
        and config.numpy_dtype_promotion.value == "standard"
    )
    return jax.enable_x64(True) if usual else _all_settings()


@contextlib.contextmanager
def _all_settings() -> Iterator[None]:
    with contextlib.ExitStack() as settings:
        for setting in (
            jax.enable_x64(True),
            jax.disable_jit(False),
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
        ):
            settings.enter_context(setting)
        yield


def x64_enabled() -> bool:
    """Whether the caller is in 64-bit mode."""
    return bool(jax.config.read("jax_enable_x64"))


def consume(key: Any) -> None:
    """Marks a key as used for JAX's check of keys' reuse, where that is on."""
    checked = config.debug_key_reuse.value and isinstance(key, jax.Array)
    if checked and jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key):
        jax.random.bits(key)


def frames_wanted() -> bool:
    """Whether the user asked JAX to show its own frames in errors."""
    return config.traceback_filtering.value == "off"


def unlocated() -> AbstractContextManager[Any]:
    """Compiles without the source lines of the user's files, which differ among machines."""
    found: AbstractContextManager[Any] = config.traceback_in_locations_limit(0)
    return found


def read_module(text: str) -> tuple[str, list[str]]:
    """A compiled program without source lines, and the names of all native functions it calls."""
    called: list[str] = []

    def visit(op: Any) -> Any:
        if op.operation.name.endswith("custom_call"):
            called.append(ir.StringAttr(op.operation.attributes["call_target_name"]).value)
        return ir.WalkResult.ADVANCE

    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        module.operation.walk(visit)
        return str(module.operation.get_asm(enable_debug_info=False)), called


def stable_custom_calls() -> frozenset[str]:
    """The custom calls of compiled programs that JAX keeps for good, none of which calls Python."""
    return frozenset(_export._CUSTOM_CALL_TARGETS_GUARANTEED_STABLE)
