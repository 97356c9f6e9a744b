"""Point and comparison functions shared between two parties, as JAX primitives.

A key of a function f of words of `width` bits tells nothing of f; what two keys evaluate to at x,
apart, sums to f(x). Here f(x) = [x < a] ^ c in bits that sum by xor (a distributed comparison
function: E. Boyle et al., Function secret sharing for mixed-mode and fixed-point secure
computation, EUROCRYPT 2021, section 3), or f(x) = [x = a] in numbers modulo 2^64 (a distributed
point function: E. Boyle, N. Gilboa, Y. Ishai, Function secret sharing: improvements and extensions,
CCS 2016).

Each party walks down a binary tree, in which a node s has the children H(s) and H(s ^ 1), with
H(x) = AES(x) ^ x under one fixed public key. Of the 128 bits of a node bit 0 is t, bit 1 is v, bit
2 is nothing, and the rest is the seed s.

1. The parties' roots are seeds of their own; t is the party's number.
2. Level by level, by the bits of x from the highest: the child of the bit, and where t is set the
   level's correction is added by xor: a seed, one t for either child, and one v.
3. At a leaf, some bits before the end (early termination: CCS 2016), the block
   H(s ^ 2). Of a comparison it has a bit for each of the 2^7 points that are left; where t is set
   the last correction is added by xor, and the result is the xor of the point's bit and of v of
   all nodes on the way. Of a point function it has a number for each of the 2 points that are left;
   where t is set the last correction is added, and party 1 negates the sum.

On the path to a the parties' t differ and their seeds are independent; from where x leaves it both
are equal, and so is all that follows. The corrections are the same for both parties, and uniform to
either as the other's seeds are. A key is a block, and one for each level and for the leaves.

Assumption: s -> (H(s), H(s ^ 1)) and s -> H(s ^ 2) are pseudorandom generators for seeds of 125
bits, as they are with a random permutation in place of AES (C. Guo et al., Efficient and secure
multiparty computation from fixed-key block ciphers, S&P 2020). All trees have that permutation in
common: of 2^n nodes together some seed is found in 2^(125 - n) trials.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc._src.kernels import aes, native
from jsmpc._src.kernels.batched import mapped_first
from jsmpc._src.kernels.trees import leaf_bits, levels, places

Array = jax.Array
State = tuple[Array, Array, Array, Array]  # low and high word of a seed, t as a mask, v

function_keys_p = Primitive("function_keys")
function_values_p = Primitive("function_values")

_SEED = np.uint64(2**64 - 8)
_ONE, _TWO = np.uint64(1), np.uint64(2)


def function_keys(seeds: tuple[Array, Array], a: Array, width: int, comparison: bool) -> Array:
    """The corrections of keys, from which they follow with either party's seeds.

    Args:
      seeds: the parties' roots, uint64[2, ...], uniform.
      a: uint64[...], in its lowest bits; of a comparison, bit `width` is the constant c.
      width: of the points, at most 64, or 63 of a comparison.
      comparison: whether f(x) = [x < a] ^ c, or [x = a].

    Returns:
      uint64[levels(width, comparison) + 1, 2, ...].
    """
    flat = [s.reshape(1, 2, a.size) for s in seeds]
    out = function_keys_p.bind(*flat, a.reshape(1, -1), width=width, comparison=comparison)
    return out.reshape(*out.shape[1:3], *a.shape)


def function_values(
    party: int, seed: Array, corrections: Array, x: Array, width: int, comparison: bool
) -> Array:
    """Party 0's or 1's summands of f(x).

    Args:
      seed, corrections: of `function_keys`.
      x: uint64[points, ...], in its lowest bits: points of each function.

    Returns:
      of a comparison uint8[points, ...], 0 or 1, which sum by xor; or uint64[points, ...].
    """
    n = seed.size // 2
    out = function_values_p.bind(
        seed.reshape(1, 2, n),
        corrections.reshape(1, levels(width, comparison) + 1, 2, n),
        x.reshape(1, x.shape[0], n),
        width=width,
        comparison=comparison,
        party=party,
    )
    return out.reshape(x.shape)


# In XLA.


def _hash(lo: Array, hi: Array) -> tuple[Array, Array]:
    low, high = aes.encrypt(lo, hi)
    return low ^ lo, high ^ hi


def _mask(bit: Array) -> Array:
    return -(bit & _ONE)


def _choice(mask: Array, x: Array, y: Array) -> Array:
    return y ^ (mask & (x ^ y))


def _in_leaf(x: Array, width: int) -> tuple[Array, Array]:
    """Where a comparison's bit is: in the upper word, as a mask, and at which place."""
    x = x & np.uint64((1 << min(width, leaf_bits(True))) - 1)
    return _mask(x >> np.uint64(6)), x & np.uint64(63)


