"""What a curious server sees of a client is uniform, whatever the client's update is."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from jsmpc import federated
from jsmpc._src.federated.masked import keys, masks, shamir
from jsmpc._src.federated.masked.client import mask_purpose
from jsmpc._src.federated.masked.letters import Step
from masked import Round, fields
from views import WORDS, dependence, uniformity

LIKE = jax.ShapeDtypeStruct((WORDS,), np.float64)
PATTERNS = ("zeros", "ends", "random")


def setup_of(bits: int, ring: Any) -> federated.OneServer:
    rule = federated.Quantization(clip=1.0, bits=bits, ring=ring)
    return federated.OneServer.full(clients=3, dropping=1, quantization=rule, like=LIKE)


def update_of(pattern: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return {
        "zeros": np.zeros(WORDS),
        "ends": np.full(WORDS, -1.0),
        "random": rng.uniform(-1, 1, WORDS),
    }[pattern]


def masked(setup: federated.OneServer, pattern: str, number: int) -> tuple[Round, np.ndarray, Any]:
    """A round until client 0 has masked an update, what it sent, and its update's words."""
    play = Round(setup, number).until(Step.MASK)
    update = update_of(pattern, number)
    letter = play.clients[0].mask(play.asked[0], update)
    ring = 8 * setup.dtype.itemsize
    plain = setup.quantization.encode(update, 1, ring=ring).words[:-1]
    return play, fields(letter)["body"]["masked"][:-2], plain


@pytest.mark.parametrize("bits, ring", [(16, 32), (24, 64)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_masked_update_is_uniform_whatever_else_is_known(
    bits: int, ring: int, pattern: str
) -> None:
    """By itself, beside that of another round; with all masks known that it has with others, as
    when it has dropped out; with all but one known, as when all others but one are corrupt."""
    setup = setup_of(bits, ring)
    views = []
    for number in (1, 2):
        play, seen, plain = masked(setup, pattern, number)
        client, about = play.clients[0], play.clients[0]._context.about
        own = (keys.derived(client._seed, about, "own mask"), True)
        pairs = []
        for v in (1, 2):
            agreed = keys.agreement(client._mask_key)(client._keys[v][1])
            assert agreed is not None
            pairs.append((keys.derived(agreed, about, mask_purpose(0, v)), True))
        views += [seen, masks.added(seen, pairs), masks.added(seen, [own, pairs[0]])]
        np.testing.assert_array_equal(masks.added(seen, [own, *pairs]), plain)
    hidden = [plain] if pattern == "random" else []
    assert not uniformity(views, pattern)
    assert not dependence([views[0], *views[3:]], pattern, hidden)


def test_the_statistics_see_a_mask_that_is_missing() -> None:
    _, seen, plain = masked(setup_of(16, 32), "random", 1)
    assert not dependence([seen], "masked", [plain])
    assert uniformity([plain], "plain") and dependence([seen - plain, seen], "twice", [plain])


@pytest.mark.parametrize("threshold", [2, 3])
def test_fewer_shares_than_the_threshold_are_uniform(threshold: int) -> None:
    rng = np.random.default_rng(0)
    for secret in (bytes(32), (shamir.PRIME - 1).to_bytes(32, "little")):
        found = [shamir.share(secret, threshold, (1, 2, 3), rng.bytes) for _ in range(3000)]
        few = [
            np.frombuffer(b"".join(shares[i][:28] for shares in found), np.uint32)
            for i in range(threshold - 1)
        ]
        assert not uniformity(few, "shares") and not dependence(few, "shares")


def test_fewer_shares_than_the_threshold_fit_every_secret() -> None:
    rng = np.random.default_rng(0)
    shares = shamir.share(bytes(32), 3, (1, 2, 3, 4), rng.bytes)
    assert shamir.reconstruct({1: shares[0], 2: shares[1], 4: shares[3]}) == bytes(32)
    assert shamir.reconstruct({1: shares[0], 2: shares[1]}) != bytes(32)
    # with these two shares, and each value of a third one, another secret
    thirds = [i.to_bytes(32, "little") for i in range(50)]
    fitting = {shamir.reconstruct({1: shares[0], 2: shares[1], 3: third}) for third in thirds}
    assert len(fitting) == 50


def test_what_is_sealed_and_hashed_does_not_repeat() -> None:
    """Nothing of 16 bytes is twice in what the server gets in two rounds, but what it knows."""
    setup = setup_of(16, 32)
    seen: list[bytes] = []
    for number in (1, 2):
        play = Round(setup, number).until(Step.MASK)
        for u in range(3):
            for step in (Step.ADVERTISE, Step.SHARE):
                body = fields(play.letters[step, u])["body"]
                seen += [
                    value[i : i + 16] for value in body.values() for i in range(0, len(value), 16)
                ]
    assert len(set(seen)) == len(seen)
