"""Whoever does not follow the protocol with one server is found out, or does no harm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jsmpc
from jsmpc import federated
from jsmpc._src.federated.masked import keys, letters, shamir
from jsmpc._src.federated.masked.client import NO_SHARE
from jsmpc._src.federated.masked.letters import SERVER, Step
from jsmpc._src.transport import messages
from masked import PRIVATE, Round, altered, expected, fields, flipped, full, run

FOLLOWED = full(4, dropping=1)
SIGNED = full(4, dropping=1, corrupt=0, signed=True)
ALL = expected((0, 1, 2, 3))


def changing(step: Step, client: int, change: Callable[[bytes], bytes | None]) -> Any:
    return lambda s, u, letter: change(letter) if (s, u) == (step, client) else letter


# --- Letters of clients --------------------------------------------------------------------------


@pytest.mark.parametrize("step", SIGNED.steps, ids=[s.label for s in SIGNED.steps])
def test_no_byte_of_a_signed_letter_can_be_changed(step: Step) -> None:
    play = Round(SIGNED).until(step)
    letter = play.answer(step, 1)
    for place in range(len(letter)):
        assert not play.server.collect(flipped(letter, place, place % 8))
    assert not play.server.collect(letter[:-1]) and not play.server.collect(letter + b"\0")
    kinds = {refusal.reason for refusal in play.server.record.refused}
    assert kinds <= {"malformed", "another round", "signature"}
    assert play.server.collect(letter)


def word(place: int, value: int) -> np.ndarray:
    return np.eye(42, dtype=np.uint32)[place] * np.uint32(value)


CHANGES: dict[str, tuple[Step, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "channel": (Step.ADVERTISE, lambda b: {"channel": flipped(b["channel"], 3)}),
    "mask key": (Step.ADVERTISE, lambda b: {"mask": flipped(b["mask"], 3)}),
    "seed's hash": (Step.ADVERTISE, lambda b: {"seed": flipped(b["seed"], 3)}),
    "no curve's key": (Step.ADVERTISE, lambda b: {"mask": b"\xff" * 32}),
    "a key without an order": (Step.ADVERTISE, lambda b: {"mask": bytes(32)}),
    "equal keys": (Step.ADVERTISE, lambda b: {"mask": b["channel"]}),
    "a short key": (Step.ADVERTISE, lambda b: {"channel": b["channel"][:-1]}),
    "sealed shares": (Step.SHARE, lambda b: {"sealed": flipped(b["sealed"], 90)}),
    "fewer shares": (Step.SHARE, lambda b: {"sealed": b["sealed"][:-80]}),
    "hashes": (Step.SHARE, lambda b: {"commitments": flipped(b["commitments"], 0)}),
    "own hash": (Step.SHARE, lambda b: {"commitments": flipped(b["commitments"], 70)}),
    "another field": (Step.SHARE, lambda b: {"more": 1}),
    "another shape": (Step.MASK, lambda b: {"masked": b["masked"][:-1]}),
    "another dtype": (Step.MASK, lambda b: {"masked": b["masked"].astype(np.uint64)}),
    "no array": (Step.MASK, lambda b: {"masked": b["masked"].tobytes()}),
    "its weight": (
        Step.MASK,
        lambda b: {"masked": b["masked"] + np.uint32([0] * 40 + [1 << 20, 0])},
    ),
    "a one": (Step.MASK, lambda b: {"masked": b["masked"] + np.uint32([0] * 41 + [1])}),
    "accusation": (Step.MASK, lambda b: {"accused": bytes([1])}),
    "accused itself": (Step.MASK, lambda b: {"accused": bytes([2])}),
    "accused nobody": (Step.MASK, lambda b: {"accused": bytes([64])}),
    "shares": (Step.UNMASK, lambda b: {"shares": flipped(b["shares"], 0)}),
    "own share": (Step.UNMASK, lambda b: {"shares": flipped(b["shares"], 33)}),
    "no field's shares": (Step.UNMASK, lambda b: {"shares": b"\xfe" * len(b["shares"])}),
    "no shares": (Step.UNMASK, lambda b: {"shares": NO_SHARE * 4}),
    "fewer": (Step.UNMASK, lambda b: {"shares": b["shares"][32:]}),
}


EXCLUDED = (
    *("no curve's key", "a key without an order", "equal keys", "a short key", "fewer shares"),
    *("another field", "another shape", "another dtype", "no array", "accused itself"),
    *("accused nobody", "fewer"),
)
ABORTS = {
    "channel": "too few",
    "mask key": "no sum",
    "seed's hash": "inconsistent shares",
    "its weight": "no sum",
    "a one": "no sum",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_field_is_found_or_does_no_harm(what: str) -> None:
    """Where letters are not signed: an error, an exclusion, or the mean of those who count."""
    step, change = CHANGES[what]
    setup = full(4, dropping=1)
    play = Round(setup, change=changing(step, 1, lambda x: altered(x, change(fields(x)["body"]))))
    if what in ABORTS:
        with pytest.raises(federated.RoundError) as caught:
            play.until(None)
        assert caught.value.reason == ABORTS[what]
        return
    result = play.until(None).server.result()
    np.testing.assert_array_equal(result.mean, expected(result.record.survivors))
    record = result.record
    assert (record.dropped == {1: step.label}) == (what in EXCLUDED)
    assert record.refused or record.accused or record.false_shares or what == "no shares"


@pytest.mark.parametrize(
    "outer, reason",
    [
        ({"about": bytes(32)}, "another round"),
        ({"step": 9}, "malformed"),
        ({"step": True}, "malformed"),
        ({"step": int(Step.UNMASK)}, "out of order"),
        ({"sender": 4}, "unknown"),
        ({"sender": SERVER}, "unknown"),
        ({"body": b""}, "malformed"),
        ({"more": 1}, "malformed"),
    ],
)
def test_letters_of_other_senders_steps_and_rounds(outer: Any, reason: str) -> None:
    play = Round(FOLLOWED)
    letter = play.clients[1].advertise()
    said = {**fields(letter), **outer}
    assert not play.server.collect(b"".join(messages.encode(said)))
    assert play.server.record.refused[-1].reason == reason


def test_letters_that_are_too_long_are_not_read() -> None:
    play = Round(FOLLOWED)
    assert not play.server.collect(play.clients[0].advertise() + b"\0")
    assert not play.server.collect(bytes(10_000))
    assert not play.server.collect("text")  # type: ignore[arg-type]
    assert {r.reason for r in play.server.record.refused} == {"malformed"}
    play = Round(FOLLOWED).until(Step.SHARE)
    with pytest.raises(federated.RoundError, match="a letter is at most"):
        play.clients[0].share(altered(play.asked[0], {"adverts": [bytes(10_000)]}))


def test_nobody_speaks_for_another() -> None:
    play = Round(SIGNED)
    thief = federated.RoundClient(SIGNED, 2, 1, identity=PRIVATE[2])
    letter = thief._context.write(
        Step.ADVERTISE, 1, fields(thief.advertise()[:-64])["body"], PRIVATE[2]
    )
    assert not play.server.collect(letter)
    assert play.server.record.refused[-1].reason == "signature"
    with pytest.raises(jsmpc.FederatedError, match="not the private key of its public one"):
        federated.RoundClient(SIGNED, 1, 1, identity=PRIVATE[2])
    for setup, identity in ((SIGNED, None), (FOLLOWED, PRIVATE[0])):
        with pytest.raises(jsmpc.FederatedError, match="the identity of client 0"):
            federated.RoundClient(setup, 0, 1, identity=identity)


# --- Clients that cheat --------------------------------------------------------------------------


def cheating(setup: federated.OneServer, drops: bool) -> Round:
    """Client 1 shares by a polynomial of too high a degree."""
    play = Round(setup, change=changing(Step.MASK, 1, lambda x: None if drops else x))
    play.step(Step.ADVERTISE)
    cheat = play.clients[1]
    cheat.setup = dataclasses.replace(setup, threshold=setup.threshold + 1, quorum=None)
    letter = cheat.share(play.asked[1])
    cheat.setup = setup
    play.clients[1] = Sent(cheat, letter)  # type: ignore[call-overload]
    return play


class Sent:
    """A client that has answered a step already."""

    def __init__(self, client: federated.RoundClient, letter: bytes) -> None:
        self._client, self._letter = client, letter

    def share(self, message: bytes) -> bytes:
        return self._letter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.mark.parametrize("drops", [False, True], ids=["seed", "key"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_client_with_inconsistent_shares_is_named(signed: bool, drops: bool) -> None:
    setup = full(5, dropping=2, corrupt=0, signed=signed)
    play = cheating(setup, drops)
    with pytest.raises(federated.RoundError, match="client 1 has cheated: its shares") as caught:
        play.until(None)
    assert caught.value.clients == (1,) and caught.value.reason == "inconsistent shares"
    with pytest.raises(federated.RoundError, match="no result"):
        play.server.result()
    again = Round(setup, number=2, change=changing(Step.ADVERTISE, 1, lambda x: None)).until(None)
    np.testing.assert_array_equal(again.server.result().mean, expected((0, 2, 3, 4)))


def test_shares_that_do_not_open_are_told_of_and_the_round_goes_on() -> None:
    def spoilt(letter: bytes) -> bytes:
        return altered(letter, {"sealed": flipped(fields(letter)["body"]["sealed"], 5)})

    result = run(FOLLOWED, changing(Step.SHARE, 1, spoilt))
    assert result.record.accused == {1: [0]}
    np.testing.assert_array_equal(result.mean, ALL)

    def all_spoilt(letter: bytes) -> bytes:
        return altered(letter, {"sealed": bytes(len(fields(letter)["body"]["sealed"]))})

    with pytest.raises(federated.RoundError, match="shares of client 1's secret") as caught:
        run(FOLLOWED, changing(Step.SHARE, 1, all_spoilt))
    assert caught.value.clients == (1,)


def test_a_share_that_is_not_the_hashed_one_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder sees it before it counts on it; the dealer alone is told of."""
    play = Round(FOLLOWED).until(Step.SHARE)
    for u in range(4):
        with monkeypatch.context() as patched:
            if u == 1:
                seal = keys.sealed
                patched.setattr(
                    keys, "sealed", lambda key, plain, about: seal(key, flipped(plain, 9), about)
                )
            play.server.collect(play.answer(Step.SHARE, u))
    play.asked = play.server.close()
    play.step(Step.MASK)
    assert play.server.record.accused == {1: [0, 2, 3]}
    with pytest.raises(federated.RoundError, match="1 valid shares of client 1's") as caught:
        play.until(None)
    assert caught.value.clients == (1,) and not play.server.record.false_shares


