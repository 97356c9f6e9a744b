"""Shared numbers as mantissa and exponent, and back: what range reduction needs.

Words here are integers of the ring; which number they stand for is their users' matter.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.functions import circuits
from jsmpc._src.functions.comparison import beneath
from jsmpc._src.functions.digits import Digit, Thermometer
from jsmpc._src.functions.polynomial import fraction_bits, public
from jsmpc._src.network.rounds import ROUND
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring import blocks
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.routines import traced_once


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Floating(Generic[V]):
    """|x| = m·2^n for a shared x, with n = 0 for x = 0.

    Attributes:
      mantissa: [m] with F fractional bits, 1 <= m <= 2, or 0 for x = 0.
      divisor: [m], or [1] for x = 0: there 0 counts as one unit in the last place.
      digits: those of n + 2, the lowest first; how many values each has is the base of the next.
      sign: [±1], [1] for x = 0.
      zero: [x = 0]^B.
    """

    mantissa: V
    divisor: V
    digits: tuple[Digit[V] | Thermometer[V], ...]
    sign: V
    zero: Bits[V]

    def exponent(self, smpc: Protocol[V], ctx: Context) -> V:
        """[n]."""
        total = -public(smpc, ctx, 2, self.mantissa)
        for place, digit in places(self.digits):
            total = total + digit.lookup(smpc, ctx, range(0, (digit.largest + 1) * place, place))
        return total


def places(
    digits: Sequence[Digit[V] | Thermometer[V]],
) -> Iterator[tuple[int, Digit[V] | Thermometer[V]]]:
    """Each digit with what its 1 stands for."""
    place = 1
    for digit in digits:
        yield place, digit
        place *= digit.largest + 1


def _parity(x: Bits[V]) -> Bits[V]:
    """The parity of each word's bits; local."""
    while x.width > 1:
        half = x.width // 2
        x = (x ^ (x >> half)).low(half)
    return x


