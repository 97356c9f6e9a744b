"""What an evaluation finds out about its numbers: collected by line, and carried out of loops."""

from __future__ import annotations

import functools
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import EncodingWarning
from jsmpc._src.functions import comparison
from jsmpc._src.interpreter.misfits import Misfits
from jsmpc._src.jaxprs import tracing
from jsmpc._src.network.messages import opened
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.bits import Bits, words_of
from jsmpc._src.ring.groups import BOOLEAN
from jsmpc._src.runtime.context import Context

Array = jax.Array


class Settled(NamedTuple):
    """Findings that leave a loop or a branch, one bit a place; see `Findings`."""

    faults: OrderedDict[str, Array]
    losses: OrderedDict[str, Array]
    overflows: OrderedDict[str, Bits]


class Unsettled(NamedTuple):
    """Findings of a part of a program; see `Findings`."""

    faults: Mapping[str, Array]
    losses: Mapping[str, Array]
    overflows: Mapping[str, Sequence[Bits]]


class Verdict(NamedTuple):
    """Findings of a program, all of them public; see `Findings`."""

    faults: OrderedDict[str, Array]
    losses: OrderedDict[str, Array]
    overflows: OrderedDict[str, Array]


NOTHING = Settled(OrderedDict(), OrderedDict(), OrderedDict())
SOUND = Verdict(OrderedDict(), OrderedDict(), OrderedDict())


class Findings:
    """Faults, losses and overflows in the order of the program, by place ("mul at model.py:12").

    Attributes:
      faults: whether a public operand known only when the program runs did not fit the encoding.
      losses: whether one was rounded to zero; by what is to be said of it, place included.
      misfits: public operands that did not fit, of which it is open whether that matters.
      overflows: secret bits of whether a number left the range; None unless asked for.
    """

    def __init__(self, overflows: bool = False):
        self.faults: OrderedDict[str, Array] = OrderedDict()
        self.losses: OrderedDict[str, Array] = OrderedDict()
        self.misfits: list[tuple[str, Misfits]] = []
        self.overflows: OrderedDict[str, list[Bits]] | None = OrderedDict() if overflows else None

    def fresh(self) -> Findings:
        """None yet, of the same kinds."""
        return Findings(self.overflows is not None)

    def fault(self, place: str, found: Array) -> None:
        _note(self.faults, place, found)

    def lose(self, message: str, found: Array) -> None:
        _note(self.losses, message, found)

    def taken(self, since: int = 0) -> list[tuple[str, Misfits]]:
        """The misfits since there were so many; they are to be found no more."""
        found, self.misfits[since:] = self.misfits[since:], []
        return found

    def settle(self, since: int = 0) -> None:
        """Misfits matter: they are faults, and errors where they are known."""
        for place, misfits in self.taken(since):
            if tracing.is_traced(misfits.where) or misfits.error is None:
                self.fault(place, misfits.where.any())
            elif misfits.where.any():
                raise misfits.error

    def overflow(self, place: str, bits: Bits) -> None:
        assert self.overflows is not None
        self.overflows.setdefault(place, []).append(bits.map(jnp.ravel))

    @property
    def unsettled(self) -> Unsettled:
        """All of them, once misfits are faults."""
        self.settle()
        return Unsettled(self.faults, self.losses, self.overflows or OrderedDict())

    def add(self, found: Unsettled) -> None:
        """Take over what a part of the program found."""
        for place, bit in found.faults.items():
            self.fault(place, bit)
        for message, bit in found.losses.items():
            self.lose(message, bit)
        for place, bits in found.overflows.items():
            for each in bits:
                self.overflow(place, each)

    def settled(self, smpc: Protocol, ctx: Context) -> Settled:
        """One bit a place: what comes out of a loop or a branch.

        Cost: none without overflows; else an `or` of all bits of a place, in ceil(log2 n) rounds.
        """
        self.settle()
        bits = OrderedDict(
            (place, self._joined(found)) for place, found in (self.overflows or {}).items()
        )
        either = functools.partial(smpc.or_bb, ctx)
        joined = OrderedDict((p, comparison.fold(b, either)) for p, b in bits.items())
        return Settled(self.faults, self.losses, joined)

    @staticmethod
    def _joined(found: list[Bits]) -> Bits:
        first, *others = found
        return first.map(lambda *b: jnp.concatenate(b), *others)

    def first_overflow(self, smpc: Protocol, ctx: Context) -> OrderedDict[str, Array]:
        """At which place, if at any, numbers left the range first: opened, and nothing else.

        1. [p_i] = [b_0 | … | b_i] for the places' bits b_i, by doubling spans.
        2. [p_i ^ p_{i-1}] is set at the first place alone; the bits of its number, counted from 1,
           are sums of these.
        3. Open the number, 0 if there is no overflow.

        Cost: ceil(log2 n) + 1 rounds for n places, and those of `settled`.
        """
        bits = self.settled(smpc, ctx).overflows
        if not bits:
            return OrderedDict()
        first, *others = bits.values()
        any_until, span = first.map(lambda *b: jnp.stack(b), *others), 1

        def shifted(x: Bits, by: int) -> Bits:
            return x.map(lambda w: jnp.concatenate([jnp.zeros_like(w[:by]), w[:-by]]))

        while span < len(bits):
            any_until = smpc.or_bb(ctx, any_until, shifted(any_until, span))
            span *= 2
        at_first = any_until ^ shifted(any_until, 1) if len(bits) > 1 else any_until
        numbers = np.arange(1, len(bits) + 1, dtype=np.uint32)
        first_number = (at_first.spread(32) & numbers).map(lambda w: jax.lax.reduce_xor(w, (0,)))
        number = opened(
            smpc.open(ctx, words_of(first_number), BOOLEAN),
            what="where a number left the range first",
        )
        return OrderedDict((place, number == i) for i, place in enumerate(bits, 1))

    def verdict(self, smpc: Protocol, ctx: Context) -> Verdict:
        """What an evaluation is to be told of at its end, by place."""
        return Verdict(self.faults, self.losses, self.first_overflow(smpc, ctx))

    def absorb(self, settled: Settled) -> None:
        """Take over what a loop or a branch found; of a `scan`, all iterations."""
        for place, found in settled.faults.items():
            self.fault(place, found.any())
        for message, found in settled.losses.items():
            self.lose(message, found.any())
        for place, bits in settled.overflows.items():
            if math.prod(bits.shape):
                self.overflow(place, bits)


def rehearsed(ctx: Context, program: Callable[[Context], Settled]) -> Settled:
    """What a sub-program that is about to be traced will find, with nothing found yet.

    The state of a `while_loop` and the results of branches must be known beforehand.
    """

    def run() -> Settled:
        return program(Context(ctx.network, ctx.seeds, state=ctx.state))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EncodingWarning)
        shapes = jax.eval_shape(run)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def completed(found: Settled, every: Settled) -> Settled:
    """The findings of one branch with nothing in the places of all others."""
    return Settled(
        OrderedDict({**every.faults, **found.faults}),
        OrderedDict({**every.losses, **found.losses}),
        OrderedDict({**every.overflows, **found.overflows}),
    )


def _note(found: OrderedDict[str, Array], place: str, bit: Array) -> None:
    found[place] = found[place] | bit if place in found else bit
