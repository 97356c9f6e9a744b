"""Keys of a round: each of its own purpose and round; shares by Shamir."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest

from jsmpc._src.federated.masked import keys, masks, shamir

SECRET = bytes(range(32))
RNG = np.random.default_rng(0)


def test_derivations_are_of_rfc_5869() -> None:
    found = keys.derived(SECRET, b"c" * 32, "purpose")
    extracted = hmac.digest(b"c" * 32, SECRET, "sha256")
    assert found == hmac.digest(extracted, b"purpose\x01", "sha256")


def test_rounds_and_purposes_have_keys_and_hashes_apart() -> None:
    for of in (
        lambda context, purpose: keys.derived(SECRET, context, purpose),
        lambda context, purpose: keys.commitment(context, purpose, SECRET),
    ):
        found = {of(context, purpose) for context in (b"a", b"b") for purpose in ("x", "y")}
        assert len(found) == 4
    assert keys.commitment(b"a", "x", SECRET) != hashlib.sha256(SECRET).digest()


def test_two_agree_on_what_nobody_else_knows() -> None:
    private = [shamir.draw(RNG.bytes) for _ in range(3)]
    public = [keys.public_of(key) for key in private]
    first, second, third = map(keys.agreement, private)
    assert first(public[1]) == second(public[0]) != third(public[0])
    assert all(map(keys.has_order, public))
    for low in (bytes(32), b"\x01" + bytes(31)):
        assert not keys.has_order(low) and first(low) is None


def test_what_is_sealed_opens_as_it_was_alone() -> None:
    data = keys.sealed(SECRET, b"shares", b"about")
    assert keys.opened(SECRET, data, b"about") == b"shares"
    for place in range(len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 1
        assert keys.opened(SECRET, bytes(wrong), b"about") is None
    assert keys.opened(SECRET, data, b"other") is None
    assert keys.opened(bytes(32), data, b"about") is None


@pytest.mark.parametrize(
    "threshold, points", [(1, (1,)), (2, (1, 2, 9)), (5, (1, 2, 3, 70, 65536))]
)
def test_any_threshold_of_shares_tell_the_secret(threshold: int, points: tuple[int, ...]) -> None:
    secret = shamir.draw(RNG.bytes)
    shares = dict(zip(points, shamir.share(secret, threshold, points, RNG.bytes), strict=True))
    for start in range(len(points) - threshold + 1):
        some = points[start : start + threshold]
        assert shamir.reconstruct({x: shares[x] for x in some}) == secret
    assert (threshold == 1) == (shares[points[0]] == secret)


def test_draws_are_below_the_prime() -> None:
    high = [b"\xff" * 32, (2 * shamir.PRIME - 1).to_bytes(32, "little"), SECRET]
    assert shamir.is_element(shamir.draw(lambda n: high.pop(0)))
    assert not shamir.is_element(shamir.PRIME.to_bytes(32, "little"))
    assert not shamir.is_element(bytes(31))


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_masks_of_any_number_cancel(dtype: type) -> None:
    words = RNG.integers(0, 2**32, 42).astype(dtype)
    drawn = [(RNG.bytes(32), bool(i % 3)) for i in range(130)]
    masked = masks.added(words, drawn)
    assert (masked != words).all() and masked.dtype == dtype
    undone = masks.added(masked, [(key, not taken) for key, taken in drawn])
    np.testing.assert_array_equal(undone, words)
    np.testing.assert_array_equal(masks.added(words, []), words)
    # one after the other they are the same
    for one in drawn[:3]:
        words = masks.added(words, [one])
    np.testing.assert_array_equal(words, masks.added(undone, drawn[:3]))