def _digits(one_hot: Bits[V]) -> list[list[Bits[V]]]:
    """Digits of the position of the one set bit of each word, in base 4 (a last one in base 2).

    Of each digit, lowest first: the bits of whether it is 1, 2, 3; local.
    """
    width = one_hot.width
    result = []
    for place in range(0, width.bit_length() - 1, 2):
        one = 1 << place
        result.append(
            [
                _parity(one_hot & _mask(lambda i: i // one % 4 == digit, one_hot))
                for digit in range(1, min(4, width // one))
            ]
        )
    return result


def _mask(chosen: Callable[[int], bool], like: Bits[V]) -> Any:
    """A word of the bits at chosen places."""
    return blocks.word_type(like.width).type(sum(1 << i for i in range(like.width) if chosen(i)))


@traced_once
def normalize(smpc: Protocol[V], ctx: Context, x: V) -> Floating[V]:
    """[x] as sign, mantissa and exponent, for |x| <= 2^(k-2).

    1. The bits of x - 1, inverted where it is negative: those of |x| - [x > 0], whose top bit is
       at n with |x| in [2^n, 2^(n+1)].
    2. The sign, |x|, n and |x|·2^-n: see `_normalized`.

    Cost: 18 rounds, 273 bytes a party and element.
    """
    bits, not_positive = _bits_below(smpc, ctx, x)
    below = circuits.below_first(smpc, ctx, bits ^ not_positive.spread(bits.width))
    zero = smpc.and_bb(ctx, not_positive, smpc.not_b(ctx, below.bit(0)))
    sign = public(smpc, ctx, 1, x) - (smpc.b2a(ctx, not_positive ^ zero) << 1)
    magnitude = x - (smpc.mul_ba(ctx, not_positive, x) << 1)
    return _normalized(smpc, ctx, below, zero, sign, magnitude)


@traced_once
def normalize_positive(smpc: Protocol[V], ctx: Context, x: V) -> Floating[V]:
    """Like `normalize`, but every x < 0 counts as 0.

    Cost: 20 rounds, 277 bytes a party and element; of few numbers, 10 rounds and 1,600 bytes.
    """
    if _are_few(x.shape):
        return _normalized_by_comparisons(smpc, ctx, x)
    bits, zero = _bits_below(smpc, ctx, x)
    positive = smpc.not_b(ctx, zero)
    below = circuits.below_first(smpc, ctx, smpc.and_bb(ctx, bits, positive.spread(bits.width)))
    sign = public(smpc, ctx, 1, x)
    return _normalized(smpc, ctx, below, zero, sign, smpc.mul_ba(ctx, positive, x))


def _are_few(shape: Sequence[int]) -> bool:
    """Whether ten rounds are worth more than what it takes to do without them."""
    return math.prod(shape) * 1323 < 10 * ROUND


def _normalized_by_comparisons(smpc: Protocol[V], ctx: Context, x: V) -> Floating[V]:
    """As `normalize_positive`, of few numbers.

    1. [x > 0], and [x > 2^n] for every n >= 1 up to k - 3: n + 2 as a thermometer.
    2. |x|·2^(k-3-n), by a table of the powers, truncated to F fractional bits.
    """
    ring, f = smpc.ring, fraction_bits(smpc.ring)
    bits = beneath(smpc, ctx, x, [0, *(1 << n for n in range(1, ring.bits - 2))])
    zero = bits.map(lambda b: b[0])
    exponent = Thermometer.of(smpc, ctx, bits.map(lambda b: b[1:]), 2)
    top = exponent.largest
    scale = exponent.lookup(smpc, ctx, [1 << top - n for n in range(top + 1)])
    magnitude = smpc.mul_ba(ctx, smpc.not_b(ctx, zero), x)
    mantissa = smpc.mul_aa(ctx, magnitude, scale, 1 << (ring.bits - 3 - f))
    divisor = mantissa + (smpc.b2a(ctx, zero) << f)
    return Floating(mantissa, divisor, (exponent,), public(smpc, ctx, 1, x), zero)


def _bits_below(smpc: Protocol[V], ctx: Context, x: V) -> tuple[Bits[V], Bits[V]]:
    """The bits of x - 1, and its sign bit [x <= 0]."""
    bits = smpc.a2b(ctx, x - public(smpc, ctx, 1, x))
    return bits, bits.bit(smpc.bits - 1)


def _normalized(
    smpc: Protocol[V], ctx: Context, below: Bits[V], zero: Bits[V], sign: V, magnitude: V
) -> Floating[V]:
    """From all bits up to n set, and |x|.

    1. The edge of the set bits is moved up by two, with n = 0 where none is set; the digits of
       n + 2 are parities of its position, and the bits of which digit it is become arithmetic.
    2. |x|·2^(k-3-n) is the product of |x| and of 2^((3 - d)·4^j) for each digit d of n + 2.
    3. It is truncated to F fractional bits.
    """
    ring, f = smpc.ring, fraction_bits(smpc.ring)
    seven = jnp.broadcast_to(ring.constant(7), below.shape)
    moved = smpc.xor_bp(ctx, (below << 2) & ring.constant(-8), seven)
    one_hot = moved ^ (moved >> 1)
    digits = tuple(Digit(tuple(smpc.b2a(ctx, b) for b in which)) for which in _digits(one_hot))
    none = smpc.b2a(ctx, zero)
    scale = [
        digit.lookup(smpc, ctx, [1 << d * place for d in reversed(range(digit.largest + 1))])
        for place, digit in places(digits)
    ]
    mantissa = smpc.product_of(ctx, [magnitude, *scale], 1 << (ring.bits - 3 - f))
    return Floating(mantissa, mantissa + (none << f), digits, sign, zero)


@traced_once
def assemble(
    smpc: Protocol[V],
    ctx: Context,
    q: V,
    exponent: V,
    sign: V | None = None,
    over: Bits[V] | None = None,
    under: Bits[V] | None = None,
) -> V:
    """[±q·2^e], rounded, for 0 <= q < 2 with F fractional bits; -129 <= e <= 126.

    1. The bits of e + 1 as a signed byte, the lowest log2(k/2) of them as arithmetic shares.
    2. w = q·2^(e + 1 mod k/2), with k/2 - 2 fractional bits of q.
    3. Where e + 1 is in the upper half of [0, k) the result is 2w, in the lower half
       w / 2^(k/2 - 1).
    4. Where e + 1 is less, it is 0; where it is more, the largest number.

    Args:
      sign: [±1]; over, under: bits that force the largest number or 0; |e| may
        then be anything.

    Off by less than one unit in the last place, or by q's error. Results from 2^(k-2), where the
    range ends, up to 2^(k-1), where the ring does, come out as they are.

    Cost: 8 rounds, 62 bytes a party and element.
    """
    ring, f = smpc.ring, fraction_bits(smpc.ring)
    half = ring.bits // 2
    low = half.bit_length() - 1
    exponent = exponent + public(smpc, ctx, 1, exponent)
    e = smpc.a2b(ctx, exponent.astype(np.uint8))
    bit = [e.bit(j) for j in range(8)]

    high = bit[low + 1]
    for b in bit[low + 2 : 7]:
        high = smpc.or_bb(ctx, high, b)
    inside = smpc.and_bb(ctx, smpc.not_b(ctx, high), smpc.not_b(ctx, bit[7]))
    beyond = smpc.and_bb(ctx, high, smpc.not_b(ctx, bit[7]))
    if over is not None:
        beyond = smpc.or_bb(ctx, beyond, over)
        inside = smpc.and_bb(ctx, inside, smpc.not_b(ctx, over))
    if under is not None:
        beyond, inside = (smpc.and_bb(ctx, b, smpc.not_b(ctx, under)) for b in (beyond, inside))
    whole = smpc.and_bb(ctx, inside, bit[low])

    q = q << (half - 2 - f)
    largest = ring.constant(ring.bound - 1)
    scale = smpc.power_of_two(ctx, exponent, e)
    scale = scale if sign is None else smpc.mul_aa(ctx, sign, scale)
    w = smpc.mul_aa(ctx, q, scale)
    part = smpc.mul_aa(ctx, q, scale, 1 << (half - 1))
    end = largest if sign is None else sign * largest
    return smpc.sum_ba(ctx, (inside, part), (whole, (w << 1) - part), (beyond, end))
