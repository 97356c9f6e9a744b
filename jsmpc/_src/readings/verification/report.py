"""What a proof says: of each set of corrupt endpoints, and of what is opened on purpose."""

from __future__ import annotations

import dataclasses

from jsmpc._src.jaxprs.lines import without_folder

PROVED, UNDECIDED, LEAK = "proved", "undecided", "leak"


@dataclasses.dataclass(frozen=True)
class Finding:
    """A message of which it is not proved that it tells nothing.

    Attributes:
      verdict: `leak` if nothing hides it at all; `undecided` if something does that is not known to
        be enough.
      message: from whom to whom, and what.
      protocol_line: where the protocol sends it.
      line: the user's source line that it is sent for.
      reason: why nothing was found to hide it.
    """

    verdict: str
    message: str
    protocol_line: str
    line: str
    reason: str

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.message}: {self.reason}"]
        lines += [f"  sent at {self.protocol_line}"] if self.protocol_line else []
        lines += [f"  for {without_folder(self.line)}"] if self.line else []
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class SetProof:
    """Of a set of endpoints that may be corrupt together, what they see.

    Attributes:
      corrupt: their names.
      messages: how many they receive; in the body of a loop each counts once.
      known: how many of these follow from what they had seen before.
      opened: how many follow from a value that is opened to them on purpose.
      simulated: how many tell nothing by a lemma on a step of a protocol.
      findings: those that could not be simulated; all others are uniform for them.
    """

    corrupt: tuple[str, ...]
    messages: int
    known: int
    opened: int
    simulated: int
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """`proved`, `leak` or `undecided`."""
        verdicts = {f.verdict for f in self.findings}
        return LEAK if LEAK in verdicts else UNDECIDED if verdicts else PROVED

    def __bool__(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        others = self.known + self.opened + self.simulated + len(self.findings)
        hidden = self.messages - others
        parts = [f"{hidden} uniform"] if hidden or not self.messages else []
        parts += [f"{self.simulated} by a lemma"] if self.simulated else []
        parts += [f"{self.known} known before"] if self.known else []
        parts += [f"{self.opened} of what is opened"] if self.opened else []
        parts += [f"{len(self.findings)} open"] if self.findings else []
        names = ", ".join(self.corrupt)
        count = f"{self.messages} message{'s' if self.messages != 1 else ''}"
        return f"{names}: {self.verdict}; {count}: {', '.join(parts)}"


@dataclasses.dataclass(frozen=True)
class Verification:
    """Whether the views of a program's corrupt parties are proved to tell nothing; true if so.

    Attributes:
      proofs: one for each set of endpoints that may be corrupt together.
      openings: what is opened on purpose, in words.
      repeats: of each stream that is drawn twice, where; none if all draws are independent.
      draws: how many draws there are; in the body of a loop each counts once.
      moduli: of draws that are uniform modulo these up to a statistical distance of 2^-40 a word,
        and so is what they hide.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.ones(3), jsmpc.Replicated3())
      >>> proof = jsmpc.verify(jsmpc.secure(lambda x: jsmpc.reveal(x * x)))(x)
      >>> bool(proof), len(proof.proofs), len(proof.openings)
      (True, 3, 1)
    """

    proofs: tuple[SetProof, ...]
    openings: tuple[str, ...]
    repeats: tuple[str, ...]
    draws: int
    moduli: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return all(self.proofs) and not self.repeats

    @property
    def verdict(self) -> str:
        """`proved`, `leak` or `undecided`: the worst of all sets."""
        verdicts = {p.verdict for p in self.proofs} | ({UNDECIDED} if self.repeats else set())
        return next((v for v in (LEAK, UNDECIDED) if v in verdicts), PROVED)

    def __str__(self) -> str:
        lines = [self.verdict]
        for proof in self.proofs:
            lines.append(f"  {proof}")
            lines += [f"    {line}" for f in proof.findings for line in str(f).splitlines()]
        lines += [f"  opened: {words}" for words in self.openings]
        if not self.openings:
            lines.append("  nothing is opened")
        lines += [f"  drawn twice: {words}" for words in self.repeats]
        if not self.repeats:
            lines.append(f"  no draw of {self.draws} is made twice")
        if self.moduli:
            numbers = ", ".join(map(str, self.moduli))
            lines.append(f"  draws modulo {numbers}: uniform up to 2^-40 a word")
        return "\n".join(lines)
