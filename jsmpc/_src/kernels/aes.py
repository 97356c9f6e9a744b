"""AES-128 (FIPS 197) of many blocks in XLA, without tables: a block's bits lie in eight planes.

Bit i of plane b is bit b of byte i of the block, which are 16 bits of one word. The time depends on
no data. The key is fixed and public, the first digits of pi; see `fss`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array

KEY = bytes.fromhex("243f6a8885a308d313198a2e03707344")
_ROUNDS = 10


def encrypt(lo: Array, hi: Array) -> tuple[Array, Array]:
    """The blocks encrypted under the fixed key.

    Args:
      lo, hi: uint64[n], the halves of the blocks, the first byte lowest.
    """
    keys = jnp.asarray(_ROUND_KEYS)

    def add_key(planes: Sequence[Array], i: Any) -> tuple[Array, ...]:
        return tuple(p ^ keys[i, b] for b, p in enumerate(planes))

    def step(i: Array, planes: tuple[Array, ...]) -> tuple[Array, ...]:
        rows = [_shift_rows(p) for p in _sub_bytes(planes)]
        mixed = zip(_mix_columns(rows), rows, strict=True)
        return add_key([jnp.where(i < _ROUNDS, m, r) for m, r in mixed], i)

    # The last round is one of the loop: what lies outside is fused with, and repeated in, all that
    # uses it.
    return _words(lax.fori_loop(1, _ROUNDS + 1, step, add_key(_planes(lo, hi), 0)))


# Between blocks and planes.


def _transposed(x: Array) -> Array:
    """The 8 x 8 bits of each word transposed."""
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0xF0F0F0F0)):
        n = np.uint64(shift)
        t = (x ^ (x >> n)) & np.uint64(mask)
        x = x ^ t ^ (t << n)
    return x


def _planes(lo: Array, hi: Array) -> list[Array]:
    """Eight uint16[n]."""
    low, high = _transposed(lo), _transposed(hi)

    def plane(b: int) -> Array:
        first, second = ((x >> np.uint64(8 * b)) & np.uint64(255) for x in (low, high))
        return (first | second << np.uint64(8)).astype(jnp.uint16)

    return [plane(b) for b in range(8)]


def _words(planes: Sequence[Array]) -> tuple[Array, Array]:
    low = high = jnp.zeros_like(planes[0], jnp.uint64)
    for b, narrow in enumerate(planes):
        plane, place = narrow.astype(jnp.uint64), np.uint64(8 * b)
        low = low | (plane & np.uint64(255)) << place
        high = high | (plane >> np.uint64(8)) << place
    return _transposed(low), _transposed(high)


# The steps of a round.

# The S-box by gates on its bits, u0 and s0 the highest, but for the constant that is added (J.
# Boyar, R. Peralta, A small depth-16 circuit for the AES S-box, SEC 2012).
_CIRCUIT = """
    t1=u0^u3 t2=u0^u5 t3=u0^u6 t4=u3^u5 t5=u4^u6 t6=t1^t5 t7=u1^u2 t8=u7^t6 t9=u7^t7 t10=t6^t7
    t11=u1^u5 t12=u2^u5 t13=t3^t4 t14=t6^t11 t15=t5^t11 t16=t5^t12 t17=t9^t16 t18=u3^u7 t19=t7^t18
    t20=t1^t19 t21=u6^u7 t22=t7^t21 t23=t2^t22 t24=t2^t10 t25=t20^t17 t26=t3^t16 t27=t1^t12
    m1=t13&t6 m2=t23&t8 m3=t14^m1 m4=t19&u7 m5=m4^m1 m6=t3&t16 m7=t22&t9 m8=t26^m6 m9=t20&t17
    m10=m9^m6 m11=t1&t15 m12=t4&t27 m13=m12^m11 m14=t2&t10 m15=m14^m11 m16=m3^m2 m17=m5^t24
    m18=m8^m7 m19=m10^m15 m20=m16^m13 m21=m17^m15 m22=m18^m13 m23=m19^t25 m24=m22^m23 m25=m22&m20
    m26=m21^m25 m27=m20^m21 m28=m23^m25 m29=m28&m27 m30=m26&m24 m31=m20&m23 m32=m27&m31
    m33=m27^m25 m34=m21&m22 m35=m24&m34 m36=m24^m25 m37=m21^m29 m38=m32^m33 m39=m23^m30
    m40=m35^m36 m41=m38^m40 m42=m37^m39 m43=m37^m38 m44=m39^m40 m45=m42^m41 m46=m44&t6 m47=m40&t8
    m48=m39&u7 m49=m43&t16 m50=m38&t9 m51=m37&t17 m52=m42&t15 m53=m45&t27 m54=m41&t10 m55=m44&t13
    m56=m40&t23 m57=m39&t19 m58=m43&t3 m59=m38&t22 m60=m37&t20 m61=m42&t1 m62=m45&t4 m63=m41&t2
    l0=m61^m62 l1=m50^m56 l2=m46^m48 l3=m47^m55 l4=m54^m58 l5=m49^m61 l6=m62^l5 l7=m46^l3
    l8=m51^m59 l9=m52^m53 l10=m53^l4 l11=m60^l2 l12=m48^m51 l13=m50^l0 l14=m52^m61 l15=m55^l1
    l16=m56^l0 l17=m57^l1 l18=m58^l8 l19=m63^l4 l20=l0^l1 l21=l1^l7 l22=l3^l12 l23=l18^l2
    l24=l15^l9 l25=l6^l10 l26=l7^l9 l27=l8^l10 l28=l11^l14 l29=l11^l17 s0=l6^l24 s1=l16^l26
    s2=l19^l28 s3=l6^l21 s4=l20^l22 s5=l25^l29 s6=l13^l27 s7=l6^l23
