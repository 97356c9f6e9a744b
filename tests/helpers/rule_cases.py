"""For every primitive with a rule: functions that use it on secrets, on extremes and at random."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import hijax
from jax.extend.core import primitives as P  # noqa: N812

import jsmpc
from jsmpc._src.interpreter.exhaustive import exhaustive_p
from jsmpc._src.interpreter.guards import guarded_sqrt_p
from jsmpc._src.interpreter.parts import exp_below_p, part_p

SCALE = 2**18
UNIT = 1 / SCALE
COUNT = 24  # random numbers of each operand


@dataclasses.dataclass(frozen=True)
class Case:
    """A use of a primitive.

    Attributes:
      f: a function of the operands; secret ones come before public ones.
      operands: what the encoding holds exactly.
      steps: products, comparisons, … one after another: what cost and ulps are multiplied with.
      rounds: the same for the cost alone, where it waits for more.
      reference: what f is, where JAX's own function is no reference.
      public: how many of the last operands are public.
      typical: whether this use costs what the class says; others are cheaper.
    """

    f: Callable[..., Any]
    operands: tuple[np.ndarray, ...]
    steps: int = 1
    rounds: int | None = None
    reference: Callable[..., Any] | None = None
    public: int = 0
    typical: bool = True


_rng = np.random.default_rng(20)


def held(x: Any) -> np.ndarray:
    return np.round(np.asarray(x) * SCALE) / SCALE


def spread(low: float, high: float, *extremes: float, signed: bool = True) -> np.ndarray:
    """Numbers of every magnitude from 2^low to 2^high, and the given ones."""
    x = 2.0 ** _rng.uniform(low, high, COUNT)
    if signed:
        x = x * _rng.choice([-1, 1], COUNT)
    return held([*x, *extremes])


def between(low: float, high: float, *extremes: float, shape: Any = COUNT) -> np.ndarray:
    x = held(_rng.uniform(low, high, shape))
    return np.concatenate([x, extremes]) if extremes else x


TOP = 2.0**44 - 2**30  # near the end of the range
ANY = spread(-18, 43.9, 0, UNIT, -UNIT, TOP, -TOP)
POSITIVE = spread(-18, 43.9, UNIT, 1, TOP, signed=False)
MODERATE = spread(-18, 20, 0, UNIT, -UNIT, 2**20, -(2**20))
SMALL = spread(-18, 12.9, 0, UNIT, -UNIT, 2**12.9, -(2**12.9))  # products stay below 2^26
OTHER = np.random.default_rng(1).permutation(MODERATE)
MIXED = np.where(np.arange(len(OTHER)) % 3, OTHER, MODERATE)
GATES = spread(-18, 6, 0, UNIT, -UNIT, 60, -60)
INSIDE = between(-1 + 2 * UNIT, 1 - 2 * UNIT, 0, UNIT)
X = between(-3, 3, shape=(3, 4))
Y = between(-3, 3, shape=(3, 4))
V = between(-3, 3, shape=8)
B = _rng.integers(0, 2, (3, 4)).astype(bool)
C = _rng.integers(0, 2, (3, 4)).astype(bool)
I32 = np.int32([0, 1, -1, 2, -2, 17, -17, 1 << 20, -(1 << 20), 2**31 - 1, -(2**31), 12345])
J32 = np.int32([3, -3, 5, 7, -1, 4, 4, 1000, 77, 12, 12, -12345])
AMOUNT = np.int32([0, 1, 2, 3, 5, 8, 13, 30, 31, 4, 2, 1])
AT = np.int32([2, 0, 3])
SPD = held(np.eye(3) * 4 + 0.5)
LOWER = held(np.tril(X[:, :3]) / 3 + 2 * np.eye(3))
PARTS = between(0, 1, shape=(3, 4))
IMAGE = between(-1, 1, shape=(1, 5, 5, 2))
KERNEL = between(-1, 1, shape=(2, 2, 2, 3))


def one(f: Callable[..., Any], *operands: Any, **options: Any) -> list[Case]:
    return [Case(f, operands, **options)]


def _conv(x: Any, k: Any) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers)


def _exhaustive(second: Any, x: Any, y: Any) -> Any:
    none = jnp.full(x.shape, jnp.nan, x.dtype)
    return exhaustive_p.bind(second, second.astype(jnp.int32) + 1, none, x, y)


@jax.custom_jvp
def _own_jvp(x: Any) -> Any:
    return x * x


_own_jvp.defjvps(lambda t, _, x: 2 * x * t)


@jax.custom_vjp
def _own_vjp(x: Any) -> Any:
    return x * x


_own_vjp.defvjp(lambda x: (x * x, x), lambda x, t: (2 * x * t,))


def _closed_call(x: Any) -> Any:
    closed = jax.make_jaxpr(jnp.square)(x)
    params: Any = P.closed_call_p.get_bind_params({"call_jaxpr": closed})
    functions, params = params if isinstance(params, tuple) else ((), params)
    return P.closed_call_p.bind(*functions, x, **params)[0]


_Unexpanded: Any = getattr(hijax, "HiPrim", None) or hijax.VJPHiPrimitive


class _Squared(_Unexpanded):
    """A function that JAX expands when it compiles."""

    def __init__(self, x: Any) -> None:
        self.in_avals, self.out_aval, self.params = (x,), x, {}
        super().__init__()

    def expand(self, x: Any) -> Any:
        return x * x


def _reduce_window(x: Any) -> Any:
    return lax.reduce_window(x, 1.0, lambda a, b: a * b * 0.5, (2,), (1,), "VALID")


def _scatter_add(x: Any) -> Any:
    return jax.grad(lambda v: lax.reduce_window(v, -jnp.inf, lax.max, (2,), (2,), "VALID").sum())(x)


def _gather_add(x: Any, t: Any) -> Any:
    pooled = lambda v: lax.reduce_window(v, -jnp.inf, lax.max, (2,), (2,), "VALID")  # noqa: E731
    return jax.jvp(pooled, (x,), (t,))[1]


def _gelu_tanh(x: Any) -> Any:
    z = math.sqrt(2 / math.pi) * (jnp.clip(x, -50, 50) + 0.044715 * jnp.clip(x, -50, 50) ** 3)
    return x * nn.sigmoid(2 * z)


def _erfc(x: Any) -> Any:
    return lax.erfc(x)


def _polynomial(x: Any) -> Any:
    coefficients = (jnp.full_like(x, c) for c in (1.0, -2.0, 0.5))
    return lax.polynomial_p.bind(x, *coefficients)


def _scattered(mode: str) -> list[Case]:
    return one(lambda v, at: getattr(v.at[at], mode)(0.5), V, AT, steps=3)


CASES: dict[str, list[Case]] = {
    # local
    "add": one(lax.add, held(ANY / 2), held(ANY[::-1] / 2)),
    "add_any": one(lambda x: jax.vjp(lambda v: (v, v[::-1]), X)[1]((x, x))[0], X),
    "sub": one(lax.sub, held(ANY / 2), held(ANY[::-1] / 2)),
    "neg": one(lax.neg, ANY),
    "not": [*one(lax.bitwise_not, B), *one(lax.bitwise_not, I32)],
    "is_finite": one(lambda x: lax.is_finite(x), ANY),
    "reshape": one(lambda x: x.reshape(4, 3), X),
    "transpose": one(jnp.transpose, X),
    "broadcast_in_dim": one(lambda x: jnp.broadcast_to(x, (2, 3, 4)), X),
    "squeeze": one(lambda x: lax.squeeze(x, (0,)), X[:1]),
    "slice": one(lambda x: x[1:, ::2], X),
    "rev": one(lambda x: lax.rev(x, (0,)), X),
    "copy": one(lambda x: lax.copy_p.bind(x), X),
    "optimization_barrier": one(lax.optimization_barrier, X),
    "split": one(lambda x: lax.split(x, (1, 3), 1), X),
    "reduce_window_sum": one(
        lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (1, 1), "VALID"), X
    ),
    "tile": one(lambda x: lax.tile(x, (2, 2)) if hasattr(lax, "tile") else jnp.tile(x, (2, 2)), X),
    "unstack": one(lambda x: jnp.unstack(x), X),
    "reduce_sum": one(jnp.sum, X),
    "cumsum": one(lambda x: lax.cumsum(x, 1), X),
    "concatenate": one(lambda x, y: lax.concatenate([x, y], 0), X, Y),
    "stack": one(lambda x, y: jnp.stack([x, y]), X, Y),
    "pad": one(lambda x: lax.pad(x, 0.5, ((1, 0, 1), (-1, 2, 0))), X),
    "device_put": one(jax.device_put, X),
    "reduce_precision": one(lambda x: lax.reduce_precision(x, 11, 52), X),
    "stop_gradient": one(lax.stop_gradient, X),
    "name": one(lambda x: checkpoint_name(x, "here"), X),
    "reduce_xor": one(lambda b: lax.reduce_xor(b, (1,)), B),
    # opening
    "reveal": one(jsmpc.reveal, ANY),
    # product
    "mul": [
        *one(lax.mul, SMALL, SMALL[::-1]),
        *one(lambda x: x * 0.3, MODERATE, reference=lambda x: x * held(0.3)),
        *one(lambda x: x * 4.0, MODERATE, typical=False),
    ],
    "square": one(lax.square, SMALL),
    "one_minus_square": one(lambda x: lax.one_minus_square(x), X),
    "polynomial": one(_polynomial, X, steps=3),
    "dot_general": one(lambda x, y: x @ y.T, X, Y),
    "conv_general_dilated": one(_conv, IMAGE, KERNEL),
    "and": [*one(lax.bitwise_and, B, C), *one(lax.bitwise_and, I32, J32, steps=16)],
    "or": [*one(lax.bitwise_or, B, C), *one(lax.bitwise_or, I32, J32, steps=16)],
    "xor": [*one(lax.bitwise_xor, B, C, typical=False), *one(lax.bitwise_xor, I32, J32, steps=16)],
    "select_n": one(lax.select_n, B, X, Y),
    "exhaustive_select": one(_exhaustive, B, X, Y),
    "reduce_and": one(lambda b: lax.reduce_and(b, (1,)), B, steps=2),
    "reduce_or": one(lambda b: lax.reduce_or(b, (1,)), B, steps=2),
    "reduce_prod": one(lambda x: lax.reduce_prod(x, (1,)), held(X / 3), steps=3),
    "integer_pow": one(lambda x: lax.integer_pow(x, 5), between(-1, 1), steps=3),
    "cumprod": one(lambda x: lax.cumprod(x, 1), held(X / 3), steps=3),
    # comparison
    **{
        name: one(getattr(lax, name), MODERATE, MIXED)
        for name in ("lt", "gt", "ge", "le", "ne", "eq", "max", "min")
    },
    **{
        name: one(lambda x, y, name=name: getattr(lax, f"{name}_p").bind(x, y), MODERATE, OTHER)
        for name in ("lt_to", "le_to", "eq_to")
    },
    "clamp": one(lambda x: lax.clamp(-1.0, x, 2.5), MODERATE, steps=2),
    "abs": one(lax.abs, ANY),
    "sign": one(lax.sign, ANY, steps=2),
    "convert_element_type": one(
        lambda x: x.astype(jnp.int32), spread(-18, 30, 0, -1, 1, 0.5, -0.5), steps=3
    ),
    "reduce_max": one(lambda x: lax.reduce_max(x, (1,)), X, steps=2),
    "reduce_min": one(lambda x: lax.reduce_min(x, (1,)), X, steps=2),
    "argmax": one(lambda x: lax.argmax(x, 1, jnp.int32), X, steps=2),
    "argmin": one(lambda x: lax.argmin(x, 1, jnp.int32), X, steps=2),
    "floor": one(lax.floor, MODERATE),
    "ceil": one(lax.ceil, MODERATE),
    "round": one(lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), MODERATE, steps=2),
    "cummax": one(lambda x: lax.cummax(x, 1), X, steps=2),
    "cummin": one(lambda x: lax.cummin(x, 1), X, steps=2),
    "reduce_window_max": one(
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (1, 1), "VALID"), X, steps=2
    ),
    "reduce_window_min": one(
        lambda x: lax.reduce_window(x, jnp.inf, lax.min, (2, 2), (1, 1), "VALID"), X, steps=2
    ),
    "select_and_gather_add": one(_gather_add, V, V[::-1]),
    "select_and_scatter_add": one(_scatter_add, V),
    # function
    "population_count": one(lax.population_count, I32),
    "clz": one(lax.clz, I32),
    "shift_left": one(lax.shift_left, I32, AMOUNT),
    "shift_right_logical": one(lax.shift_right_logical, I32, AMOUNT),
    "shift_right_arithmetic": one(lax.shift_right_arithmetic, I32, AMOUNT),
    "div": [
        *one(lax.div, MODERATE, np.where(OTHER == 0, 1, OTHER)),
        *one(lambda x: 1 / x, np.where(ANY == 0, 1, ANY)),
        *one(lax.div, I32, J32, steps=6),  # a long division
        *one(lax.div, X, held(np.abs(X[:, :1]) + UNIT)),  # of which a divisor is for several
    ],
    "part_of_whole": [
        case
        for count in (1, 2, 5, 300)
        for case in one(
            functools.partial(part_p.bind, count=count),
            PARTS,
            held(1 + (count - 1) * np.float64([[0], [0.37], [1]])),
        )
    ],
    "exp_below": one(exp_below_p.bind, between(-14, 0, 0, -UNIT, -1e4)),
    "exp": one(lax.exp, between(-14, 30.4, 0, UNIT, -UNIT, -1e4)),
    "exp2": one(lax.exp2, between(-20, 43.9, 0, UNIT, -UNIT, -1e4)),
    "expm1": one(lax.expm1, between(-14, 30.4, 0, UNIT, -UNIT, -1e4)),
    "log": one(lax.log, POSITIVE),
    "log1p": one(lax.log1p, POSITIVE),
    "log2": one(lambda x: lax.log2(x), POSITIVE),
    "sinh": one(lax.sinh, between(-30, 30, 0, UNIT, -UNIT)),
    "cosh": one(lax.cosh, between(-30, 30, 0, UNIT, -UNIT)),
    "asinh": one(lax.asinh, ANY, steps=2),
    "acosh": one(lax.acosh, np.maximum(POSITIVE, 1), steps=2),
    "atanh": one(lax.atanh, INSIDE),
    "sqrt": one(lax.sqrt, np.append(POSITIVE, 0)),
    "guarded_sqrt": one(lambda x: guarded_sqrt_p.bind(x, guard=0.25), np.append(POSITIVE, 0)),
    "rsqrt": one(lax.rsqrt, POSITIVE),
    "cbrt": one(lax.cbrt, ANY),
    "pow": one(lax.pow, spread(-8, 8, 1, signed=False), between(-5, 5, 0)),
    "logistic": one(lax.logistic, GATES),
    "tanh": one(lax.tanh, GATES),
    "erf": one(lax.erf, GATES),
    "erfc": one(_erfc, GATES),
    "erf_inv": one(lax.erf_inv, INSIDE),
    "silu": one(nn.silu, ANY),
    "gelu_tanh": one(nn.gelu, ANY, reference=_gelu_tanh),
    "gelu": one(lambda x: nn.gelu(x, approximate=False), ANY),
    "cumlogsumexp": one(lambda x: lax.cumlogsumexp(x, 1), X, steps=2),
    "sin": one(lax.sin, ANY),
    "cos": one(lax.cos, ANY),
    "tan": one(lax.tan, between(-20, 20, 0, UNIT)),
    "atan2": one(lax.atan2, ANY, np.random.default_rng(2).permutation(ANY)),
    "atan": one(lax.atan, ANY),
    "asin": one(lax.asin, np.append(INSIDE, [1, -1]), steps=2),
    "acos": one(lax.acos, np.append(INSIDE, [1, -1]), steps=2),
    # order
    "dynamic_slice": one(lambda v, i: lax.dynamic_slice(v, (i,), (2,)), V, np.int32(3)),
    "gather": one(lambda v, at: v[at], V, AT),
    "dynamic_update_slice": one(
        lambda v, u, i: lax.dynamic_update_slice(v, u, (i,)), V, V[:2] + 1, np.int32(3)
    ),
    "scatter": _scattered("set"),
    "scatter-add": _scattered("add"),
    "scatter-sub": _scattered("subtract"),
    "scatter-mul": _scattered("multiply"),
    "scatter-min": _scattered("min"),
    "scatter-max": _scattered("max"),
    "rem": [
        *one(lax.rem, X, np.where(Y == 0, 1, Y), steps=62),
        *one(lax.rem, I32, J32, steps=32),
    ],
    "sort": one(lambda x: lax.sort(x), V),
    "top_k": one(lambda x: lax.top_k(x, 2), V),
    "approx_top_k": one(lambda x: lax.approx_max_k(x, 2), V),
    # program: of one square or product
    "jit": one(lambda x: jax.jit(jnp.square)(x), X),
    P.closed_call_p.name: one(_closed_call, X),
    "call_hi_primitive": one(lambda x: _Squared(jax.typeof(x))(x), X),
    "remat2": one(jax.checkpoint(jnp.square), X),
    "custom_jvp_call": one(_own_jvp, X),
    "custom_vjp_call": one(_own_vjp, X),
    "scan": one(lambda x: lax.scan(lambda c, r: (c * r, c), x[0], x[1:]), held(X / 3), steps=2),
    "while": one(
        lambda x: lax.while_loop(lambda s: s[0] < 1, lambda s: (s[0] + 1, s[1] * s[1]), (0, x))[1],
        X,
    ),
    "cond": one(lambda p, x: lax.cond(p, lambda v: v * v, lambda v: -v, x), np.bool_(True), X,
                steps=2),
    "reduce": one(lambda x: lax.reduce(x, 1.0, lambda a, b: a * b * 0.5, (1,)), X, steps=5),
    "cholesky": one(lambda a: lax.linalg.cholesky(a), SPD, steps=6, rounds=80),
    "triangular_solve": one(
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True),
        LOWER, X, steps=6, rounds=40,
    ),
    "reduce_window": one(_reduce_window, V, steps=4),
}  # fmt: skip
