"""Shared numbers as mantissa and exponent, and back: what range reduction needs.

Words here are integers of the ring; which number they stand for is their users' matter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jsmpc._src.functions import circuits
from jsmpc._src.functions.polynomial import fraction_bits, public
from jsmpc._src.protocols.base import Protocol, Shared
from jsmpc._src.ring import blocks
from jsmpc._src.runtime.context import Context


@dataclasses.dataclass(frozen=True)
class Floating:
    """|x| = m·2^n for a shared x, with n = 0 for x = 0.

    Attributes:
      mantissa: [m] with F fractional bits, 1 <= m <= 2, or 0 for x = 0.
      divisor: [m], or [1] for x = 0: there 0 counts as one unit in the last place.
      exponent_bits: [bits of n + 2], lowest first, shared by addition.
      sign: [±1], [1] for x = 0.
      zero: [x = 0], a Boolean share.
    """

    mantissa: Shared
    divisor: Shared
    exponent_bits: tuple[Shared, ...]
    sign: Shared
    zero: Shared

    def exponent(self, smpc: Protocol, ctx: Context) -> Shared:
        """[n]."""
        return weighted(self.exponent_bits) - public(smpc, ctx, 2, self.mantissa)


def weighted(bits: Sequence[Shared]) -> Shared:
    """[Σ 2^j·b_j] of arithmetic bits."""
    total = bits[0]
    for j, b in enumerate(bits[1:], 1):
        total = total + (b << j)
    return total


def power_of_two(smpc: Protocol, ctx: Context, bits: Sequence[Shared]) -> Shared:
    """[2^e] from the arithmetic bits of e: the product of 1 + e_j·(2^(2^j) - 1), as a tree."""
    return product_of(smpc, ctx, _powers(smpc, ctx, bits))


def _powers(smpc: Protocol, ctx: Context, bits: Sequence[Shared]) -> list[Shared]:
    one = public(smpc, ctx, 1, bits[0])
    return [b * smpc.ring.constant((1 << (1 << j)) - 1) + one for j, b in enumerate(bits)]


def product_of(smpc: Protocol, ctx: Context, factors: Sequence[Shared]) -> Shared:
    """[Π x_i] of integers, in ceil(log2 n) rounds."""
    while len(factors) > 1:
        pairs = zip(factors[::2], factors[1::2], strict=False)
        rest = factors[len(factors) & ~1 :]
        factors = [*(smpc.mul_aa(ctx, x, y) for x, y in pairs), *rest]
    return factors[0]


def bit_of(x: Shared, j: int) -> Shared:
    """Bit j of Boolean shares of words, as a byte."""
    return (x >> j).astype(np.uint8) & np.uint8(1)


def _parity(x: Shared) -> Shared:
    """The parity of each word's bits, as a byte."""
    width = 8 * x.dtype.itemsize
    while width > 8:
        width //= 2
        x = (x ^ (x >> width)).astype(f"uint{width}")
    for shift in (4, 2, 1):
        x = x ^ (x >> shift)
    return x & np.uint8(1)


def _index_bits(one_hot: Shared) -> list[Shared]:
    """The bits of the position of the one set bit of each word, lowest first; local."""
    width = 8 * one_hot.dtype.itemsize
    result = []
    while width > 1:
        width //= 2
        low = np.asarray((1 << width) - 1, one_hot.dtype)
        high = one_hot >> width
        result.append(_parity(high))
        one_hot = (one_hot & low) ^ high
        if width >= 8:
            one_hot = one_hot.astype(blocks.word_type(width))
    return result[::-1]


def normalize(smpc: Protocol, ctx: Context, x: Shared) -> Floating:
    """[x] as sign, mantissa and exponent, for |x| <= 2^(k-2).

    1. The bits of x - 1, inverted where it is negative: those of |x| - [x > 0], whose top bit is
       at n with |x| in [2^n, 2^(n+1)].
    2. The sign, the bits of n and |x|·2^-n: see `_normalized`.

    Cost: 21 rounds, 275 bytes a party and element.
    """
    bits, not_positive = _bits_below(smpc, ctx, x)
    below = circuits.below_first(smpc, ctx, bits ^ circuits.spread(not_positive, bits.dtype))
    zero = smpc.and_bb(ctx, not_positive, smpc.not_b(ctx, bit_of(below, 0)))
    sign = public(smpc, ctx, 1, x) - (smpc.b2a(ctx, not_positive ^ zero) << 1)
    return _normalized(smpc, ctx, below, zero, sign, [sign, x])