def test_a_share_that_is_no_number_of_the_field_is_its_dealers_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play = Round(FOLLOWED).until(Step.SHARE)
    for u in range(4):
        with monkeypatch.context() as patched:
            if u == 1:
                deal = shamir.share
                patched.setattr(shamir, "share", lambda *given: [b"\xfe" * 32, *deal(*given)[1:]])
            play.server.collect(play.answer(Step.SHARE, u))
    play.asked = play.server.close()
    result = play.until(None).server.result()
    assert result.record.accused == {1: [0]} and not result.record.false_shares
    np.testing.assert_array_equal(result.mean, ALL)


def test_a_reflected_message_is_none_of_another_client() -> None:
    """What 1 has sealed for 0 comes back to 1 as if it were from 0."""
    play = Round(FOLLOWED).until(Step.MASK)
    body, own = (fields(x)["body"] for x in (play.asked[1], play.letters[Step.SHARE, 1]))
    reflected = own["commitments"][:64] + own["sealed"][:80] + body["sealed"][144:]
    letter = play.answer(Step.MASK, 1, asked=altered(play.asked[1], {"sealed": reflected}))
    assert fields(letter)["body"]["accused"] == letters.packed([0], 4)


def test_false_shares_are_laid_at_the_door_of_who_gives_them() -> None:
    def false(letter: bytes) -> bytes:
        shares = bytearray(fields(letter)["body"]["shares"])
        shares[2 * 32] ^= 1
        return altered(letter, {"shares": bytes(shares)})

    result = run(FOLLOWED, changing(Step.UNMASK, 3, false))
    assert result.record.false_shares == {3: [2]}
    np.testing.assert_array_equal(result.mean, ALL)