def _signed(sign: Array | np.uint64, x: Array) -> Array:
    """-x where the sign is a mask of ones, x where it is 0."""
    return (x ^ sign) - sign


def _pure_keys(seed0: Array, seed1: Array, a: Array, *, width: int, comparison: bool) -> Array:
    """Both parties' trees side by side on the axis of elements."""
    n = a.shape[0]
    constant = (a >> np.uint64(width)) & _ONE if comparison else jnp.zeros_like(a)
    lo, hi = (jnp.concatenate([seed0[i], seed1[i]]) for i in range(2))
    on = jnp.repeat(jnp.asarray([0, 2**64 - 1], jnp.uint64), n)

    def sum_(x: Array) -> Array:
        return x[:n] ^ x[n:]

    def level(state: State, place: Array) -> tuple[State, Array]:
        lo, hi, on, value = state
        children = _hash(jnp.concatenate([lo, lo ^ _ONE]), jnp.tile(hi, 2))
        (left_lo, right_lo), (left_hi, right_hi) = (jnp.split(c, 2) for c in children)
        bit = (a >> place) & _ONE
        right = _mask(bit)
        lost = _choice(right, sum_(left_lo), sum_(right_lo))
        kept = _choice(right, sum_(right_lo), sum_(left_lo))
        v = ((lost >> _ONE) ^ value ^ (bit & np.uint64(comparison)) ^ constant) & _ONE
        t_left, t_right = (sum_(left_lo) ^ bit ^ _ONE) & _ONE, (sum_(right_lo) ^ bit) & _ONE
        cw_lo = (lost & _SEED) | t_left | t_right << _ONE | v << _TWO
        cw_hi = _choice(right, sum_(left_hi), sum_(right_hi))
        rights, t_kept = jnp.tile(right, 2), jnp.tile(_choice(right, t_right, t_left), 2)
        own_lo, own_hi = _choice(rights, right_lo, left_lo), _choice(rights, right_hi, left_hi)
        state = (
            (own_lo ^ (on & jnp.tile(cw_lo, 2))) & _SEED,
            own_hi ^ (on & jnp.tile(cw_hi, 2)),
            _mask(own_lo ^ (on & t_kept)),
            value ^ (((kept >> _ONE) ^ v) & _ONE),
        )
        return state, jnp.stack([cw_lo, cw_hi])

    start = lo & _SEED, hi, on, jnp.zeros_like(a)
    (lo, hi, on, value), corrections = lax.scan(
        level, start, jnp.asarray(places(width, comparison))
    )
    leaf = _hash(lo ^ _TWO, hi)
    if comparison:
        upper, place = _in_leaf(a, width)
        below, outside = (_ONE << place) - _ONE, _mask(value ^ constant)
        targets = upper | below, upper & below
        words = [sum_(x) ^ y ^ outside for x, y in zip(leaf, targets, strict=True)]
    else:
        targets = ~a & _ONE, a & _ONE
        words = [_signed(on[n:], y - x[:n] + x[n:]) for x, y in zip(leaf, targets, strict=True)]
    return jnp.concatenate([corrections, jnp.stack(words)[None]])


