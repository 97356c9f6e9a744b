"""The set-up of aggregation by one server: what all know before the first round."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.masked import graph, keys, shamir
from jsmpc._src.federated.masked.letters import Context, Step
from jsmpc._src.federated.quantization import Quantization
from jsmpc._src.federated.structure import Structure

MOST_CLIENTS = 1 << 16
SEALED = 2 * shamir.SIZE + keys.TAG  # bytes of a client's two shares for another one
COMMITTED = 2 * keys.COMMITMENT  # bytes of the commitments to them
_AROUND = 192  # bytes of a letter beside its contents and signature


class Cost(NamedTuple):
    """What a round costs a client, at most.

    Attributes:
      rounds: messages that it sends one after the other.
      sent: bytes; received: bytes, without the model.
      masks: how many keystreams as long as the update it draws.
    """

    rounds: int
    sent: int
    received: int
    masks: int


@dataclasses.dataclass(frozen=True)
class OneServer:
    """Aggregation by one server that sees sums alone: pairwise masks, with recovery from drop-outs.

    The set-up is public, and equal at the server and all clients. Use `full` or `sparse` to have
    thresholds computed, or give them. A round is run by a `RoundServer` and a `RoundClient` for
    each client, or by `simulate` in one process. The protocol's steps stand in `RoundClient`, what
    is found out about clients that cheat in `RoundServer`, the rounds and bytes in `cost`.

    Attributes:
      clients: how many there are, with the numbers 0, 1, …; they may all drop out of a round.
      quantization: how updates become integers.
      like: a pytree of float arrays, or of `jax.ShapeDtypeStruct`s, as updates are.
      threshold: t, how many shares tell a secret.
      neighbours: k, with how many others a client masks; by default everyone.
      quorum: of how many clients a sum is at least; by default t.
      corrupt: how many clients may collude with the server; by default as many as t allows.
      dropping: how many may drop out before the quorum is missed; it follows if not given.
      identities: public keys of signatures of all clients, by `new_identity`; with them, and only
        with them, the server may deviate from the protocol.
      seed: of the sparse graph, public: bytes that were fixed when nobody knew who is corrupt.

    Guarantee: the server, together with any `corrupt` clients, learns of the others' updates one
    weighted sum, of those who take part, no fewer than quorum − corrupt of the others, and the sum
    of their weights; and who takes part. Clients learn who takes part, and nothing of the sum
    unless the server tells them.

    - Without identities this holds against a server and clients that follow the protocol and put
      together what they see: t > corrupt. Clients by themselves, without the server, learn nothing
      however many they are.
    - With identities it holds against a server and clients that deviate in any way:
      2t > n + corrupt and 2·quorum > n + corrupt, which is t = ⌊2n/3⌋ + 1 for corrupt < n/3, and
      t = ⌊n/2⌋ + 1 against the server alone.
    - In the sparse graph with k < n − 1 these are conditions on every client's neighbours: fewer
      than t are corrupt, or 2t > k + 1 + those that are. They hold, and those who stay are
      connected, but for a probability of 2^-40 over the circle, if who is corrupt and who drops
      out does not depend on it. A server that deviates chooses who drops out, and may cut the
      circle in parts: it then learns the sum of each, of at least t less a client's corrupt
      neighbours.

    Nobody is kept from sending a wrong update: what counts is of each client's own choice. Two
    sums of the same updates, as of a round that is repeated with one client less, differ by that
    client's update: noise for differential privacy bounds what that tells. Who can read the
    messages learns no more than the server does.

    Raises:
      FederatedError: for thresholds that do not hold what is promised, or sums that may wrap.

    Source: Bonawitz and others, Practical secure aggregation for privacy-preserving machine
    learning, CCS 2017, figure 4 and section 6; Bell and others, Secure single-server aggregation
    with (poly)logarithmic overhead, CCS 2020, sections 3 and 4.

    Example:
      Of four clients one drops out after it has sent shares of its keys.

      >>> import jax, numpy as np
      >>> from jsmpc import federated
      >>> setup = federated.OneServer.full(
      ...     clients=4, dropping=1, quantization=federated.Quantization(clip=1.0, most_weight=10),
      ...     like=jax.ShapeDtypeStruct((2,), np.float32))
      >>> updates = np.float32([[0.5, 1], [0.5, -1], [0.25, 0], [1, 1]])
      >>> found = federated.simulate(setup, updates, [1, 1, 2, 9], dropped={3: "mask"})
      >>> print(found.result.mean.round(3), found.result.weight)
      [0.375 0.   ] 4
    """

    clients: int
    quantization: Quantization
    like: Any
    threshold: int
    neighbours: int | None = None
    quorum: int | None = None
    corrupt: int | None = None
    dropping: int | None = None
    identities: Sequence[bytes] = ()
    seed: bytes = b""

    def __post_init__(self) -> None:
        n = self.clients
        _require(2 <= n <= MOST_CLIENTS, f"there are 2 to {MOST_CLIENTS} clients, not {n} of them")
        fill = functools.partial(object.__setattr__, self)
        if not isinstance(self.like, Structure):
            fill("like", Structure.of(self.like))
        fill("identities", tuple(map(bytes, self.identities)))
        fill("neighbours", n - 1 if self.neighbours is None else self.neighbours)
        fill("quorum", self.threshold if self.quorum is None else self.quorum)
        allowed = 2 * self.threshold - n - 1 if self.is_active else self.threshold - 1
        fill("corrupt", min(allowed, n - 2) if self.corrupt is None else self.corrupt)
        if self.dropping is None:
            fill("dropping", n - self.least)
        self._require_identities()
        self._require_thresholds()
        self.quantization.ring_for(n)

    @classmethod
    def full(
        cls,
        *,
        clients: int,
        quantization: Quantization,
        like: Any,
        dropping: int | None = None,
        corrupt: int | None = None,
        identities: Sequence[bytes] = (),
    ) -> OneServer:
        """Everyone masks with everyone (Bonawitz and others), with the least threshold that holds.

        Args:
          dropping: how many may drop out, by default as many as `corrupt` allows.
          corrupt: how many may collude with the server; by default under a third of them, or
            fewer where more than a third may drop out.

        Raises:
          FederatedError: if no threshold serves both.
        """
        if corrupt is None:
            corrupt = (clients - 1) // 3
            if dropping is not None:
                most = clients - 2 * dropping if identities else clients - dropping
                corrupt = max(min(corrupt, most - 1), 0)
        threshold = max((clients + corrupt) // 2 + 1 if identities else corrupt + 1, 2)
        most = clients - threshold
        dropping = most if dropping is None else dropping
        _require(
            0 <= dropping <= most,
            f"of {clients} clients {dropping} may not drop out while {corrupt} are corrupt: at "
            f"most {most}. Take fewer of either",
        )
        return cls(
            clients=clients,
            quantization=quantization,
            like=like,
            threshold=clients - dropping,
            corrupt=corrupt,
            identities=identities,
        )

    @classmethod
    def sparse(
        cls,
        *,
        clients: int,
        quantization: Quantization,
        like: Any,
        dropping: int,
        corrupt: int,
        seed: bytes,
        identities: Sequence[bytes] = (),
    ) -> OneServer:
        """Everyone masks with k others on a random circle (Bell and others), for the least k.

        k and t are the least for which, of n clients of whom c are corrupt and d drop out, at
        random places of the circle:

        - no honest client has t corrupt neighbours, and the honest ones who stay are connected,
          but for a probability of 2^-40: n·P[X ≥ t] + P[disconnected], X being hypergeometric
          (k drawn of n − 1, of whom c are marked). Against a server that may deviate no honest
          client has 2t − k − 1 of them;
        - every client keeps t neighbours, but for a probability of 2^-20: n·P[k − Y < t], Y being
          hypergeometric (k drawn of n − 1, of whom d are marked).

        Clients get their numbers before the seed is known, and nobody chooses it; the circle is
        another one in each round. Those of Bell and others choose neighbours themselves where the
        server may deviate; here the circle is public, and all sign the one set that counts.

        Raises:
          FederatedError: if no graph below the full one serves.
        """
        odds = graph.Odds(clients, corrupt, dropping, bool(identities))
        neighbours, threshold = odds.smallest()
        return cls(
            clients=clients,
            quantization=quantization,
            like=like,
            threshold=threshold,
            neighbours=neighbours,
            quorum=clients - dropping,
            corrupt=corrupt,
            dropping=dropping,
            identities=identities,
            seed=seed,
        )

    @property
    def least(self) -> int:
        """The quorum."""
        assert self.quorum is not None
        return self.quorum

    @property
    def is_active(self) -> bool:
        """Whether the server may deviate from the protocol."""
        return bool(self.identities)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those of a round, in order."""
        return tuple(s for s in Step if self.is_active or s is not Step.AGREE)

    @property
    def dtype(self) -> np.dtype:
        """Of the ring's words."""
        return np.dtype(f"uint{self.quantization.ring_for(self.clients)}")

    @property
    def words(self) -> int:
        """How many words a client sends: of its update, its weight, and a one."""
        return int(self.like.size) + 2

    @functools.cached_property
    def cost(self) -> Cost:
        """What a round costs a client, at most.

        Of w words of b bytes, k neighbours and n clients: it sends w·b + 176·k bytes and receives
        456·k, about 1,000 more each way, and n/4; with identities it receives 64·(k + n) more,
        the others' signatures.
        """
        sent = sum(map(self.limit, self.steps))
        received = sum(self.limit(s, to_client=True) for s in self.steps[1:])
        assert self.neighbours is not None
        return Cost(len(self.steps), sent, received, self.neighbours + 1)

    def limit(self, step: Step, *, to_client: bool = False) -> int:
        """Bytes that a letter of a step has at most, from a client or to one."""
        k, bits = int(self.neighbours or 0), -(-self.clients // 8)
        if to_client:
            advert = self.limit(Step.ADVERTISE) + 16
            signatures = 0
            signers = keys.SIGNATURE * self.clients if self.is_active else 0
            inside = {
                Step.SHARE: k * advert,
                Step.MASK: k * (SEALED + COMMITTED) + bits,
                Step.AGREE: bits,
                Step.UNMASK: 2 * bits + signers,
            }
        else:
            signatures = keys.SIGNATURE if self.is_active else 0
            inside = {
                Step.ADVERTISE: 2 * keys.PUBLIC + keys.COMMITMENT,
                Step.SHARE: k * SEALED + (k + 1) * COMMITTED,
                Step.MASK: self.words * self.dtype.itemsize + bits,
                Step.AGREE: bits,
                Step.UNMASK: (k + 1) * shamir.SIZE,
            }
        return inside[step] + signatures + _AROUND

    def context(self, round_number: int) -> Context:
        """What binds the letters of a round.

        Raises:
          FederatedError: unless the number is 0 or more, and below 2^64.
        """
        _require(
            type(round_number) is int and 0 <= round_number < 1 << 64,
            "a round has a number from 0 on, below 2^64",
        )
        number = round_number.to_bytes(8, "little")
        about = hashlib.sha256(b"jsmpc one server\0" + self.digest + number).digest()
        return Context(about, f"round {round_number}", tuple(self.identities))

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 of all attributes: parties with other set-ups do not understand each other."""
        values = (
            *(self.clients, self.threshold, self.neighbours, self.quorum, self.corrupt),
            *dataclasses.astuple(self.quantization),
            *(str(self.like.tree), self.like.shapes, self.like.dtypes),
            *(tuple(self.identities), self.seed),
        )
        return hashlib.sha256(repr(values).encode()).digest()

    def neighbours_of(self, client: int, round_number: int) -> frozenset[int]:
        """With whom a client masks in a round."""
        assert self.neighbours is not None
        number = round_number.to_bytes(8, "little")
        seed = hashlib.sha256(b"jsmpc circle\0" + number + bytes(self.seed)).digest()
        return graph.neighbours(client, self.clients, self.neighbours, seed)

    def _require_identities(self) -> None:
        known = self.identities
        _require(
            len(known) in (0, self.clients),
            f"there are {len(known)} identities of {self.clients} clients. Give all, or none",
        )
        _require(
            len(set(known)) == len(known) and all(len(key) == keys.PUBLIC for key in known),
            f"identities are different public keys of {keys.PUBLIC} bytes, by new_identity",
        )

    def _require_thresholds(self) -> None:
        n, t, quorum, corrupt = self.clients, self.threshold, self.quorum, self.corrupt
        assert self.neighbours is not None and quorum is not None and corrupt is not None
        everyone = self.neighbours == n - 1
        _require(
            everyone or (self.neighbours % 2 == 0 and 2 <= self.neighbours < n - 1),
            f"neighbours are everyone, or an even number from 2 to {n - 2}, not {self.neighbours}",
        )
        _require(
            2 <= t <= self.neighbours + 1,
            f"the threshold is 2 to {self.neighbours + 1}, not {t}: a client and its neighbours "
            "hold shares",
        )
        _require(2 <= quorum <= n, f"the quorum is 2 to {n}, not {quorum}")
        _require(
            0 <= corrupt < n - 1, f"corrupt clients are 0 to {n - 2}, not {corrupt}. See OneServer"
        )
        if self.is_active:
            _require(
                2 * quorum > n + corrupt,
                f"against a server that deviates twice the quorum is above clients + corrupt = "
                f"{n + corrupt}, not {2 * quorum}. Take a larger quorum, or fewer corrupt clients",
            )
        if everyone:
            _require(
                2 * t > n + corrupt if self.is_active else t > corrupt,
                f"a threshold of {t} does not hold against {corrupt} corrupt clients: "
                + (
                    f"twice the threshold is to be above {n + corrupt}"
                    if self.is_active
                    else "it is to be above them"
                ),
            )
            _require(quorum >= t, f"the quorum is the threshold {t} or more, not {quorum}")
        else:
            self._require_odds()

    def _require_odds(self) -> None:
        assert self.neighbours is not None and self.corrupt is not None
        assert self.dropping is not None
        odds = graph.Odds(self.clients, self.corrupt, self.dropping, self.is_active)
        for chance, bits, what in (
            (odds.insecure(self.neighbours, self.threshold), graph.SECURITY, "insecure"),
            (odds.incorrect(self.neighbours, self.threshold), graph.CORRECTNESS, "incorrect"),
        ):
            _require(
                chance <= 2.0**-bits,
                f"a graph of {self.neighbours} neighbours and threshold {self.threshold} is {what} "
                f"with a probability of up to {min(chance, 1.0):.2g}. Use OneServer.sparse",
            )


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise FederatedError(f"one server: {problem}")