def test_equal_keys_of_two_clients() -> None:
    """The second is refused by the server, and by clients if the server passes it on."""
    play = Round(FOLLOWED)
    first = play.clients[0].advertise()
    assert play.server.collect(first)
    assert not play.server.collect(altered(first, sender=1))
    assert play.server.record.refused[-1].reason == "equal keys"
    for adverts in ([1, 1, 2], [1, 2, 2], [1, 2, 0], [1, 2]):
        play = Round(full(4, dropping=0)).until(Step.SHARE)
        told = {
            u: b"".join(messages.encode({**fields(play.letters[Step.ADVERTISE, v]), "sender": u}))
            for u, v in enumerate([0, *adverts])
        }
        asked = altered(play.asked[0], {"adverts": [told[u + 1] for u in range(len(adverts))]})
        with pytest.raises(federated.RoundError) as caught:
            play.clients[0].share(asked)
        assert caught.value.reason == ("equal keys" if len(adverts) == 3 else "too few")


# --- A server that deviates ----------------------------------------------------------------------


@pytest.mark.parametrize("step", SIGNED.steps[1:], ids=[s.label for s in SIGNED.steps[1:]])
def test_no_byte_of_the_servers_letters_changes_what_a_client_gives_away(step: Step) -> None:
    """It refuses, or answers what the server can do nothing with, or what it would have anyway."""
    play = Round(SIGNED).until(step)
    honest = play.answer(step, 1, play.copy(1))
    given = fields(honest[:-64])["body"]
    saved, tolerated = play.clients[1].save(), 0
    _, head = messages.opened(play.asked[1])
    padding = range(messages.START.size + head, messages.START.size + head + -head % 16)
    for place in set(range(len(play.asked[1]))) - set(padding):
        client = federated.RoundClient.restore(SIGNED, 1, 1, saved, identity=PRIVATE[1])
        asked = flipped(play.asked[1], place, place % 8)
        try:
            answer = fields(play.answer(step, 1, client, asked)[:-64])["body"]
        except federated.RoundError:
            continue
        tolerated += 1
        if step is Step.MASK:  # a neighbour's shares are no longer those that it has sealed
            np.testing.assert_array_equal(answer["masked"], given["masked"])
            assert len(letters.unpacked(client._context, answer["accused"], 4)) == 1
        elif step is Step.AGREE:
            assert not play.server.collect(client._context.write(step, 1, answer, PRIVATE[1]))
        else:
            raise AssertionError(f"byte {place} of the letter of {step.label} does not matter")
    assert tolerated < 0.9 * len(play.asked[1])