def _pure_values(
    seed: Array, corrections: Array, x: Array, *, width: int, comparison: bool, party: int
) -> Array:
    """All points of a function side by side on the axis of elements."""
    points, flat = x.shape[0], x.reshape(-1)

    def level(state: State, row: tuple[Array, Array]) -> tuple[State, None]:
        lo, hi, on, value = state
        place, correction = row
        side = (flat >> place) & _ONE
        low, high = _hash(lo ^ side, hi)
        cw_lo, cw_hi = (on & jnp.tile(w, points) for w in correction)
        state = (
            (low ^ cw_lo) & _SEED,
            high ^ cw_hi,
            _mask(low ^ (cw_lo >> side)),
            value ^ (low >> _ONE) ^ (cw_lo >> _TWO),
        )
        return state, None

    lo, hi = (jnp.tile(s, points) for s in seed)
    on = jnp.full(flat.shape, -party, jnp.int64).astype(jnp.uint64)
    start = lo & _SEED, hi, on, jnp.zeros_like(flat)
    rows = jnp.asarray(places(width, comparison)), corrections[:-1]
    (lo, hi, on, value), _ = lax.scan(level, start, rows)
    leaf = _hash(lo ^ _TWO, hi)
    last = [on & jnp.tile(w, points) for w in corrections[-1]]
    if comparison:
        low, high = (b ^ w for b, w in zip(leaf, last, strict=True))
        upper, place = _in_leaf(flat, width)
        bit = ((_choice(upper, high, low) >> place) ^ value) & _ONE
        return bit.astype(jnp.uint8).reshape(x.shape)
    low, high = (b + w for b, w in zip(leaf, last, strict=True))
    number = _choice(_mask(flat), high, low)
    return (-number if party else number).reshape(x.shape)


# The primitives: of operands [batch, …, elements].


def _each(f: Callable[..., Array], operands: Sequence[Array], params: Any) -> Array:
    one = functools.partial(f, **params)
    if operands[0].shape[0] == 1:
        return one(*(x[0] for x in operands))[None]
    return jax.vmap(one)(*operands)


def _keys(*operands: Array, **params: Any) -> Array:
    with jax.enable_x64(True):
        return _each(_pure_keys, operands, params)


def _values(*operands: Array, **params: Any) -> Array:
    with jax.enable_x64(True):
        return _each(_pure_values, operands, params)


def _keys_on_cpu(*operands: Array, **params: Any) -> Array:
    with jax.enable_x64(True):
        return (native.function_keys if native.available() else _keys)(*operands, **params)


def _values_on_cpu(*operands: Array, **params: Any) -> Array:
    with jax.enable_x64(True):
        return (native.function_values if native.available() else _values)(*operands, **params)


def _abstract_keys(
    seed0: Any, seed1: Any, a: Any, *, width: int, comparison: bool
) -> jax.core.ShapedArray:
    batch, n = a.shape
    return jax.core.ShapedArray((batch, levels(width, comparison) + 1, 2, n), jnp.uint64)


def _abstract_values(
    seed: Any, corrections: Any, x: Any, *, width: int, comparison: bool, party: int
) -> jax.core.ShapedArray:
    return jax.core.ShapedArray(x.shape, jnp.uint8 if comparison else jnp.uint64)


def _batched(primitive: Primitive) -> Any:
    """A mapped axis and that of batches become one."""

    def rule(operands: Any, dims: Any, **params: Any) -> tuple[Array, int]:
        stacked = mapped_first(operands, dims)
        out = primitive.bind(*(x.reshape(-1, *x.shape[2:]) for x in stacked), **params)
        return out.reshape(*stacked[0].shape[:2], *out.shape[1:]), 0

    return rule


function_keys_p.def_abstract_eval(_abstract_keys)
function_keys_p.def_impl(jax.jit(function_keys_p.bind, static_argnames=("width", "comparison")))
batching.primitive_batchers[function_keys_p] = _batched(function_keys_p)
mlir.register_lowering(function_keys_p, mlir.lower_fun(_keys, multiple_results=False))
mlir.register_lowering(function_keys_p, mlir.lower_fun(_keys_on_cpu, multiple_results=False), "cpu")

function_values_p.def_abstract_eval(_abstract_values)
function_values_p.def_impl(
    jax.jit(function_values_p.bind, static_argnames=("width", "comparison", "party"))
)
batching.primitive_batchers[function_values_p] = _batched(function_values_p)
mlir.register_lowering(function_values_p, mlir.lower_fun(_values, multiple_results=False))
mlir.register_lowering(
    function_values_p, mlir.lower_fun(_values_on_cpu, multiple_results=False), "cpu"
)
