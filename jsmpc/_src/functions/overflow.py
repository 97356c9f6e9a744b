"""Whether products leave the ring's range, which afterwards nobody could tell.

A product X·Y of encoded numbers is right while |X·Y| < 2^(k-2), k the ring's bits. It is computed
again of operands without their last digits, small enough not to wrap, and compared.
"""

from __future__ import annotations

import jax.numpy as jnp

from jsmpc._src.protocols.base import Protocol, Shared
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.runtime.context import Context


def scales(smpc: Protocol) -> list[tuple[int, int]]:
    """How many bits each operand loses, and the magnitude from which on a product is too large.

    The first scale finds products from 2^(k-3) on; each reaches up to where its products wrap, and
    the next begins there, far enough above what the lost digits may amount to.
    """
    k, lost = smpc.bits, (smpc.encoding.scale - 1).bit_length() // 2
    found = [(lost, 1 << (k - 3 - 2 * lost))]
    while (reached := k - 2 + 2 * lost) < 2 * (k - 14):
        lost = reached - (k - 12)
        found.append((lost, 1 << (k - 12 - lost)))
    return found


def overflows(smpc: Protocol, ctx: Context, f: Bilinear, x: Shared, y: Shared) -> Shared:
    """[1 where f(x, y) leaves the range], a Boolean share in `uint8`, flat.

    1. [x'] = [x / 2^a], [y'] = [y / 2^a] and [z'] = f([x'], [y']) for each scale (a, t).
    2. [z' >= t] and [-z' >= t].

    Finds every product between 2^(k-3) and the square of 2^(k-14), for operands below 2^(k-14) in
    magnitude (2^32 in the 64-bit ring with 18 fractional bits); one of a larger operand, and a sum
    of many products of such size, may be taken for an overflow.

    Cost: for each scale (2 by default) 2 truncations, a product and 2 comparisons, all scales at
    once.
    """
    excesses = []
    for lost, least in scales(smpc):
        rough = smpc.product(ctx, f, *(smpc.truncate(ctx, v, 1 << lost) for v in (x, y)))
        limit = jnp.broadcast_to(smpc.ring.constant(least), rough.shape)
        excesses += [smpc.add_ap(ctx, v, -limit).map(jnp.ravel) for v in (rough, -rough)]
    first, *others = excesses
    below = smpc.msb(ctx, first.map(lambda *e: jnp.concatenate(e), *others))
    return smpc.not_b(ctx, below)
