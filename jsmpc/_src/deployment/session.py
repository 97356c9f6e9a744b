"""A session over links: one endpoint's part of every program that all endpoints run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src import kernels
from jsmpc._src.api.kept import established
from jsmpc._src.api.material_file import used
from jsmpc._src.api.session import Purpose, Session
from jsmpc._src.deployment import differences, log
from jsmpc._src.deployment.config import Config
from jsmpc._src.deployment.digests import Digests
from jsmpc._src.deployment.errors import AgreementError
from jsmpc._src.deployment.policy import Policy
from jsmpc._src.deployment.stock import Stock
from jsmpc._src.errors import LinkError, ProtocolError
from jsmpc._src.jaxprs import tracing
from jsmpc._src.kernels import sameness
from jsmpc._src.links.exchange import exchange, halt, halted
from jsmpc._src.links.links import Links
from jsmpc._src.readings.projection.digest import digest
from jsmpc._src.readings.projection.projection import Projection
from jsmpc._version import __version__

_TERMS = 1 << 20  # the most bytes that the terms of a program may have


class Deployed(Session):
    """One endpoint of a deployment.

    Before a program runs for the first time, all endpoints compare what they are about to run; and
    each asks its policy, and writes into its log, before anything secret moves. Public arguments
    are compared in every run, in the program's first exchange: nothing that depends on them is sent
    before it, and nothing at all after it where they differ.

    Attributes:
      links: to the other endpoints; present: the numbers of all that take part.
      stock: the dealer's; None at the others.
    """

    def __init__(
        self,
        config: Config,
        endpoint: int,
        links: Links,
        policy: Policy,
        book: log.FileLog,
        stock: Stock | None = None,
    ) -> None:
        self.protocol, self.endpoint = config.protocol, endpoint
        self.stocked, self.stock = config.stock > 0, stock
        self.links, self._policy, self._book = links, policy, book
        self._token, self._thread = jnp.asarray(links.token), threading.get_ident()
        self.present = range(len(config.peers))
        self._programs: dict[Projection, tuple[Any, str]] = {}
        self._agreed: set[tuple[str, Purpose]] = set()
        self._numbered, self._digests = 0, Digests()
        own = secrets.token_hex(16)
        terms = {
            "version": __version__,
            "parties": config.fingerprint,
            "kernels": sameness.digest(),
        }
        drawn = {own, *(str(theirs["drawn"]) for theirs in self._agree(terms, drawn=own))}
        self._drawn = hashlib.sha256("".join(sorted(drawn)).encode()).hexdigest()
        self.state = established(self)

    def run(
        self, projection: Projection, given: Sequence[jax.Array], purpose: Purpose
    ) -> list[jax.Array]:
        self._require_turn()
        if len(self.present) < len(projection.names) and projection.concerns(self.present.stop):
            raise ProtocolError(
                f"{projection.names[-1]} deals for {purpose.what}, and is not in this deployment. "
                "Use material that was dealt before (Material.load and online), or list "
                f"[parties.{projection.names[-1]}] in the file of parties"
            )
        if projection not in self._programs:
            self._programs[projection] = self._program(projection)
        program, name = self._programs[projection]
        if (name, purpose) not in self._agreed:
            shown = [list(dataclasses.astuple(reveal)) for reveal in purpose.reveals]
            self._agree({"program": purpose.what, "reveals": shown, "choreography": name})
            self._agreed.add((name, purpose))
        self._permit(name, purpose)
        public = self._public(projection, given)
        digests = [self._digests.together(x.values()) for x in public]
        try:
            token, (out,) = program(self._token, [[*given, *digests]])
            jax.block_until_ready(token)
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # which, the dispatch decides
            if self.links.failure is not None:
                raise LinkError(self.links.failure) from None
            if public and halted(error):
                raise self._difference(public) from None
            raise
        if self.stock is not None:
            self.stock.refill()
        return list(out)

    def _require_turn(self) -> None:
        """ProtocolError where programs would not run once, and in one order at all endpoints;
        LinkError after the end."""
        if threading.get_ident() != self._thread:
            raise ProtocolError(
                "the programs of a session run one after another, in the thread that joined it: "
                "all endpoints must run them in one order"
            )
        if tracing.transformed():
            raise ProtocolError(
                "the programs of a session are compiled by themselves, and run once when they are "
                "called. Call secure functions, input and reveal outside of jit, vmap, scan, grad"
            )
        if self.links.failure is not None:
            raise LinkError(self.links.failure)

    def _program(self, projection: Projection) -> tuple[Any, str]:
        """This endpoint's own program, and the fingerprint of that of all."""
        pure = self.links.pure
        own = functools.partial(exchange, pure=pure), functools.partial(halt, pure=pure)
        program = jax.jit(projection.program([self.endpoint], *own, kernels.evaluate))
        return program, digest(projection)

    def _public(
        self, projection: Projection, given: Sequence[jax.Array]
    ) -> list[dict[str, jax.Array]]:
        """The public arguments that are compared with some others, and with these ones, by name."""
        known = dict(zip(projection.given(self.endpoint), given, strict=False))
        return [
            {projection.inputs[i].public: known[i] for i in group.inputs}
            for group in projection.compared
            if self.endpoint in group.endpoints
        ]

    def _difference(self, public: Sequence[dict[str, jax.Array]]) -> AgreementError:
        """What differs among public arguments, after a program has ended because something does."""
        mine = {name: self._digests.of(x).hex() for group in public for name, x in group.items()}
        found = {self.name: mine}
        if self.is_party:
            parties = [i for i in range(self.protocol.size) if i != self.endpoint]
            for i, told in zip(parties, self._agree({}, parties, digests=mine), strict=True):
                found[self.protocol.parties[i]] = told["digests"]
            with contextlib.suppress(LinkError):
                self._agree({}, parties)  # nobody ends before all know
        self.links.abort("public arguments differ")  # a dealer may be ahead
        return AgreementError(differences.explained(found, self.protocol.dealer))

    def _permit(self, name: str, purpose: Purpose) -> None:
        """Asks the policy and writes into the log; PolicyError before anything has moved."""
        own = purpose.inputs if purpose.owner == self.name else ()
        self._policy.enter(name, own, purpose.reveals, self._book)
        self._book.append("run", program=name, what=purpose.what)

    @contextlib.contextmanager
    def entered(self, event: str, **fields: Any) -> Iterator[None]:
        """Enters an event, and what runs inside, into the log as one: kept once this is over."""
        with self._book.together():
            self._book.append(event, **fields)
            yield

    def number(self) -> str:
        self._numbered += 1
        return f"{self._drawn[:32]}-{self._numbered}"

    def spend(self, number: str | None) -> None:
        self.agreed("numbers of material", number)
        if number is None:
            return
        if number in self._book.material:
            raise used(f"the log of {self.name}: ")
        self._book.append(log.MATERIAL, number=number)

    def from_stock(self, deal: Callable[[], list[jax.Array]]) -> list[jax.Array]:
        self._require_turn()
        if self.stock is None:
            return []
        found = self.stock.take(deal)
        self._book.append("dealt", number=found.number)
        return found.arrays

    def agreed(self, what: str, value: Any) -> Any:
        self._require_turn()
        theirs = [told[what] for told in self._agree({}, **{what: value})]
        known = {json.dumps(x, sort_keys=True): x for x in (value, *theirs) if x is not None}
        if len(known) != 1:
            raise AgreementError(f"the parties have {len(known)} different {what}")
        return next(iter(known.values()))

    def _agree(
        self, terms: dict[str, Any], others: Sequence[int] | None = None, **told: Any
    ) -> list[dict[str, Any]]:
        """Compares terms with all other endpoints, or some; AgreementError names what differs.

        Returns:
          what each of the others tells, in the order of their numbers.
        """
        if others is None:
            others = [i for i in self.present if i != self.endpoint]
        for other in others:
            self.links.send_bytes(other, json.dumps({**told, **terms}).encode())
        found = []
        for other in others:
            name = self.protocol.endpoints[other]
            theirs = _terms(self.links.receive_bytes(other, _TERMS), name)
            for what, mine in terms.items():
                if theirs.get(what) != mine:
                    raise AgreementError(
                        f"{self.name} and {name} do not agree on {what}: {_shown(mine)} here, "
                        f"{_shown(theirs.get(what))} there. All must run the same program with the "
                        "same version, parties and shapes"
                    )
            found.append({name: theirs.get(name) for name in told})
        return found


def _terms(data: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise AgreementError(f"{name} does not say what it is about to run")
    return found


def _shown(term: Any) -> str:
    text = "nothing" if term is None else json.dumps(term)
    return text if len(text) < 200 else f"{text[:200]}…"
