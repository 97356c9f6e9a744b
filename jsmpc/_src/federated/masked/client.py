"""A client's part of a round with one server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgpack
import numpy as np

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.masked import keys, letters, masks, shamir
from jsmpc._src.federated.masked.failures import RoundError
from jsmpc._src.federated.masked.letters import SERVER, Step
from jsmpc._src.federated.masked.setup import COMMITTED, SEALED, OneServer

NO_SHARE = b"\xff" * shamir.SIZE  # which is no element of the field
Kind = Literal["seed", "key"]  # what is shared
DECLINED = ("not finite", "beyond the clip", "wrong shape or dtype", "weight out of range", "other")


class RoundClient:
    """One client in one round: a method for each step, which takes and gives bytes.

    The protocol, for client u, whose holders are its neighbours and itself (without identities
    there are no signatures, and no step 4):

    1. `advertise`: u draws two key pairs of X25519, for channels and for masks, and a seed b. It
       signs and sends both public keys and a hash of b.
    2. `share`: u gets those of its neighbours. It refuses equal keys, keys that are not signed,
       and fewer than t holders. It shares b and the private key of masks by Shamir's t of them,
       encrypts to each its two shares under a key that both agree on, and sends that with a hash
       of each share.
    3. `mask`: u gets what its neighbours encrypted to it; it refuses if fewer than t holders are
       left, and names those whose shares are not what they were hashed from. It sends
       x + PRG(b) + Σ ±PRG(k_v) over its neighbours v that are left, where both draw from the k_v
       that they agree on, + if u < v and − otherwise; x is its quantized update with its weight,
       and a one, by which the server sees that no mask is left.
    4. `agree`: u gets the set of those whose masked updates count. It refuses fewer than the
       quorum, and a set without itself; it signs the set.
    5. `unmask`: u gets the signatures of others. It refuses fewer than the quorum of the set that
       it has signed. It sends, of each client that it holds shares of, that of b if the client is
       in the set, and otherwise that of its private key of masks; never both.

    The server (`RoundServer`) takes from the sum PRG(b) of those in the set, and the masks between
    them and those who dropped out after step 2, whose keys it reconstructs.

    Each method can answer once in a round; an object is one client in one round, and the next
    round has another number. A number must never be used for a second round: keep a counter.

    Args:
      setup: as the server's.
      number: of this client, from 0 on.
      round_number: of this round, which the caller knows, and does not take from the server.
      identity: its private key of signatures, if the set-up has identities.
      entropy: gives so many random bytes; the operating system's, for all but tests.

    Raises:
      FederatedError: for a number or an identity that the set-up does not have.

    Example:
      See `OneServer`; with two clients, by hand:

      >>> import jax, numpy as np
      >>> from jsmpc import federated
      >>> setup = federated.OneServer.full(
      ...     clients=2, dropping=0, quantization=federated.Quantization(clip=1.0),
      ...     like=jax.ShapeDtypeStruct((2,), np.float32))
      >>> server = federated.RoundServer(setup, 7)
      >>> alice, bob = (federated.RoundClient(setup, i, 7) for i in range(2))
      >>> for client in (alice, bob):
      ...     _ = server.collect(client.advertise())
      >>> asked = server.close()
      >>> for client in (alice, bob):
      ...     _ = server.collect(client.share(asked[client.number]))
      >>> asked = server.close()
      >>> for client in (alice, bob):
      ...     update = np.float32([client.number, 0.25])
      ...     _ = server.collect(client.mask(asked[client.number], update))
      >>> asked = server.close()
      >>> for client in (alice, bob):
      ...     _ = server.collect(client.unmask(asked[client.number]))
      >>> server.close()
      {}
      >>> print(server.result().mean.round(3))
      [0.5  0.25]
    """

    def __init__(
        self,
        setup: OneServer,
        number: int,
        round_number: int,
        *,
        identity: bytes | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        if not 0 <= number < setup.clients:
            raise FederatedError(f"one server: there are {setup.clients} clients, none is {number}")
        if (identity is not None) != setup.is_active or (
            identity is not None and keys.identity_of(identity) != setup.identities[number]
        ):
            raise FederatedError(
                f"one server: the identity of client {number} is not the private key of its public "
                "one in the set-up"
            )
        self.setup, self.number, self.round_number = setup, number, round_number
        self.clipped = 0  # how many coordinates of its update were beyond the clip
        self._context = setup.context(round_number)
        self._identity, self._entropy = identity, entropy
        self._neighbours = setup.neighbours_of(number, round_number)
        self._next: Step | None = Step.ADVERTISE
        self._channel = self._mask_key = self._seed = b""
        self._keys: dict[int, tuple[bytes, bytes]] = {}  # of neighbours: channels, masks
        self._shares: dict[int, bytes] = {}  # that it holds: of the seed, and of the key
        self._dealers: tuple[int, ...] = ()  # those of whom it is to hold shares
        self._survivors: tuple[int, ...] = ()

    def advertise(self) -> bytes:
        """Step 1: its public keys.

        Raises:
          RoundError: if it has answered this step, as all other methods do.
        """
        self._require(Step.ADVERTISE)
        # all three are elements of the field; any bytes are a private key of X25519
        self._channel, self._mask_key, self._seed = (shamir.draw(self._entropy) for _ in range(3))
        return self._answer(
            Step.ADVERTISE,
            channel=keys.public_of(self._channel),
            mask=keys.public_of(self._mask_key),
            seed=keys.commitment(self._context.about, f"seed of {self.number}", self._seed),
        )

    def share(self, message: bytes) -> bytes:
        """Step 2: shares of its secrets for its neighbours, who are in the server's message.

        Raises:
          RoundError: if the message is not what it is to be, a key is there twice, or there are
            fewer than t holders.
        """
        (adverts,) = self._read(Step.SHARE, message, adverts=list)
        found = dict(self._advertised(advert) for advert in adverts)
        own = keys.public_of(self._channel), keys.public_of(self._mask_key)
        public = [key for pair in (own, *found.values()) for key in pair]
        if len(found) != len(adverts) or len(set(public)) != len(public):
            self._context.refuse("equal keys", "two clients, or purposes, have the same key")
        holders = self._enough({*found, self.number}, "holders of shares")
        points = [u + 1 for u in holders]
        dealt = [
            shamir.share(secret, self.setup.threshold, points, self._entropy)
            for secret in (self._seed, self._mask_key)
        ]
        channel = keys.agreement(self._channel)
        sealed, committed = [], []
        for v, of_seed, of_key in zip(holders, *dealt, strict=True):
            hashes = self._hashes(self.number, v, of_seed + of_key)
            committed.append(hashes)
            if v == self.number:
                self._shares[v] = of_seed + of_key
            else:
                key = self._derived(channel(found[v][0]), f"shares from {self.number} to {v}")
                sealed.append(keys.sealed(key, of_seed + of_key, hashes))
        self._keys = found
        return self._answer(Step.SHARE, sealed=b"".join(sealed), commitments=b"".join(committed))

    def mask(
        self, message: bytes, update: Any, weight: int = 1, noise: np.ndarray | None = None
    ) -> bytes:
        """Step 3: its masked update.

        Args:
          update: a pytree as `setup.like`; weight: an integer; noise: see `Quantization.encode`.

        Raises:
          UpdateError: for an update or a weight that cannot be encoded. The step can be tried
            again with another one, or be declined.
          RoundError: if the message is not what it is to be, or fewer than t holders are left.
        """
        setup = self.setup
        self._require(Step.MASK)
        ring = 8 * setup.dtype.itemsize
        vector = setup.like.flatten(update)
        encoded = setup.quantization.encode(vector, weight, ring=ring, noise=noise)
        dealers, sealed = self._read(Step.MASK, message, dealers=bytes, sealed=bytes)
        left = letters.unpacked(self._context, dealers, setup.clients)
        if not set(left) <= set(self._keys):
            self._context.refuse("malformed", "there are dealers who are no neighbours")
        self._dealers = self._enough({*left, self.number}, "holders of shares")
        found = self._opened(left, sealed)
        self._shares = {self.number: self._shares[self.number], **found}
        self.clipped = encoded.clipped
        words = np.append(encoded.words, setup.dtype.type(1))
        return self._answer(
            Step.MASK,
            masked=masks.added(words, self._masks(left)),
            accused=letters.packed(set(left) - set(found), setup.clients),
        )

    def agree(self, message: bytes) -> bytes:
        """Step 4, against a server that may deviate: its signature of the set that counts.

        Raises:
          RoundError: if the set is smaller than the quorum, or this client is not in it.
        """
        (survivors,) = self._read(Step.AGREE, message, survivors=bytes)
        self._survivors = self._counted(survivors)
        return self._answer(Step.AGREE, survivors=survivors)

    def unmask(self, message: bytes) -> bytes:
        """Step 5: the shares by which the sum, and nothing else, is unmasked.

        Raises:
          RoundError: if the set is smaller than the quorum, is not the one that it has signed, or
            too few have signed it; or this client is not in it.
        """
        survivors, signers, signatures = self._read(
            Step.UNMASK, message, survivors=bytes, signers=bytes, signatures=bytes
        )
        counted = self._counted(survivors)
        if self.setup.is_active:
            if counted != self._survivors:
                self._context.refuse("inconsistent", "the set that counts is another one")
            self._require_agreement(survivors, signers, signatures)
        size = shamir.SIZE
        found = []
        for v in self._dealers:
            shares = self._shares.get(v, 2 * NO_SHARE)
            found.append(shares[:size] if v in counted else shares[size:])
        self._forget()
        return self._answer(Step.UNMASK, shares=b"".join(found))

    def decline(self, error: Exception) -> bytes:
        """In place of the answer to a step: that it takes no further part in the round.

        The server learns, and records, why: the reason of an `UpdateError`, or "other".
        """
        step, self._next = self._next, None
        if step is None:
            raise RoundError(f"{self._context.name}: it is over for this client", "over")
        self._forget()
        reason = getattr(error, "reason", "other")
        told = reason if reason in DECLINED else "other"
        return self._context.write(step, self.number, {"declined": told}, self._identity)

    def save(self) -> bytes:
        """All that it has to remember between steps, for `restore` in another process.

        It holds secrets, and is for this client's own disk or memory alone. A state must not be
        restored after a later step has been answered: that would be answering twice.
        """
        fields = (self._channel, self._mask_key, self._seed)
        return msgpack.packb(
            {
                "about": self._context.about,
                "next": -1 if self._next is None else int(self._next),
                "secrets": fields,
                "keys": [[v, *pair] for v, pair in self._keys.items()],
                "shares": list(self._shares.items()),
                "dealers": self._dealers,
                "survivors": self._survivors,
                "clipped": self.clipped,
            }
        )

    @classmethod
    def restore(
        cls,
        setup: OneServer,
        number: int,
        round_number: int,
        saved: bytes,
        *,
        identity: bytes | None = None,
    ) -> RoundClient:
        """The client that was saved, with the same set-up, number and round.

        Raises:
          FederatedError: for what was saved in another round or of another set-up.
        """
        client = cls(setup, number, round_number, identity=identity)
        state = msgpack.unpackb(saved, use_list=False)
        if state["about"] != client._context.about:
            raise FederatedError("one server: the saved client is of another round or set-up")
        client._next = None if state["next"] < 0 else Step(state["next"])
        client._channel, client._mask_key, client._seed = state["secrets"]
        client._keys = {v: (channel, mask) for v, channel, mask in state["keys"]}
        client._shares = dict(state["shares"])
        client._dealers, client._survivors = state["dealers"], state["survivors"]
        client.clipped = state["clipped"]
        return client

    @property
    def next_step(self) -> str | None:
        """The name of the step that it answers next; None when it is over."""
        return None if self._next is None else self._next.label

    def _require(self, step: Step) -> None:
        if self._next is not step:
            now = "is over" if self._next is None else f"is at {self._next.label}"
            raise RoundError(
                f"{self._context.name}: client {self.number} {now}, and does not answer "
                f"{step.label}: each step is answered once, in order",
                "out of order",
            )

    def _read(self, step: Step, message: bytes, **kinds: type) -> list[Any]:
        self._require(step)
        limit = self.setup.limit(step, to_client=True)
        found, sender, body = self._context.read(message, limit)
        if found is not step or sender != SERVER:
            self._context.refuse("out of order", f"it is not the server's of {step.label}")
        return letters.fields(self._context, body, **kinds)

    def _answer(self, step: Step, **body: Any) -> bytes:
        steps = self.setup.steps
        after = steps.index(step) + 1
        self._next = steps[after] if after < len(steps) else None
        return self._context.write(step, self.number, body, self._identity)

    def _advertised(self, data: Any) -> tuple[int, tuple[bytes, bytes]]:
        """A neighbour and its two public keys."""
        step, sender, body = self._context.read(data, self.setup.limit(Step.ADVERTISE))
        if step is not Step.ADVERTISE or sender not in self._neighbours:
            self._context.refuse("malformed", "there are keys that are no neighbour's")
        channel, mask, _ = advertised(self._context, body)
        return sender, (channel, mask)

    def _enough(self, holders: Iterable[int], what: str) -> tuple[int, ...]:
        found = tuple(sorted(holders))
        if len(found) < self.setup.threshold:
            raise RoundError(
                f"{self._context.name}: client {self.number} has {len(found)} {what}, at least "
                f"{self.setup.threshold} are needed. Repeat the round under the next number",
                "too few",
            )
        return found

    def _counted(self, survivors: bytes) -> tuple[int, ...]:
        found = letters.unpacked(self._context, survivors, self.setup.clients)
        if len(found) < self.setup.least:
            raise RoundError(
                f"{self._context.name}: a sum of {len(found)} clients is not unmasked, the quorum "
                f"is {self.setup.least}. Repeat the round under the next number",
                "too few",
            )
        if self.number not in found:
            self._context.refuse("excluded", "this client is not in the set that counts")
        strangers = self._neighbours.intersection(found) - set(self._dealers)
        if strangers:
            self._context.refuse("inconsistent", "there are survivors who had dropped out before")
        return found

    def _require_agreement(self, survivors: bytes, signers: bytes, signatures: bytes) -> None:
        setup, context = self.setup, self._context
        who = letters.unpacked(context, signers, setup.clients)
        signed = letters.pieces(context, signatures, keys.SIGNATURE, len(who))
        body = {"survivors": survivors}
        for u, signature in zip(who, signed, strict=True):
            letter = context.write(Step.AGREE, u, body) + signature
            context.read(letter, setup.limit(Step.AGREE))
        if len(who) < setup.least or not set(who) <= set(self._survivors):
            raise RoundError(
                f"{context.name}: {len(who)} clients have signed the set that counts, the quorum "
                f"is {setup.least}. Repeat the round under the next number",
                "too few",
            )

    def _derived(self, agreed: bytes | None, purpose: str) -> bytes:
        if agreed is None:
            self._context.refuse("malformed", "there is a key that agrees with no others")
        assert agreed is not None
        return keys.derived(agreed, self._context.about, purpose)

    def _hashes(self, dealer: int, holder: int, shares: bytes) -> bytes:
        halves: dict[Kind, bytes] = {"seed": shares[: shamir.SIZE], "key": shares[shamir.SIZE :]}
        about = self._context.about
        return b"".join(share_hash(about, k, dealer, holder, x) for k, x in halves.items())

    def _opened(self, dealers: Sequence[int], sealed: bytes) -> dict[int, bytes]:
        """Neighbours' shares, of those who have sealed shares that they have committed to."""
        channel, found = keys.agreement(self._channel), {}
        each = letters.pieces(self._context, sealed, COMMITTED + SEALED, len(dealers))
        for v, piece in zip(dealers, each, strict=True):
            hashes = piece[:COMMITTED]
            key = self._derived(channel(self._keys[v][0]), f"shares from {v} to {self.number}")
            shares = keys.opened(key, piece[COMMITTED:], hashes)
            if shares is None or hashes != self._hashes(v, self.number, shares):
                continue
            if all(map(shamir.is_element, (shares[: shamir.SIZE], shares[shamir.SIZE :]))):
                found[v] = shares
        return found

    def _masks(self, others: Sequence[int]) -> Iterator[tuple[bytes, bool]]:
        """Its own mask, and those with others: keys, and whether they are taken away."""
        yield keys.derived(self._seed, self._context.about, "own mask"), False
        with_others = keys.agreement(self._mask_key)
        for v in others:
            agreed = with_others(self._keys[v][1])
            yield self._derived(agreed, mask_purpose(self.number, v)), self.number > v

    def _forget(self) -> None:
        self._channel = self._mask_key = self._seed = b""
        self._shares.clear()


def advertised(context: letters.Context, body: Mapping[str, Any]) -> list[bytes]:
    """The public keys of channels and of masks, and the hash of the seed, of a letter's body."""
    found = letters.fields(context, body, channel=bytes, mask=bytes, seed=bytes)
    channel, mask, seed = found
    if not (shamir.is_element(channel) and shamir.is_element(mask)):
        context.refuse("malformed", "a key is no coordinate of Curve25519")
    if len(seed) != keys.COMMITMENT:
        context.refuse("malformed", "a hash has another length")
    return found


def share_hash(about: bytes, kind: Kind, dealer: int, holder: int, share: bytes) -> bytes:
    """What a dealer commits to: one of its two shares for a holder."""
    return keys.commitment(about, f"share of the {kind} of {dealer} at {holder}", share)


def mask_purpose(u: int, v: int) -> str:
    """Of the mask between two clients: the same for both."""
    return f"mask of {min(u, v)} and {max(u, v)}"
