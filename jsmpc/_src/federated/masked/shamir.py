"""Shamir's sharing of 256-bit secrets, modulo the prime 2^255 − 19."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

PRIME = 2**255 - 19
SIZE = 32  # bytes of a secret, and of a share


def is_element(data: bytes) -> bool:
    """Whether bytes are a number below the prime, as a secret and a share have to be."""
    return len(data) == SIZE and int.from_bytes(data, "little") < PRIME


def draw(entropy: Callable[[int], bytes]) -> bytes:
    """A uniform secret.

    Args:
      entropy: gives so many random bytes.
    """
    while True:
        found = int.from_bytes(entropy(SIZE), "little") >> 1
        if found < PRIME:
            return found.to_bytes(SIZE, "little")


def share(
    secret: bytes, threshold: int, points: Sequence[int], entropy: Callable[[int], bytes]
) -> list[bytes]:
    """A share for each point, so many of which tell the secret, and any fewer nothing.

    Args:
      points: different integers from 1 on.

    Source: Shamir, How to share a secret, Communications of the ACM 22, 1979.
    """
    coefficients = [secret, *(draw(entropy) for _ in range(threshold - 1))]
    numbers = [int.from_bytes(c, "little") for c in reversed(coefficients)]

    def value(x: int) -> bytes:
        found = 0
        for c in numbers:
            found = (found * x + c) % PRIME
        return found.to_bytes(SIZE, "little")

    return [value(x) for x in points]


def reconstruct(shares: Mapping[int, bytes]) -> bytes:
    """The secret that shares tell, by their points; exactly the threshold of them."""
    points = tuple(sorted(shares))
    terms = zip(_weights(points), points, strict=True)
    total = sum(w * int.from_bytes(shares[x], "little") for w, x in terms)
    return (total % PRIME).to_bytes(SIZE, "little")


@functools.lru_cache(maxsize=256)
def _weights(points: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's, at zero: with them values at the points add up to that at zero."""
    found = []
    for x in points:
        above = below = 1
        for other in points:
            if other != x:
                above = above * other % PRIME
                below = below * (other - x) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(found)