def unmasking(survivors: list[int], signers: dict[int, bytes]) -> dict[str, Any]:
    return {
        "survivors": letters.packed(survivors, 4),
        "signers": letters.packed(signers, 4),
        "signatures": b"".join(signers[u] for u in sorted(signers)),
    }


def test_a_client_unmasks_one_set_that_a_quorum_has_signed() -> None:
    play = Round(SIGNED).until(Step.UNMASK)
    signed = {u: play.letters[Step.AGREE, u][-64:] for u in range(4)}
    context = play.clients[0]._context
    for survivors, signers, reason in (
        ([0, 1, 2], signed, "inconsistent"),
        ([0, 1, 2, 3], {u: signed[u] for u in (0, 1)}, "too few"),
        ([0, 1, 2, 3], {**signed, 3: signed[2]}, "signature"),
        ([0, 1, 2, 3], {}, "too few"),
    ):
        letter = context.write(Step.UNMASK, SERVER, unmasking(survivors, signers))
        with pytest.raises(federated.RoundError) as caught:
            play.copy(0).unmask(letter)
        assert caught.value.reason == reason


def test_a_client_that_signs_another_set_is_left_out() -> None:
    play = Round(SIGNED).until(Step.AGREE)
    survivors = {"survivors": letters.packed([0, 1, 2], 4)}
    letter = play.clients[1]._context.write(Step.AGREE, 1, survivors, PRIVATE[1])
    assert not play.server.collect(letter)
    assert play.server.record.refused[-1] == ("agree", 1, "malformed")