"""
_CONSTANT = 0x63


def _gates() -> list[tuple[str, str, str, str]]:
    """Of each gate its name, and its operator between its operands."""
    halves = [gate.split("=") for gate in _CIRCUIT.split()]
    return [(name, *re.split("([&^])", right)) for name, right in halves]  # type: ignore[misc]


def _sub_bytes(planes: Sequence[Any]) -> list[Any]:
    """The S-box on every byte."""
    wires = {f"u{7 - b}": plane for b, plane in enumerate(planes)}
    for name, x, sign, y in _GATES:
        wires[name] = _OPERATORS[sign](wires[x], wires[y])
    return [~wires[f"s{7 - b}"] if _CONSTANT >> b & 1 else wires[f"s{7 - b}"] for b in range(8)]


def _shift_rows(x: Array) -> Array:
    """Row r of a block, bits r, r + 4, …, turned by r columns."""
    total = x & np.uint16(0x1111)
    for r in (1, 2, 3):
        turned = (x >> np.uint16(4 * r)) | (x << np.uint16(16 - 4 * r))
        total = total | (turned & np.uint16(0x1111 << r))
    return total


def _next(x: Array) -> Array:
    """For each byte the next one of its column."""
    return ((x >> np.uint16(1)) & np.uint16(0x7777)) | ((x << np.uint16(3)) & np.uint16(0x8888))


def _mix_columns(planes: Sequence[Array]) -> list[Array]:
    """2·a + 3·a' + a'' + a''' of each byte and the next ones of its column."""
    mixed = [p ^ _next(p) for p in planes]
    doubled = [mixed[7], *mixed[:7]]
    for b in (1, 3, 4):
        doubled[b] = doubled[b] ^ mixed[7]
    return [d ^ _next(p) ^ _next(_next(m)) for d, p, m in zip(doubled, planes, mixed, strict=True)]


# The round keys.


def _sub_word(word: Sequence[int]) -> list[int]:
    planes = [np.asarray([byte >> b & 1 for byte in word], np.uint16) for b in range(8)]
    bits = _sub_bytes(planes)
    return [sum((int(bits[b][i]) & 1) << b for b in range(8)) for i in range(4)]


def _expanded(key: bytes) -> np.ndarray:
    """The round keys in planes: uint16[11, 8] (FIPS 197, section 5.2)."""
    words, constant = [list(key[i : i + 4]) for i in range(0, 16, 4)], 1
    while len(words) < 4 * (_ROUNDS + 1):
        last = words[-1]
        if len(words) % 4 == 0:
            last = _sub_word([*last[1:], last[0]])
            last[0] ^= constant
            constant = constant << 1 ^ (0x11B if constant & 128 else 0)
        words.append([a ^ b for a, b in zip(words[-4], last, strict=True)])
    octets = np.asarray(words).reshape(-1, 1, 16)
    bits = octets >> np.arange(8).reshape(1, 8, 1) & 1
    return (bits << np.arange(16)).sum(-1).astype(np.uint16)


_OPERATORS = {"^": operator.xor, "&": operator.and_}
_GATES = _gates()
_ROUND_KEYS = _expanded(KEY)
