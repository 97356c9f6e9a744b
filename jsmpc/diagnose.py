"""`jsmpc.diagnose`: what fixed-point arithmetic does to a function, equation by equation."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc import compat, kernels
from jsmpc.context import Context
from jsmpc.errors import (
    EncodingError,
    EncodingWarning,
    JsmpcError,
    SecretError,
    UnsupportedError,
)
from jsmpc.network import Simulated
from jsmpc.protocols import Plain, Protocol, Replicated3
from jsmpc.secure import control
from jsmpc.secure.interpreter import RULES, Evaluator, Secret, is_secret
from jsmpc.sharing import from_words, is_share, to_words

_LOST_SHARE = 0.25  # an equation underflows if it loses at least this share of its results
_CALLS = (P.jit_p, P.closed_call_p, P.remat_p, P.custom_jvp_call_p, P.custom_vjp_call_p)
_INFINITY = float(jnp.finfo(jnp.float32).max) / 2  # beyond every encoding
_LITTLE_ROOM = 0.01  # an error of the result beyond this share of it calls for more precision


def diagnose(
    f: Callable[..., Any],
    protocol: Protocol | None = None,
    *,
    public_argnums: int | Sequence[int] = (),
    static_argnums: int | Sequence[int] = (),
) -> Callable[..., Diagnosis]:
    """Run `f` in fixed point beside 64-bit floating point and report where they part.

    The fixed-point side goes through the rules of `jsmpc.secure`, in the clear. Equations that
    cannot be computed on secrets are reported and replaced by their plain results, so that one
    call finds them all. Loops run iteration by iteration; both branches of a secret condition run.

    Args:
      f: a function as for `jsmpc.secure`.
      protocol: its ring and encoding are diagnosed; by default those of `Replicated3()`.
      public_argnums: positions of arguments that will not be shared.
      static_argnums: positions of arguments that are no arrays.

    Returns:
      a function of plain arguments of `f` that returns a `Diagnosis`.

    Raises (when called):
      SecretError: for a `Share` among the arguments: the values themselves are needed.

    Guarantee: none; everything is computed in the clear where it is called.
    """
    protocol = Replicated3() if protocol is None else protocol
    smpc = Plain(bits=protocol.bits, encoding=protocol.encoding)
    public, static = _positions(public_argnums), _positions(static_argnums)

    def run(*args: Any, **kwargs: Any) -> Diagnosis:
        dynamic = [() if i in static else a for i, a in enumerate(args)]
        leaves, treedef = jax.tree.flatten((dynamic, kwargs), is_leaf=is_share)
        if any(map(is_share, leaves)):
            raise SecretError(
                "diagnose computes in the clear and needs the values, not shares. Pass what was "
                "shared, or jsmpc.reveal the share first if it may be disclosed"
            )

        def flat(*values: Any) -> Any:
            given, named = jax.tree.unflatten(treedef, values)
            for i in static:
                given[i] = args[i]
            return f(*given, **named)

        arrays = [jnp.asarray(x) for x in leaves]
        jaxpr, out_shape = jax.make_jaxpr(flat, return_shape=True)(*arrays)
        names = [("argument", *n) for n in _names(dynamic, kwargs)]
        with jax.enable_x64(True):
            examiner = _Examiner(smpc, _context(smpc))
            inputs = [
                _Value(x) if name[1] in public else examiner.input(name, x)
                for name, x in zip(names, arrays, strict=True)
            ]
            outputs = [_as_value(v) for v in examiner.evaluate(jaxpr, inputs)]
            results = [examiner.result(v) for v in outputs]
            truths = [v.truth for v in outputs]
        structure = jax.tree.structure(out_shape)
        return Diagnosis(
            tuple(t.equation(i, smpc) for i, t in enumerate(examiner.tallies.values())),
            smpc.bits,
            smpc.encoding.base,
            smpc.encoding.precision_fractional or 0,
            jax.tree.unflatten(structure, results),
            jax.tree.unflatten(structure, truths),
        )

    return run


@dataclasses.dataclass(frozen=True)
class Equation:
    """What one equation of the function does, over all its iterations.

    Attributes:
      primitive: its name; `input` for a secret argument.
      line: the user's source line, or the argument.
      index: its place in program order.
      iterations: how often it ran.
      max_error: the largest error of its results, with all that came before.
      added_error: the largest error that it adds itself, to operands that are exactly encoded.
      largest: the largest part of the range that it uses; products use most before truncation.
      smallest: the smallest non-zero result without error, in units in the last place.
      lost: the share of the non-zero results that the encoding rounds to zero.
      overflow: whether the range is exceeded.
      underflow: whether a large share of the results is lost.
      failed: the name of the error that it raises under secrecy; empty if it raises none.
      note: what else is to be said: errors, warnings, in which iteration trouble begins.
      ulp: the encoding's unit in the last place; 1 for integers and booleans.
    """

    primitive: str
    line: str
    index: int
    iterations: int
    max_error: float
    added_error: float
    largest: float
    smallest: float | None
    lost: float
    overflow: bool
    underflow: bool
    failed: str
    note: str
    ulp: float

    @property
    def max_error_ulp(self) -> float:
        """`max_error` in units in the last place."""
        return self.max_error / self.ulp

    @property
    def added_error_ulp(self) -> float:
        """`added_error` in units in the last place."""
        return self.added_error / self.ulp

    @property
    def trouble(self) -> bool:
        """Whether it fails, overflows or underflows."""
        return bool(self.failed or self.overflow or self.underflow)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
      equations: all equations with secret operands in program order, those of loops once.
      bits, base, precision_fractional: the ring and the encoding.
      result: what `jsmpc.secure` would reveal, up to the truncation's last unit.
      expected: the same in 64-bit floating point.
    """

    equations: tuple[Equation, ...]
    bits: int
    base: int
    precision_fractional: int
    result: Any = dataclasses.field(repr=False)
    expected: Any = dataclasses.field(repr=False)

    def worst(self, n: int = 5, by: str = "max_error") -> list[Equation]:
        """The n equations of the largest `max_error` or `added_error`, largest first."""
        return sorted(self.equations, key=lambda e: -getattr(e, by))[:n]

    @property
    def first_overflow(self) -> Equation | None:
        """Where values leave the range first."""
        return next((e for e in self.equations if e.overflow), None)

    @property
    def first_underflow(self) -> Equation | None:
        """Where values become too small for the encoding first."""
        return next((e for e in self.equations if e.underflow), None)

    @property
    def unsupported(self) -> list[Equation]:
        """All equations that cannot be computed on secrets."""
        return [e for e in self.equations if e.failed == UnsupportedError.__name__]

    @property
    def ulp(self) -> float:
        """The unit in the last place of the encoding."""
        return self.base**-self.precision_fractional

    @property
    def result_error(self) -> float:
        """The largest error of the function's results."""
        pairs = zip(jax.tree.leaves(self.result), jax.tree.leaves(self.expected), strict=True)
        return max((_difference(a, b) for a, b in pairs), default=0.0)

    @property
    def verdict(self) -> str:
        """One line: the first trouble, or how exact the result is, and what to do."""
        finest = Plain(bits=self.bits).ring.bound
        can_refine = self.base ** (2 * self.precision_fractional + 2) < finest
        wider = ", or use the 64-bit ring" if self.bits == 32 else ""
        now = f"now {self.precision_fractional} in base {self.base}"
        refine = f"raise precision_fractional ({now}) or scale up" if can_refine else "scale up"
        failed = [e for e in self.equations if e.failed]
        if failed:
            others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            return f"Fails on secrets: {_where(failed[0])}{others}; see the notes."
        if e := self.first_overflow:
            return (
                f"Overflow begins at {_where(e)}, which uses {e.largest:.2g} times the range: "
                f"scale the input down or lower precision_fractional ({now}){wider}."
            )
        if e := self.first_underflow:
            return (
                f"Underflow begins at {_where(e)}, which loses {e.lost:.0%} of its results: "
                f"{refine} what is computed there{wider}."
            )
        error = self.result_error
        verdict = f"Fits; the result's error is {error:.2g} ({error / self.ulp:.3g} ulp)"
        if not self.equations:
            return f"{verdict}: nothing is secret."
        verdict += f", most is added at {_where(self.worst(1, 'added_error')[0])}."
        largest = max((_largest(x) for x in jax.tree.leaves(self.expected)), default=0.0)
        if error > _LITTLE_ROOM * largest:
            verdict += f" That is much beside a result of {largest:.2g}: {refine} the input{wider}."
        return verdict

    def __str__(self) -> str:
        shown = {e.index for e in self.equations if e.trouble or e.note}
        shown |= {e.index for by in ("max_error", "added_error") for e in self.worst(8, by)}
        head = (
            *("", "primitive", "times", "error", "ulp", "added ulp", "range", "smallest"),
            *("trouble", "line"),
        )
        rows = [head, *(_row(e) for e in self.equations if e.index in shown)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [self.verdict, _line(head, widths)]
        for row, e in zip(rows[1:], (e for e in self.equations if e.index in shown), strict=True):
            lines.append(_line(row, widths))
            lines += [f"{'':{widths[0]}}  - {text}" for text in e.note.splitlines()]
        hidden = len(self.equations) - len(shown)
        if hidden:
            lines.append(f"({hidden} equations of less error are not shown)")
        return "\n".join(lines)

    def plot(self, ax: Any = None) -> Any:
        """Draw the errors against the program's depth; returns the (Matplotlib) axes."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        floor = self.ulp / 10
        depth = [e.index for e in self.equations]

        def visible(by: str) -> list[float]:
            return [max(getattr(e, by), floor) for e in self.equations]

        ax.plot(depth, visible("max_error"), label="error")
        ax.plot(depth, visible("added_error"), ".", label="added by the equation")
        for kind, marker in (("overflow", "^"), ("underflow", "v"), ("failed", "x")):
            marked = [e for e in self.equations if getattr(e, kind)]
            if marked:
                heights = [max(e.max_error, floor) for e in marked]
                ax.plot([e.index for e in marked], heights, marker, linestyle="none", label=kind)
        ax.axhline(self.ulp, color="gray", linestyle=":", label="one ulp")
        ax.set(yscale="log", xlabel="equation, in program order", ylabel="largest absolute error")
        ax.legend()
        return ax


def _where(e: Equation) -> str:
    return f"{e.primitive} at {_short(e.line)}"


def _short(line: str) -> str:
    return line.rsplit("/", 1)[-1]


def _row(e: Equation) -> tuple[str, ...]:
    troubles = [n for n in ("overflow", "underflow") if getattr(e, n)]
    smallest = "" if e.smallest is None else f"{e.smallest:.2g} ulp"
    return (
        str(e.index),
        e.primitive,
        str(e.iterations),
        f"{e.max_error:.2g}",
        f"{e.max_error_ulp:.3g}",
        f"{e.added_error_ulp:.3g}",
        f"{e.largest:.1e}",
        smallest,
        ", ".join(["fails"] * bool(e.failed) + troubles),
        _short(e.line),
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _positions(argnums: int | Sequence[int]) -> tuple[int, ...]:
    return (argnums,) if isinstance(argnums, int) else tuple(argnums)


def _names(args: list[Any], kwargs: dict[str, Any]) -> list[tuple[Any, str]]:
    """For each leaf, the position or name of its argument, and its path."""
    paths = jax.tree_util.tree_flatten_with_path((args, kwargs))[0]
    return [
        (getattr(path[1], "idx", getattr(path[1], "key", None)), jax.tree_util.keystr(path[1:]))
        for path, _ in paths
    ]


# Values on both sides.


@dataclasses.dataclass
class _Value:
    """A value of the program: on the secure side a secret or public array, and without error.

    `known` is what a secure run knows when it is traced: constants, but no public argument.
    """

    fixed: Any
    exact: Any = None
    known: bool = False

    @property
    def secret(self) -> bool:
        return is_secret(self.fixed)

    @property
    def truth(self) -> Any:
        """The value without any error of the encoding, floats in 64 bits."""
        return _wide(self.fixed) if self.exact is None else self.exact

    def row(self, i: int) -> _Value:
        """What iteration i of a loop takes."""
        fixed = self.fixed.map(lambda w: np.asarray(w)[i]) if self.secret else _host(self.fixed)[i]
        return _Value(fixed, None if self.exact is None else self.exact[i])


def _as_value(x: Any) -> _Value:
    return x if isinstance(x, _Value) else _Value(x, known=True)


def _is_float(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


def _is_plain(dtype: Any) -> bool:
    """Whether it is a dtype of NumPy, not one of keys."""
    return not jnp.issubdtype(dtype, jax.dtypes.extended)


def _encodable(dtype: Any) -> bool:
    return _is_float(dtype) or jnp.issubdtype(dtype, jnp.integer) or dtype == np.dtype(bool)


def _host(x: Any) -> Any:
    return np.asarray(x) if _is_plain(x.dtype) else x


def _wider(dtype: Any) -> Any:
    """The 64-bit kind of a dtype of (complex) numbers with a fraction; others as they are."""
    if _is_float(dtype):
        return np.dtype(np.float64)
    return np.dtype(np.complex128) if jnp.issubdtype(dtype, jnp.complexfloating) else dtype


def _wide(x: Any) -> Any:
    return np.asarray(x, _wider(x.dtype)) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _bounded(x: Any) -> Any:
    """Where numbers are neither NaN nor infinite, nor what masks put for infinity."""
    return np.abs(x) < _INFINITY


def _difference(a: Any, b: Any) -> float:
    """The largest difference, where b is bounded."""
    if not _encodable(b.dtype) or not np.size(b):
        return 0.0
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.abs(np.subtract(a, b, where=_bounded(b), out=np.zeros(b.shape))).max())


def _largest(x: Any) -> float:
    """The largest bounded magnitude."""
    if not _encodable(x.dtype):
        return 0.0
    x = np.abs(np.asarray(x, np.float64))
    return float(x.max(initial=0.0, where=_bounded(x)))


def _exact(eqn: Any, operands: list[Any]) -> list[Any]:
    """The results of an equation in 64-bit floating point where JAX has it."""
    params = {k: _wider(p) if isinstance(p, np.dtype) else p for k, p in eqn.params.items()}
    wide = eqn.replace(params=params)
    shapes = [v.aval.shape for v in eqn.outvars]
    try:
        out = compat.bind(wide, operands)
        if [x.shape for x in out] == shapes:
            return [_wide(_host(x)) for x in out]
    except Exception:  # whatever JAX raises for a primitive that is not as polymorphic
        pass
    narrow = [
        np.asarray(x, v.aval.dtype) if jnp.issubdtype(v.aval.dtype, jnp.inexact) else x
        for x, v in zip(operands, eqn.invars, strict=True)
    ]
    return [_wide(_host(x)) for x in compat.bind(eqn, narrow)]


# The secure side.


def _context(smpc: Protocol) -> Context:
    network = Simulated(1)
    return Context(network, smpc.setup(network, jnp.zeros(8, jnp.uint32)))


@dataclasses.dataclass(frozen=True)
class _Watched(Plain):
    """The oracle, keeping what it divides by: so much larger are products before truncation."""

    divisors: list[int] = dataclasses.field(default_factory=list, compare=False)

    def truncate(self, ctx: Context, x: Any, divisor: int, *args: Any, **kwargs: Any) -> Any:
        self.divisors.append(divisor)
        return super().truncate(ctx, x, divisor, *args, **kwargs)


class _Rule:
    """The rule of one equation as a compiled function of the operands not known beforehand."""

    def __init__(self, evaluator: Evaluator, eqn: Any, values: list[_Value]):
        smpc = _Watched(bits=evaluator.smpc.bits, encoding=evaluator.smpc.encoding)
        line = evaluator.line
        known = {i: v.fixed for i, v in enumerate(values) if v.known and not v.secret}
        self.given = [i for i in range(len(values)) if i not in known]
        self.divisors = smpc.divisors

        def program(given: list[Any]) -> Any:
            inner = Evaluator(smpc, _context(smpc), eqn, line, unfit={})
            operands = {**known, **dict(zip(self.given, given, strict=True))}
            return inner._apply(eqn, [operands[i] for i in range(len(values))]), inner.unfit

        self._run = jax.jit(kernels.optimize(program))

    def __call__(self, operands: list[Any]) -> list[Any]:
        """The results.

        Raises:
          EncodingError: for a public operand that does not fit the encoding.
        """
        out, unfit = self._run([operands[i] for i in self.given])
        if any(map(bool, unfit.values())):
            raise EncodingError(
                "a public operand is NaN, infinite or beyond the encoding's limit. Check or scale "
                "it before it meets a secret"
            )
        return out


@dataclasses.dataclass
class _Tally:
    """An equation's record while it is made."""

    primitive: str
    line: str
    iterations: int = 0
    max_error: float = 0.0
    added_error: float = 0.0
    largest: float = 0.0
    smallest: float = math.inf
    lost: float = 0.0
    failed: str = ""
    is_float: bool = False
    began: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def begins(self, trouble: str) -> None:
        self.began.setdefault(trouble, self.iterations)

    def reason(self, message: Exception | str) -> str:
        return str(message).removeprefix(f"{self.primitive} at {self.line}: ")

    def fail(self, error: Exception) -> None:
        self.failed, text = type(error).__name__, self.reason(error)
        self.note(text if isinstance(error, JsmpcError) else f"{self.failed}: {text}")
        self.begins("failure")

    def equation(self, index: int, smpc: Protocol) -> Equation:
        notes = [
            *self.notes,
            *(f"{t} from iteration {n} on" for t, n in self.began.items() if self.iterations > 1),
        ]
        return Equation(
            self.primitive,
            self.line,
            index,
            max(self.iterations, 1),
            self.max_error,
            self.added_error,
            self.largest,
            None if math.isinf(self.smallest) else self.smallest,
            self.lost,
            "overflow" in self.began,
            "underflow" in self.began,
            self.failed,
            "\n".join(notes),
            1 / smpc.encoding.scale if self.is_float else 1.0,
        )


@dataclasses.dataclass
class _Examiner(Evaluator):
    """Evaluates a jaxpr on `_Value`s, an equation at a time, and keeps a tally of each.

    `path` leads to the equation at hand through the calls and loops around it: equations of a
    sub-program that is called twice are told apart.
    """

    path: tuple[Any, ...] = ()
    tallies: dict[Any, _Tally] = dataclasses.field(default_factory=dict)
    rules: dict[Any, _Rule] = dataclasses.field(default_factory=dict)

    # From arrays to values and back.

    def input(self, name: tuple[Any, ...], x: Any) -> _Value:
        """A secret argument; a key of `jax.random` cannot be one."""
        if not _encodable(x.dtype):
            return _Value(x)
        tally = self.tallies[name] = _Tally("input", f"argument {name[-1]}")
        exact = _wide(np.asarray(x))
        value = _Value(self._encoded(exact, x.dtype), exact)
        self._judge(tally, exact, value.fixed)
        tally.iterations += 1
        return value

    def result(self, value: _Value) -> Any:
        """What is revealed of a value."""
        if not value.secret:
            return value.fixed
        if not _encodable(value.fixed.dtype):
            return value.exact
        return from_words(self.smpc, value.fixed.value.example, value.fixed.dtype)

    def _bound(self, dtype: Any) -> float:
        """The magnitude below which values of a dtype can be encoded."""
        ring = self.smpc.ring
        return self.smpc.encoding.limit(ring) if _is_float(dtype) else float(ring.bound)

    def _encoded(self, exact: Any, dtype: Any) -> Secret:
        """The nearest secret that there is: without NaN and within the range."""
        dtype, bound = np.dtype(dtype), self._bound(dtype)
        if not _encodable(dtype):  # complex: kept as it is, and refused by the next rule
            return Secret(self.ctx.network.hosted([exact]), dtype)
        x = np.asarray(exact)
        if _is_float(dtype):  # a quarter of the bound for infinity, as by `ordering.saturated`
            x = np.where(_bounded(x), x, np.nan_to_num(np.sign(x)) * (bound / 4))
            x = np.clip(x, -bound, bound)
        return Secret(self.smpc.constant(self.ctx, to_words(self.smpc, x)), dtype)

    def _decoded(self, x: Any) -> Any:
        if not is_secret(x):
            return _wide(_host(x))
        if not _encodable(x.dtype):
            return x.value.example
        words = np.asarray(x.value.example)
        if x.dtype == np.dtype(bool):
            return (words & 1).astype(bool)
        signed = words.view(self.smpc.ring.signed)
        return signed / self.smpc.encoding.scale if _is_float(x.dtype) else signed.astype(x.dtype)

    def _representable(self, value: _Value) -> Any:
        """A value without error as an operand of a rule."""
        if value.secret:
            return self._encoded(value.truth, value.fixed.dtype)
        dtype = value.fixed.dtype
        return value.truth.astype(dtype) if _is_float(dtype) else value.fixed

    # Equations.

    def _tally(self, eqn: Any) -> _Tally:
        return self.tallies.setdefault(self.path, _Tally(eqn.primitive.name, self.line))

    def _judge(
        self,
        tally: _Tally,
        exact: Any,
        fixed: Any,
        added: float = 0.0,
        used: float = 0.0,
        masked: bool = False,
    ) -> None:
        """Enter one result of an equation: its values, its error, and its use of the range.

        Infinity is an overflow unless it was there before, as a mask.
        """
        dtype = exact.dtype
        if not _encodable(dtype) or not np.size(exact):
            return
        decoded = self._decoded(fixed)
        tally.max_error = max(tally.max_error, _difference(decoded, exact))
        tally.added_error = max(tally.added_error, added)
        if dtype == np.dtype(bool):
            wrong = int((decoded != exact).sum())
            if wrong:
                tally.note(f"{wrong} of {np.size(exact)} decisions differ from plain JAX")
            return
        bounded = _bounded(exact)
        unbounded = not (masked or np.all(bounded | np.isnan(exact)))
        magnitude = math.inf if unbounded else _largest(exact)
        largest = magnitude / self._bound(dtype)
        tally.largest = max(tally.largest, largest, used)
        # Products before truncation that wrap around are wrong by a multiple of this and more.
        wrapped = self._bound(dtype) / self.smpc.encoding.scale
        if largest >= 1 or used > 1 or (added >= wrapped and 2 * added > magnitude):
            tally.begins("overflow")
        if not _is_float(dtype):
            return
        tally.is_float = True
        if not np.isfinite(exact).all():
            tally.note("NaN or infinity in plain JAX")
        ulps = np.abs(exact[bounded & (exact != 0)]) * self.smpc.encoding.scale
        if ulps.size:
            lost = float((ulps < 0.5).mean())
            tally.smallest = min(tally.smallest, float(ulps.min()))
            tally.lost = max(tally.lost, lost)
            if lost >= _LOST_SHARE:
                tally.begins("underflow")

    def _apply(self, eqn: Any, operands: list[Any]) -> list[Any]:
        values = [_as_value(v) for v in operands]
        if not any(v.secret for v in values):
            return self._public(eqn, values)
        path, line = self.path, self.line
        self.path = (*path, id(eqn))
        try:
            if eqn.primitive in _CALLS:
                return self.evaluate(eqn.params.get("jaxpr") or eqn.params["call_jaxpr"], values)
            if eqn.primitive is P.scan_p:
                return self._scan(eqn, values, **eqn.params)
            if eqn.primitive is P.while_p:
                return self._while(eqn, values, **eqn.params)
            if eqn.primitive is P.cond_p:
                return self._cond(eqn, values, eqn.params["branches"])
            return self._rule(eqn, values)
        finally:
            self.path, self.line = path, line

    def _public(self, eqn: Any, values: list[_Value]) -> list[_Value]:
        fixed = compat.bind(eqn, [v.fixed for v in values])
        if all(v.exact is None for v in values):
            return [_Value(x) for x in fixed]
        exact = _exact(eqn, [v.truth for v in values])
        return [_Value(x, y) for x, y in zip(fixed, exact, strict=True)]

    def _rule(self, eqn: Any, values: list[_Value], exact: list[Any] | None = None) -> list[_Value]:
        """An equation by its rule: on the operands at hand, and on those without error."""
        tally = self._tally(eqn)
        exact = _exact(eqn, [v.truth for v in values]) if exact is None else exact
        operands, used = [self._representable(v) for v in values], 0.0
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", EncodingWarning)
                rule = self._compiled(eqn, values)
                local, fixed = rule(operands), rule([v.fixed for v in values])
        except Exception as failure:  # it is the diagnosis; the rest is still examined
            tally.fail(failure)
            fixed, added = self._given_up(eqn, exact), [0.0] * len(exact)
        else:
            for warning in caught:
                tally.note(tally.reason(warning.message))
            wanted = _exact(eqn, [self._decoded(x) for x in operands])
            added = [_difference(self._decoded(x), y) for x, y in zip(local, wanted, strict=True)]
            if rule.divisors and RULES[eqn.primitive].cost == "product":
                before = max(rule.divisors) / self._bound(np.float64)
                used = max(map(_largest, wanted)) * before
        masked = any(_is_float(v.truth.dtype) and not _bounded(v.truth).all() for v in values)
        for x, y, error in zip(exact, fixed, added, strict=True):
            self._judge(tally, x, y, error, used, masked)
        tally.iterations += 1
        return [_Value(y, x) for x, y in zip(exact, fixed, strict=True)]

    def _compiled(self, eqn: Any, values: list[_Value]) -> _Rule:
        for v in values:
            if v.secret and not _encodable(v.fixed.dtype):
                raise self.unsupported(f"secrets of dtype {v.fixed.dtype} cannot be computed on")
        if self.path not in self.rules:
            self.rules[self.path] = _Rule(self, eqn, values)
        return self.rules[self.path]

    def _given_up(self, eqn: Any, exact: list[Any]) -> list[Secret]:
        """In the place of what a rule cannot compute: the results without error, encoded."""
        return [self._encoded(x, v.aval.dtype) for x, v in zip(exact, eqn.outvars, strict=True)]

    # Loops and conditions, as in `jsmpc.secure.control` but one iteration after the other.

    def _settled(self, eqn: Any, values: Sequence[Any], secret: Sequence[bool]) -> list[_Value]:
        """Values that leave or enter a loop or a branch: as secrets where they may be some."""
        return [
            self._secret(eqn, v) if s else _Value(v.fixed, v.exact)
            for v, s in zip(map(_as_value, values), secret, strict=True)
        ]

    def _secret(self, eqn: Any, value: _Value) -> _Value:
        if value.secret:
            return value
        try:
            fixed = Evaluator(self.smpc, self.ctx, eqn, self.line).secret(_host(value.fixed))
        except JsmpcError as error:
            tally = self._tally(eqn)
            tally.fail(error)
            fixed = self._encoded(value.truth, value.fixed.dtype)
        return _Value(fixed, value.truth)

    def _scan(
        self, eqn: Any, values: list[_Value], *, jaxpr: Any, length: int, **params: Any
    ) -> list[_Value]:
        consts, carried = compat.scan_counts(params)
        secret, _ = control._carries(jaxpr, [v.secret for v in values], consts, carried)
        constants, xs = values[:consts], values[consts + carried :]
        carry = self._settled(eqn, values[consts : consts + carried], secret)
        rows = []
        order = reversed(range(length)) if params["reverse"] else range(length)
        for i in order:
            out = self.evaluate(jaxpr, [*constants, *carry, *(x.row(i) for x in xs)])
            carry = self._settled(eqn, out[:carried], secret)
            rows.append([_as_value(v) for v in out[carried:]])
        if params["reverse"]:
            rows.reverse()
        if not rows:
            empty = (v.aval for v in eqn.outvars[carried:])
            return [*carry, *(_Value(np.zeros(a.shape, a.dtype)) for a in empty)]
        return [*carry, *(self._stacked(eqn, column) for column in zip(*rows, strict=True))]

    def _stacked(self, eqn: Any, column: Sequence[_Value]) -> _Value:
        if not any(v.secret for v in column):
            exact = None
            if any(v.exact is not None for v in column):
                exact = np.stack([v.truth for v in column])
            return _Value(jnp.stack([v.fixed for v in column]), exact)
        first, *others = (self._secret(eqn, v) for v in column)
        words = first.fixed.value.map(lambda *w: np.stack(w), *(v.fixed.value for v in others))
        exact = np.stack([v.truth for v in (first, *others)])
        return _Value(Secret(words, first.fixed.dtype), exact)

    def _while(
        self,
        eqn: Any,
        values: list[_Value],
        *,
        cond_jaxpr: Any,
        cond_nconsts: int,
        body_jaxpr: Any,
        body_nconsts: int,
        **_: Any,
    ) -> list[_Value]:
        test, values = values[:cond_nconsts], values[cond_nconsts:]
        constants, init = values[:body_nconsts], values[body_nconsts:]
        entering = [v.secret for v in values]
        secret = control._carries(body_jaxpr, entering, body_nconsts, len(init))[0]
        if any(control.secrecy(cond_jaxpr, [*(v.secret for v in test), *secret])):
            return self._rule(eqn, [*test, *values])
        carry = self._settled(eqn, init, secret)
        while _as_value(self.evaluate(cond_jaxpr, [*test, *carry])[0]).fixed:
            carry = self._settled(eqn, self.evaluate(body_jaxpr, [*constants, *carry]), secret)
        return carry

    def _cond(self, eqn: Any, values: list[_Value], branches: Sequence[Any]) -> list[_Value]:
        index, operands = values[0], values[1:]
        which = int(np.clip(index.truth, 0, len(branches) - 1))
        if not index.secret:
            secrecies = [control.secrecy(b, [v.secret for v in operands]) for b in branches]
            either = [any(column) for column in zip(*secrecies, strict=True)]
            unknown = [_Value(v.fixed, v.exact) for v in operands]
            return self._settled(eqn, self.evaluate(branches[which], unknown), either)
        outs = [[_as_value(v) for v in self.evaluate(b, operands)] for b in branches]
        exact = [v.truth for v in outs[which]]
        inside = [t for p, t in self.tallies.items() if p[: len(self.path)] == self.path]
        if any(t.failed for t in inside):
            given = self._given_up(eqn, exact)
            return [_Value(x, y) for x, y in zip(given, exact, strict=True)]
        return self._rule(eqn, values, exact)