def test_a_signature_that_others_could_not_check_does_not_count() -> None:
    """A client that signs another encoding of the same set does not spoil the round."""
    play = Round(SIGNED).until(Step.AGREE)
    letter = play.answer(Step.AGREE, 1)
    _, head = messages.opened(letter)
    assert head % 16
    text = flipped(letter[:-64], messages.START.size + head)  # of what fills up a block
    assert messages.decode(text) == messages.decode(letter[:-64])
    other = text + keys.signed(PRIVATE[1], letters._hashed(text))
    assert not play.server.collect(other)
    assert play.server.record.refused[-1] == ("agree", 1, "malformed")
    assert play.server.collect(letter)


def test_signatures_of_who_has_dropped_out_do_not_count() -> None:
    setup = full(4, dropping=1, corrupt=0, signed=True)
    play = Round(setup, change=changing(Step.MASK, 3, lambda x: None)).until(Step.AGREE)
    body = {"survivors": letters.packed([0, 1, 2], 4)}
    context = play.clients[0]._context
    signed = {u: context.write(Step.AGREE, u, body, PRIVATE[u])[-64:] for u in (0, 1, 3)}
    play.clients[0].agree(play.asked[0])
    letter = context.write(Step.UNMASK, SERVER, unmasking([0, 1, 2], signed))
    with pytest.raises(federated.RoundError, match="3 clients have signed"):
        play.clients[0].unmask(letter)


@pytest.mark.parametrize("setup", [FOLLOWED, SIGNED], ids=["followed", "signed"])
def test_a_client_answers_each_step_once_and_in_order(setup: federated.OneServer) -> None:
    play = Round(setup)
    for step in setup.steps:
        for other in set(Step) - {step}:
            with pytest.raises(federated.RoundError, match="does not answer"):
                play.answer(other, 0)
        asked = dict(play.asked)
        play.step(step)
        with pytest.raises(federated.RoundError, match="each step is answered once"):
            play.answer(step, 0, asked=asked[0])
    with pytest.raises(federated.RoundError, match="it is over for this client"):
        play.clients[0].decline(ValueError())


def test_a_client_refuses_few_others() -> None:
    """With fewer than t holders it shares nothing, masks nothing and unmasks nothing."""
    setup = full(4, dropping=1)
    play = Round(setup).until(Step.SHARE)
    body = fields(play.asked[0])["body"]
    with pytest.raises(federated.RoundError, match="has 2 holders of shares, at least 3 are need"):
        play.copy(0).share(altered(play.asked[0], {"adverts": body["adverts"][:1]}))
    play.step(Step.SHARE)
    body = fields(play.asked[0])["body"]
    one = {"dealers": letters.packed([1], 4), "sealed": body["sealed"][:144]}
    with pytest.raises(federated.RoundError, match="has 2 holders of shares, at least 3 are need"):
        play.answer(Step.MASK, 0, play.copy(0), altered(play.asked[0], one))
    play.step(Step.MASK)
    for survivors, reason in (([0, 1], "too few"), ([1, 2, 3], "excluded"), ([], "too few")):
        letter = altered(play.asked[0], {"survivors": letters.packed(survivors, 4)})
        with pytest.raises(federated.RoundError) as caught:
            play.copy(0).unmask(letter)
        assert caught.value.reason == reason
    with pytest.raises(federated.RoundError, match="a set of clients is not one"):
        play.copy(0).unmask(altered(play.asked[0], {"survivors": bytes([0b1100011])}))


