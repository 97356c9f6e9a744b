"""From the magnitudes of a program's numbers to how each is kept: a plan of encodings.

Numbers that are added, compared or chosen from have one encoding, so that nothing is truncated for
it: they are one group. What a product makes, a root or another function, may have any. Of each
number as many digits are kept as leave room for a public factor beside it; of two that are
multiplied with each other, as many as leave room for their product, both alike.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal

from jsmpc._src.interpreter import recognition, scales
from jsmpc._src.interpreter.guards import guarded_sqrt_p
from jsmpc._src.interpreter.parts import exp_below_p, part_p
from jsmpc._src.interpreter.registry import RULES
from jsmpc._src.interpreter.scales import Kept, Path, Plan
from jsmpc._src.interpreter.underflow import FEW
from jsmpc._src.jaxprs import compat, secrecy, structure
from jsmpc._src.jaxprs.structure import Branches, Call, Scan, While
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.scaling.magnitudes import Extent

_UNBOUNDED = 1e30  # what is larger stands for infinity: masks
_COMPARISONS = (lax.lt_p, lax.le_p, lax.gt_p, lax.ge_p, lax.eq_p, lax.ne_p)
_PRODUCTS = (lax.mul_p, lax.square_p, lax.dot_general_p, lax.conv_general_dilated_p)
_FUNCTIONS = (
    *(
        lax.div_p,
        lax.sqrt_p,
        guarded_sqrt_p,
        lax.rsqrt_p,
        lax.cbrt_p,
        lax.exp_p,
        lax.exp2_p,
        lax.log_p,
    ),
    *(lax.logistic_p, lax.tanh_p, lax.sign_p, lax.integer_pow_p, lax.pow_p),
    *(part_p, exp_below_p),
)


@dataclasses.dataclass(eq=False)
class Group:
    """Numbers of one encoding.

    Attributes:
      digits: the most that they may have behind the point.
      fixed: whether these are given, as of inputs.
      seen: whether any was other than zero, so that it is known how large they are.
      joined: the group of which it has become a part.
    """

    digits: int
    fixed: bool = False
    seen: bool = True
    joined: Group | None = None

    def find(self) -> Group:
        return self if self.joined is None else self.joined.find()


@dataclasses.dataclass(frozen=True)
class Number:
    """A secret number; `top` as of `scales.Kept`, and how large it was found to be."""

    group: Group
    top: int
    extent: Extent = Extent(0, math.inf)


SECRET = object()
"""A secret that is no number with a fraction."""

Value = Any
"""A `Number`, `SECRET`, or None for what is public."""


@dataclasses.dataclass(frozen=True)
class Coarse:
    """Numbers of which little is left in the digits that they have.

    Attributes:
      path: the equation that makes them, or takes them.
      extent: how large they are.
      digits: behind the point.
      taken: whether it takes them, in the protocol's encoding, whatever else they have.
    """

    path: Path
    extent: Extent
    digits: int
    taken: bool = False


@dataclasses.dataclass(frozen=True)
class _Product:
    x: Number
    y: Number
    top: int


class Assignment:
    """Goes through a program once; then `plan` tells what was found.

    Args:
      protocol: its ring, and its encoding for what is given and what no rule keeps otherwise.
      extents: by equation, how large each result is; at the empty path, each argument.
      headroom: the digits by which numbers may become larger.
    """

    def __init__(
        self, protocol: Protocol, extents: Mapping[Path, Sequence[Extent]], headroom: float
    ) -> None:
        self._base, self._extents, self._headroom = protocol.encoding.base, extents, headroom
        self._ring, self._room = protocol.ring, scales.room(self._base, protocol.ring)
        self._default = scales.digits_of(protocol.encoding)
        self._budget = self._room - self._default - math.ceil(math.log(16, self._base))
        self._kept: dict[Path, list[Number | None]] = {}
        self._products: list[_Product] = []
        self._unscaled: list[tuple[Path, Number]] = []

    def plan(self) -> Plan:
        """How each result is kept, for all that was gone through."""
        while sum(self._reduced(p) for p in self._products):
            pass
        return {path: tuple(map(self._as_kept, numbers)) for path, numbers in self._kept.items()}

    def coarse(self) -> list[Coarse]:
        """Where numbers are but a few units in the last place: at some time by how they are kept,
        or always where a rule takes them in the protocol's encoding."""
        kept = [
            Coarse(path, n.extent, n.group.find().digits)
            for path, numbers in self._kept.items()
            for n in numbers
            if n is not None and self._few(n.extent.least, n.group.find().digits)
        ]
        taken = [
            Coarse(path, n.extent, self._default, taken=True)
            for path, n in self._unscaled
            if n.extent.largest and self._few(n.extent.largest, self._default)
        ]
        return sorted([*kept, *taken], key=lambda c: c.path)

    def needed(self) -> tuple[int | None, ...]:
        """How many digits behind the point the arguments need to be more than a few units in the
        last place; None for those that are zero or infinite, or no numbers."""

        def digits(size: float) -> int:
            return max(math.ceil(math.log(FEW, self._base) - math.log(size, self._base)), 0)

        sizes = [x.largest for x in self._extents[()]]
        return tuple(digits(x) if 0 < x < _UNBOUNDED else None for x in sizes)

    def _few(self, size: float, digits: int) -> bool:
        """Whether so few units in the last place that their rounding is a large error."""
        return size * float(self._base) ** digits < FEW

    def _as_kept(self, number: Number | None) -> Kept | None:
        return None if number is None else Kept(number.group.find().digits, number.top)

    def _reduced(self, product: _Product) -> bool:
        """Takes digits off two factors until their product has room; whether any were taken."""
        x, y = product.x.group.find(), product.y.group.find()
        limit = max(self._room - product.top, 0)
        before = x.digits, y.digits
        if sum(before) <= limit:
            return False
        if x is y:
            x.digits = x.digits if x.fixed else limit // 2
        else:
            half = (limit + product.x.top + product.y.top) // 2 - product.x.top
            if not x.fixed:
                x.digits = max(min(x.digits, max(half, limit - y.digits)), 0)
            if not y.fixed:
                y.digits = max(min(y.digits, limit - x.digits), 0)
        return (x.digits, y.digits) != before

    # The walk.

    def given(self, aval: Any) -> Value:
        """An input: secret for all that is known, in the protocol's encoding."""
        if not _is_float(aval):
            return SECRET
        return Number(Group(self._default, fixed=True), self._room - self._default)

    def run(self, jaxpr: Any, args: Sequence[Value], path: Path = ()) -> list[Value]:
        runs: dict[Any, Any] = {
            Call: self._call,
            Scan: self._scan,
            While: self._while,
            Branches: self._branches,
        }

        def apply(number: int, eqn: Any, operands: list[Any]) -> list[Any]:
            form, here = structure.structure(eqn), (*path, number)
            if form is None:
                return self._equation(eqn, operands, here)
            return list(runs[type(form)](form, operands, here))

        return recognition.evaluate(jaxpr, args, apply, lambda _: None)

    def _new(self, path: Path, i: int, fixed: bool = False) -> Number:
        """A result in a group of its own."""
        most = scales.finest(self._base, self._ring)
        extent = self._extents[path][i]
        largest = extent.largest
        unbounded = largest >= _UNBOUNDED
        if fixed or unbounded or not largest:
            group = Group(self._default, bool(fixed or unbounded), seen=False)
            return Number(group, self._room - self._default if fixed or unbounded else 0)
        top = math.ceil(math.log(largest, self._base) + self._headroom)
        return Number(Group(min(max(self._budget - top, 0), most)), top, extent)

    def _join(self, *values: Value) -> None:
        """One encoding for all that may have it; inputs are brought into it where they meet it."""
        groups = list(dict.fromkeys(n.group.find() for n in values if isinstance(n, Number)))
        free = [g for g in groups if not g.fixed]
        for g in free[1:]:
            known = [h.digits for h in (free[0], g) if h.seen]
            free[0].digits, free[0].seen = min(known, default=self._default), bool(known)
            g.joined = free[0]

    def _made(
        self, path: Path, avals: Sequence[Any], secret: Sequence[bool], fixed: bool = False
    ) -> list[Value]:
        """The results of an equation, each in a group of its own."""

        def value(i: int, aval: Any, hidden: bool) -> Value:
            if not hidden:
                return None
            return self._new(path, i, fixed) if _is_float(aval) else SECRET

        return [value(i, a, s) for i, (a, s) in enumerate(zip(avals, secret, strict=True))]

    def _keep(self, path: Path, values: Sequence[Value]) -> None:
        self._kept[path] = [x if isinstance(x, Number) else None for x in values]

    def _equation(self, eqn: Any, operands: list[Value], path: Path) -> list[Value]:
        numbers = [x for x in operands if isinstance(x, Number)]
        secret = secrecy.results(eqn, [x is not None for x in operands])
        avals = [v.aval for v in eqn.outvars]
        if eqn.primitive in _COMPARISONS and numbers:
            self._join(*numbers)
            free = [n for n in numbers if not n.group.find().fixed] or numbers
            self._keep(path, [Number(free[0].group, max(n.top for n in numbers))])
        rule = RULES.get(eqn.primitive)
        if rule is None or not rule.scaled:
            self._unscaled += [(path, n) for n in numbers]
            return self._made(path, avals, secret, fixed=True)
        results = self._made(path, avals, secret)
        made = [x for x in results if isinstance(x, Number)]
        if not made:
            return results
        if eqn.primitive in _PRODUCTS and not _by_whole(eqn):
            if len(numbers) == 2 or eqn.primitive is lax.square_p:
                self._products.append(_Product(numbers[0], numbers[-1], made[0].top))
        elif eqn.primitive is lax.integer_pow_p and eqn.params["y"] == 2:
            self._products += [_Product(n, n, made[0].top) for n in numbers]
        elif eqn.primitive not in _FUNCTIONS:
            for x in made:  # what stands for infinity does so in every encoding
                x.group.fixed = False
            self._join(*numbers, *made)
        self._keep(path, results)
        return results

    def _call(self, form: Call, operands: list[Value], path: Path) -> list[Value]:
        return self.run(form.body, operands, (*path, 0))

    def _scan(self, form: Scan, operands: list[Value], path: Path) -> list[Value]:
        consts, init, xs = form.split(operands)
        opened, _ = compat.open_jaxpr(form.body)
        avals = [v.aval for v in opened.invars[form.consts : form.consts + form.carried]]
        secret, _ = secrecy.carries(form, [x is not None for x in operands])
        carry = self._made(path, avals, secret)
        out = self.run(form.body, [*consts, *carry, *xs], (*path, 0))
        self._meet(carry, init, out)
        self._keep(path, [*carry, *[None] * (len(out) - form.carried)])
        return [*carry, *out[form.carried :]]

    def _while(self, form: While, operands: list[Value], path: Path) -> list[Value]:
        test, consts, init = form.split(operands)
        opened, _ = compat.open_jaxpr(form.body)
        avals = [v.aval for v in opened.invars[form.consts :]]
        secret, _ = secrecy.carries(form, [x is not None for x in (*consts, *init)])
        carry = self._made(path, avals, secret)
        self.run(form.condition, [*test, *carry], (*path, 0))
        self._meet(carry, init, self.run(form.body, [*consts, *carry], (*path, 1)))
        self._keep(path, carry)
        return carry

    def _meet(self, carry: Sequence[Value], init: Sequence[Value], out: Sequence[Value]) -> None:
        for x, first, last in zip(carry, init, out, strict=False):
            if isinstance(x, Number):
                self._join(x, first, last)

    def _branches(self, form: Branches, operands: list[Value], path: Path) -> list[Value]:
        index, *values = operands
        outs = [self.run(b, values, (*path, i)) for i, b in enumerate(form.branches)]
        opened, _ = compat.open_jaxpr(form.branches[0])
        secret = [
            index is not None or any(x is not None for x in c) for c in zip(*outs, strict=True)
        ]
        results = self._made(path, [v.aval for v in opened.outvars], secret)
        for x, *cases in zip(results, *outs, strict=True):
            if isinstance(x, Number):
                self._join(x, *cases)
        self._keep(path, results)
        return results


def _is_float(aval: Any) -> bool:
    return bool(jnp.issubdtype(aval.dtype, jnp.floating))


def _by_whole(eqn: Any) -> bool:
    """Whether a product is by a small known whole number, which takes no digits off."""
    known = [float(v.val) for v in eqn.invars if isinstance(v, Literal)]
    return eqn.primitive is lax.mul_p and any(x == round(x) and abs(x) <= 16 for x in known)
