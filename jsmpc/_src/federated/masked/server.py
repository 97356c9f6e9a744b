"""The server's part of a round: what it sends on, and how the sum comes out."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jsmpc._src.federated.masked import keys, letters, masks, shamir
from jsmpc._src.federated.masked.client import (
    DECLINED,
    NO_SHARE,
    Kind,
    advertised,
    mask_purpose,
    share_hash,
)
from jsmpc._src.federated.masked.failures import RoundError
from jsmpc._src.federated.masked.letters import SERVER, Step
from jsmpc._src.federated.masked.record import Refusal, RoundRecord, RoundResult
from jsmpc._src.federated.masked.setup import COMMITTED, SEALED, OneServer


class _Dealt(NamedTuple):
    """What a client has dealt to its holders, in their order, itself left out of what is sealed."""

    dealer: int
    holders: tuple[int, ...]
    sealed: bytes
    hashes: bytes

    def sealed_for(self, holder: int) -> bytes:
        place = bisect.bisect_left(self.holders, holder) - (holder > self.dealer)
        return self.sealed[SEALED * place : SEALED * (place + 1)]

    def hashes_for(self, holder: int) -> bytes:
        place = bisect.bisect_left(self.holders, holder)
        return self.hashes[COMMITTED * place : COMMITTED * (place + 1)]

    def hash_for(self, holder: int, kind: Kind) -> bytes:
        found = self.hashes_for(holder)
        return found[: keys.COMMITMENT] if kind == "seed" else found[keys.COMMITMENT :]


class _Advert(NamedTuple):
    letter: bytes
    mask: bytes  # the public key
    seed: bytes  # its hash


class RoundServer:
    """The server in one round: it takes clients' messages as they come, and closes a step.

    Messages that are no valid answers to the step are recorded and otherwise ignored. Whoever has
    not answered when a step is closed has dropped out. See `RoundClient` for the protocol and for
    an example.

    Found out, and named in the error or the record: a client that sends no valid message, or more
    than one; one whose shares do not open at another client ("accused", which the other client
    may have made up); one that gives a share other than its owner has committed to
    ("false_shares", which is proof where letters are signed); one whose valid shares do not make
    the secret that it has committed to (the round ends with its name, and can be repeated without
    it). A client that masks otherwise than it has agreed spoils the sum, which is found, and ends
    the round without a name. Not found out: an update that is not what the client learnt.

    Args:
      setup: as the clients'.
      round_number: which no round had before.

    Example:
      See `RoundClient`.
    """

    def __init__(self, setup: OneServer, round_number: int) -> None:
        self.setup, self.record = setup, RoundRecord(round_number)
        self._context = setup.context(round_number)
        self._graph = [setup.neighbours_of(u, round_number) for u in range(setup.clients)]
        self._open: Step | None = Step.ADVERTISE
        self._expected = frozenset(range(setup.clients))
        self._answers: dict[int, Any] = {}
        self._failed = False
        self._public: set[bytes] = set()  # all keys that were advertised
        self._adverts: dict[int, _Advert] = {}
        self._holders: dict[int, tuple[int, ...]] = {}  # of each dealer
        self._dealt: dict[int, _Dealt] = {}  # by dealer
        self._dealers: dict[int, tuple[int, ...]] = {}  # of each holder
        self._total = np.zeros(setup.words, setup.dtype)
        self._result: RoundResult | None = None

    @property
    def step(self) -> str | None:
        """The name of the step that is open; None when the round is over."""
        return None if self._open is None else self._open.label

    @property
    def waiting(self) -> frozenset[int]:
        """Those who have not answered the open step."""
        return self._expected - set(self._answers) - set(self.record.declined)

    def collect(self, message: bytes) -> bool:
        """Takes a client's message; whether it was one that the open step waits for."""
        sender: int | None = None
        try:
            if self._open is None:
                self._context.refuse("late", "the round is over")
            limit = max(map(self.setup.limit, self.setup.steps)) + keys.SIGNATURE
            step, sender, body = self._context.read(message, limit)
            self._require_awaited(step, sender)
            if set(body) == {"declined"}:
                (reason,) = letters.fields(self._context, body, declined=str)
                self.record.declined[sender] = reason if reason in DECLINED else "other"
            else:
                self._answers[sender] = self._taken(step, sender, body, message)
        except RoundError as error:
            self.record.refused.append(Refusal(self.step or "over", sender, error.reason))
            return False
        return True

    def close(self) -> dict[int, bytes]:
        """Ends the step: those who have not answered have dropped out.

        Returns:
          A message for each client that is left, for its next step; none when the round is over.

        Raises:
          RoundError: if too few are left, or a client's shares are inconsistent: the round is over,
            and can be repeated under the next number.
        """
        step = self._open
        if step is None or self._failed:
            raise RoundError(f"{self._context.name}: it is over", "over")
        for u in sorted(self._expected - set(self._answers)):
            self.record.dropped[u] = step.label
        try:
            return self._closed(step, frozenset(self._answers))
        except RoundError:
            self._open, self._failed = None, True
            raise

    def result(self) -> RoundResult:
        """The weighted mean, when the round is over.

        Raises:
          RoundError: before, and after a round that has failed.
        """
        if self._result is None:
            raise RoundError(f"{self._context.name}: it has no result", "no result")
        return self._result

    # --- Answers ---------------------------------------------------------------------------------

    def _require_awaited(self, step: Step, sender: int) -> None:
        assert self._open is not None
        refuse = self._context.refuse
        if not 0 <= sender < self.setup.clients:
            refuse("unknown", "it is from no client")
        if step < self._open:
            repeated = sender not in self.record.dropped and sender not in self.record.excluded
            refuse("duplicate" if repeated else "late", "its step is closed")
        if step is not self._open:
            refuse("out of order", "its step is not open")
        if sender not in self._expected or sender in self.record.declined:
            refuse("excluded", "its sender is not in the round any more")
        if sender in self._answers:
            refuse("duplicate", "its sender has answered")

    def _taken(self, step: Step, u: int, body: dict[str, Any], message: bytes) -> Any:
        """What is kept of an answer."""
        context, setup = self._context, self.setup
        match step:
            case Step.ADVERTISE:
                channel, mask, seed = advertised(context, body)
                if not (keys.has_order(channel) and keys.has_order(mask)):
                    context.refuse("malformed", "its keys agree with no others")
                if channel == mask or self._public & {channel, mask}:
                    context.refuse("equal keys", "its keys are another's")
                self._public |= {channel, mask}
                return _Advert(bytes(message), mask, seed)
            case Step.SHARE:
                sealed, committed = letters.fields(context, body, sealed=bytes, commitments=bytes)
                holders = self._holders[u]
                if [len(sealed), len(committed)] != [
                    SEALED * (len(holders) - 1),
                    COMMITTED * len(holders),
                ]:
                    context.refuse("malformed", "it has shares for others than its holders")
                return _Dealt(u, holders, sealed, committed)
            case Step.MASK:
                masked, accused = letters.fields(context, body, masked=np.ndarray, accused=bytes)
                if masked.dtype != setup.dtype or masked.shape != (setup.words,):
                    context.refuse("malformed", "its masked update has another shape or dtype")
                named = letters.unpacked(context, accused, setup.clients)
                if not set(named) <= set(self._dealers[u]) - {u}:
                    context.refuse("malformed", "it accuses those of whom it has no shares")
                self._total += masked
                return named
            case Step.AGREE:
                (survivors,) = letters.fields(context, body, survivors=bytes)
                if letters.unpacked(context, survivors, setup.clients) != self.record.survivors:
                    context.refuse("malformed", "it signs another set")
                text = context.write(Step.AGREE, u, body)
                signature = bytes(message)[len(text) :]
                if len(signature) != keys.SIGNATURE or not bytes(message).startswith(text):
                    context.refuse("malformed", "others could not check its signature")
                return signature
            case Step.UNMASK:
                (shares,) = letters.fields(context, body, shares=bytes)
                return letters.pieces(context, shares, shamir.SIZE, len(self._dealers[u]))

    # --- Steps -----------------------------------------------------------------------------------

    def _closed(self, step: Step, here: frozenset[int]) -> dict[int, bytes]:
        answers, self._answers = self._answers, {}
        match step:
            case Step.ADVERTISE:
                here = self._connected(here)
                self._adverts = {u: answers[u] for u in here}
                self._holders = {u: self._around(u, here) for u in here}
                return self._ask(Step.SHARE, here, self._adverts_for)
            case Step.SHARE:
                here = self._connected(here)
                self._dealt = {u: answers[u] for u in here}
                self._dealers = {u: self._around(u, here) for u in here}
                return self._ask(Step.MASK, here, self._shares_for)
            case Step.MASK:
                self._require_enough(here)
                for u, named in sorted(answers.items()):
                    for v in named:
                        self.record.accused.setdefault(v, []).append(u)
                self.record.survivors = tuple(sorted(here))
                if self.setup.is_active:
                    return self._ask(Step.AGREE, here, lambda u: {"survivors": self._survivors})
                return self._ask_to_unmask(here, {})
            case Step.AGREE:
                self._require_enough(here)
                return self._ask_to_unmask(here, answers)
            case Step.UNMASK:
                self._open = None
                self._result = self._unmasked(answers)
                return {}

    def _ask(self, step: Step, here: frozenset[int], body: Any) -> dict[int, bytes]:
        self._open, self._expected = step, here
        return {u: self._context.write(step, SERVER, body(u)) for u in sorted(here)}

    def _adverts_for(self, u: int) -> dict[str, Any]:
        return {"adverts": [self._adverts[v].letter for v in self._holders[u] if v != u]}

    def _shares_for(self, u: int) -> dict[str, Any]:
        dealers = [v for v in self._dealers[u] if v != u]
        dealt = [self._dealt[v] for v in dealers]
        sealed = b"".join(d.hashes_for(u) + d.sealed_for(u) for d in dealt)
        return {"dealers": letters.packed(dealers, self.setup.clients), "sealed": sealed}

    def _ask_to_unmask(self, here: frozenset[int], signed: dict[int, bytes]) -> dict[int, bytes]:
        body = {
            "survivors": self._survivors,
            "signers": letters.packed(signed, self.setup.clients),
            "signatures": b"".join(signed[u] for u in sorted(signed)),
        }
        return self._ask(Step.UNMASK, here, lambda u: body)

    @property
    def _survivors(self) -> bytes:
        return letters.packed(self.record.survivors, self.setup.clients)

    def _around(self, u: int, here: frozenset[int]) -> tuple[int, ...]:
        """A client and its neighbours, of those who are here."""
        return tuple(sorted((self._graph[u] | {u}) & here))

    def _connected(self, here: frozenset[int]) -> frozenset[int]:
        """Those who have enough holders among them; the others are excluded."""
        self._require_enough(here)
        while True:
            few = {u for u in here if len(self._around(u, here)) < self.setup.threshold}
            if not few:
                break
            here -= few
            for u in sorted(few):
                self.record.excluded[u] = "too few neighbours"
        self._require_enough(here)
        return here

    def _require_enough(self, here: frozenset[int]) -> None:
        assert self._open is not None
        if len(here) < self.setup.least:
            raise RoundError(
                f"{self._context.name}: {self._open.label}: {len(here)} clients are there, at "
                f"least {self.setup.least} are needed. Repeat the round under the next number",
                "too few",
            )

    # --- The sum ---------------------------------------------------------------------------------

    def _unmasked(self, answers: dict[int, list[bytes]]) -> RoundResult:
        shares = self._valid_shares(answers)
        total = masks.added(self._total, self._masks(shares))
        self._require_sum(total)
        mean, weight = self.setup.quantization.decode(total[:-1])
        return RoundResult(self.setup.like.unflatten(mean), weight, self.record)

    def _require_sum(self, total: np.ndarray) -> None:
        """Masks that are left over are seen at the words of which the sum is known, but for a
        probability of 2^-32 or less."""
        count, most = len(self.record.survivors), self.setup.quantization.most_weight
        weight, ones = total[-2:].tolist()
        if ones != count or not count <= weight <= count * most:
            raise RoundError(
                f"{self._context.name}: the sum is none of {count} updates: a client, or someone "
                "on the way, has changed a masked update. Repeat the round under the next number",
                "no sum",
            )

    def _valid_shares(self, answers: dict[int, list[bytes]]) -> dict[int, dict[int, bytes]]:
        """By dealer, the shares that are those which it has committed to, by point."""
        survivors = set(self.record.survivors)
        found: dict[int, dict[int, bytes]] = {v: {} for v in self._dealers}
        for u, shares in sorted(answers.items()):
            for v, share in zip(self._dealers[u], shares, strict=True):
                if share == NO_SHARE:
                    continue
                kind: Kind = "seed" if v in survivors else "key"
                hashed = share_hash(self._context.about, kind, v, u, share)
                if shamir.is_element(share) and hashed == self._dealt[v].hash_for(u, kind):
                    found[v][u + 1] = share
                else:
                    self.record.false_shares.setdefault(u, []).append(v)
        return found

    def _masks(self, shares: dict[int, dict[int, bytes]]) -> Iterator[tuple[bytes, bool]]:
        """What is to be added to the sum, and taken from it, that it be unmasked."""
        about, survivors = self._context.about, set(self.record.survivors)
        secrets = {v: self._secret(v, shares[v]) for v in sorted(self._dealers)}
        for v, secret in secrets.items():
            if v in survivors:
                yield keys.derived(secret, about, "own mask"), True
                continue
            with_others = keys.agreement(secret)
            for u in self._dealers[v]:
                if u in survivors:
                    agreed = with_others(self._adverts[u].mask)
                    if agreed is None:
                        raise self._cheat(u, "its key is none")
                    yield keys.derived(agreed, about, mask_purpose(u, v)), u < v

    def _secret(self, v: int, shares: dict[int, bytes]) -> bytes:
        """What a client has shared: its seed, or its key of masks if it has dropped out."""
        threshold = self.setup.threshold
        if len(shares) < threshold:
            lacking = v in self.record.accused or any(
                v in named for named in self.record.false_shares.values()
            )
            raise RoundError(
                f"{self._context.name}: {len(shares)} valid shares of client {v}'s secret are "
                f"there, {threshold} are needed: too many have dropped out, or sent false ones "
                "(see the record). Repeat the round under the next number",
                "too few",
                (v,) if lacking else (),
            )
        secret = shamir.reconstruct(dict(sorted(shares.items())[:threshold]))
        advert = self._adverts[v]
        if v in self.record.survivors:
            held = keys.commitment(self._context.about, f"seed of {v}", secret) == advert.seed
        else:
            held = keys.public_of(secret) == advert.mask
        if not held:
            raise self._cheat(v, "its shares are inconsistent")
        return secret

    def _cheat(self, v: int, why: str) -> RoundError:
        return RoundError(
            f"{self._context.name}: client {v} has cheated: {why}. Repeat the round without it, "
            "under the next number",
            "inconsistent shares",
            (v,),
        )