def test_who_has_dropped_out_does_not_come_back() -> None:
    gone = changing(Step.SHARE, 3, lambda x: None)
    play = Round(full(5, dropping=2), change=gone).until(Step.UNMASK)
    letter = altered(play.asked[0], {"survivors": letters.packed([0, 1, 2, 3, 4], 5)})
    with pytest.raises(federated.RoundError, match="survivors who had dropped out before"):
        play.clients[0].unmask(letter)


def test_a_client_shares_with_neighbours_and_takes_shares_from_them_alone() -> None:
    gone = changing(Step.ADVERTISE, 3, lambda x: None)
    play = Round(full(5, dropping=2), change=gone).until(Step.SHARE)
    adverts = fields(play.asked[0])["body"]["adverts"]
    another_step = altered(adverts[0], step=int(Step.UNMASK))
    for wrong in ([*adverts, play.letters[Step.ADVERTISE, 0]], [another_step, *adverts[1:]]):
        with pytest.raises(federated.RoundError, match="keys that are no neighbour's"):
            play.copy(0).share(altered(play.asked[0], {"adverts": wrong}))
    play.step(Step.SHARE)
    sealed = fields(play.asked[0])["body"]["sealed"] + bytes(144)
    body = {"dealers": letters.packed([1, 2, 3, 4], 5), "sealed": sealed}
    with pytest.raises(federated.RoundError, match="dealers who are no neighbours"):
        play.answer(Step.MASK, 0, asked=altered(play.asked[0], body))


def test_letters_of_another_round_are_not_answered() -> None:
    play, other = Round(FOLLOWED).until(Step.SHARE), Round(FOLLOWED, 2).until(Step.SHARE)
    with pytest.raises(federated.RoundError, match="of another round or set-up"):
        play.clients[0].share(other.asked[0])
    with pytest.raises(federated.RoundError, match="not the server's of share"):
        play.clients[0].share(play.letters[Step.ADVERTISE, 0])


def test_of_each_client_one_secret_is_told_and_never_both() -> None:
    gone = changing(Step.MASK, 2, lambda x: None)
    play = Round(full(4, dropping=1), change=gone).until(None)
    by_dealer: dict[int, set[bytes]] = {u: set() for u in range(4)}
    for u in (0, 1, 3):
        shares = fields(play.letters[Step.UNMASK, u])["body"]["shares"]
        for v in range(4):
            by_dealer[v].add(shares[32 * v : 32 * v + 32])
    assert all(len(found) == 3 for found in by_dealer.values())
    play = Round(full(4, dropping=1), change=gone).until(Step.SHARE)  # the same randomness
    for v, found in by_dealer.items():
        client = play.clients[v]
        secrets = {"seed": client._seed, "key": client._mask_key}
        play.answer(Step.SHARE, v)
        points = {}
        for share in found:  # whose points are among 1, 2 and 4
            points[len(points)] = share
        assert any(
            shamir.reconstruct(dict(zip(order, found, strict=True)))
            == secrets["key" if v == 2 else "seed"]
            for order in ((1, 2, 4), (1, 4, 2), (2, 1, 4), (2, 4, 1), (4, 1, 2), (4, 2, 1))
        )


def test_errors_tell_no_secret() -> None:
    play = Round(FOLLOWED).until(Step.MASK)
    with pytest.raises(federated.UpdateError) as caught:
        play.clients[0].mask(play.asked[0], np.full(40, 7.25), 1)
    assert "7.25" not in str(caught.value)
    assert keys.public_of(play.clients[0]._mask_key).hex() not in repr(play.clients[0])
    declined = play.clients[0].decline(ValueError("7.25"))
    assert fields(declined)["body"] == {"declined": "other"}
    assert play.server.collect(declined) and play.server.record.declined == {0: "other"}
    told = play.clients[1]._context.write(Step.MASK, 1, {"declined": "x" * 100})
    assert play.server.collect(told) and play.server.record.declined[1] == "other"