def normalize_positive(smpc: Protocol, ctx: Context, x: Shared) -> Floating:
    """Like `normalize`, but every x < 0 counts as 0.

    Cost: 21 rounds, 277 bytes a party and element.
    """
    bits, zero = _bits_below(smpc, ctx, x)
    positive = smpc.not_b(ctx, zero)
    below = circuits.below_first(
        smpc, ctx, smpc.and_bb(ctx, bits, circuits.spread(positive, bits.dtype))
    )
    sign = public(smpc, ctx, 1, x)
    return _normalized(smpc, ctx, below, zero, sign, [smpc.mul_ba(ctx, positive, x)])


def _bits_below(smpc: Protocol, ctx: Context, x: Shared) -> tuple[Shared, Shared]:
    """The bits of x - 1, and its sign bit [x <= 0]."""
    bits = smpc.a2b(ctx, x - public(smpc, ctx, 1, x))
    return bits, bit_of(bits, smpc.bits - 1)


def _normalized(
    smpc: Protocol,
    ctx: Context,
    below: Shared,
    zero: Shared,
    sign: Shared,
    factors: list[Shared],
) -> Floating:
    """From all bits up to n set, and factors whose product is |x|.

    1. The edge of the set bits is moved up by two; the bits of n + 2 are parities of its position,
       and become arithmetic shares.
    2. |x|·2^(k-3-n) is the product of the factors and of 2^(2^j) for each bit of n + 2 that is 0.
    3. Truncate it to F fractional bits.
    """
    ring, f = smpc.ring, fraction_bits(smpc.ring)
    one = public(smpc, ctx, 1, below)
    moved = ((below << 2) & ring.constant(-8)) ^ public(smpc, ctx, 7, below)
    positions = _index_bits(moved ^ (moved >> 1))
    *exponent, none = (smpc.b2a(ctx, b) for b in [*positions, zero])
    scale = _powers(smpc, ctx, [one - e for e in exponent])
    whole = product_of(smpc, ctx, [*factors, *scale])
    mantissa = smpc.truncate(ctx, whole, 1 << (ring.bits - 3 - f))
    return Floating(mantissa, mantissa + (none << f), tuple(exponent), sign, zero)


def assemble(
    smpc: Protocol,
    ctx: Context,
    q: Shared,
    exponent: Shared,
    sign: Shared | None = None,
    over: Shared | None = None,
    under: Shared | None = None,
) -> Shared:
    """[±q·2^e], rounded, for 0 <= q < 2 with F fractional bits; -129 <= e <= 126.

    1. The bits of e + 1 as a signed byte, the lowest log2(k/2) of them as arithmetic shares.
    2. w = q·2^(e + 1 mod k/2), with k/2 - 2 fractional bits of q.
    3. Where e + 1 is in the upper half of [0, k) the result is 2w, in the lower half
       w / 2^(k/2 - 1).
    4. Where e + 1 is less, it is 0; where it is more, the largest number.

    Args:
      sign: [±1]; over, under: Boolean shares of bits that force the largest number or 0; |e| may
        then be anything.

    Off by less than one unit in the last place, or by q's error. Results from 2^(k-2), where the
    range ends, up to 2^(k-1), where the ring does, come out as they are.

    Cost: 12 rounds, 134 bytes a party and element.
    """
    ring, f = smpc.ring, fraction_bits(smpc.ring)
    half = ring.bits // 2
    low = half.bit_length() - 1
    e = smpc.a2b(ctx, (exponent + public(smpc, ctx, 1, exponent)).astype(np.uint8))
    bit = [bit_of(e, j) for j in range(8)]

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
    if sign is not None:
        q = smpc.mul_aa(ctx, sign, q)
    power = power_of_two(smpc, ctx, [smpc.b2a(ctx, b) for b in bit[:low]])
    w = smpc.mul_aa(ctx, q, power)
    part = smpc.truncate(ctx, w, 1 << (half - 1))
    result = smpc.mul_ba(ctx, inside, part) + smpc.mul_ba(ctx, whole, (w << 1) - part)
    if sign is None:
        return result + smpc.b2a(ctx, beyond) * largest
    return result + smpc.mul_ba(ctx, beyond, sign * largest)
