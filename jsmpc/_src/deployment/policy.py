"""What a party permits: programs, its own inputs, and what may be revealed to whom how often.

What the file does not mention is not restricted: without `reveals` anything may be revealed, with
`reveals = []` nothing. Labels of reveals are the program's own words, so that a policy that counts
on them should list `programs` too.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsmpc._src.api.session import Reveal
from jsmpc._src.deployment import log, rules
from jsmpc._src.deployment.errors import PolicyError
from jsmpc._src.deployment.rules import Rule

__all__ = ["Policy", "Reveal", "Rule"]


@dataclasses.dataclass(frozen=True)
class Policy:
    """What a party permits; each attribute is None where there is no restriction.

    A reveal needs a rule for its recipient: the one with its label, or else the one without a
    label. A rule for everyone is none for a single party. `at_most` counts what the rule decided
    in all runs, in the log.

    Attributes:
      programs: SHA-256 of the permitted ones, in lower-case hexadecimal digits.
      inputs: names of the party's own inputs that may be used.
      reveals: the rules.
      file: where they stand; `places` are the lines of it that restrict, by key.

    Example:
      >>> once = Policy(reveals=(Rule("everyone", "score", at_most=1),))
      >>> score = Reveal("everyone", "score", 1, "score.py:12")
      >>> once.check("00" * 32, [], [score], "runs.log")
      >>> once.check("00" * 32, [], [score, score], "runs.log")
      Traceback (most recent call last):
          ...
      jsmpc._src.deployment.errors.PolicyError: the policy permits at most 1 reveal …
    """

    programs: tuple[str, ...] | None = None
    inputs: tuple[str, ...] | None = None
    reveals: tuple[Rule, ...] | None = None
    file: Path | None = None
    places: dict[str, str] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None) -> Policy:
        """Read and validate a policy; None is the one that permits everything.

        Raises:
          PolicyError: if the file is missing or something in it is wrong.
        """
        if path is None:
            return cls()
        table, text = rules.read(path)
        table.only("programs", "inputs", "reveals")
        places = {key: rules.place_of(text, key) for key in table.values}
        return cls(
            rules.read_programs(table),
            table.strings("inputs"),
            rules.read_rules(table, text),
            table.file,
            places,
        )

    def check(
        self,
        program_hash: str,
        inputs: Sequence[str],
        reveals: Sequence[Reveal],
        log_path: str | os.PathLike[str],
    ) -> None:
        """Raise PolicyError unless a run of a program is permitted.

        Args:
          program_hash: SHA-256 of the program, in hexadecimal digits.
          inputs: the names of the party's own inputs that it uses.
          reveals: all that it would disclose.
          log_path: the log in which former reveals are counted; a missing one has none.

        Raises:
          PolicyError: naming what is not permitted and the line of the policy.
          LogError: if former reveals have to be counted in a log that is broken.
        """
        self._check_program(program_hash, inputs)
        counted = any(rule.at_most is not None for rule in self.reveals or ())
        former: Counter[tuple[Any, Any]] = Counter()
        if counted and Path(log_path).exists():
            with log.opened(log_path, write=False) as book:
                former = book.reveals
        self._check_reveals(reveals, former)

    def claim(
        self,
        program_hash: str,
        inputs: Sequence[str],
        reveals: Sequence[Reveal],
        log_path: str | os.PathLike[str],
    ) -> None:
        """`check`, and enter the reveals into the log, before anyone else can do so.

        It is to be called before the first message of a run: two runs at once could otherwise
        both find that one reveal is left.
        """
        with log.opened(log_path) as book:
            self.enter(program_hash, inputs, reveals, book)

    def enter(
        self, program_hash: str, inputs: Sequence[str], reveals: Sequence[Reveal], book: log.Log
    ) -> None:
        """`claim`, in a log that is open."""
        self._check_program(program_hash, inputs)
        self._check_reveals(reveals, book.reveals)
        for reveal in reveals:
            book.append(log.REVEAL, program=program_hash, **dataclasses.asdict(reveal))

    def _check_program(self, program_hash: str, inputs: Sequence[str]) -> None:
        if self.programs is not None and program_hash.lower() not in self.programs:
            raise PolicyError(
                f"{self._name} does not permit the program {program_hash}: it is none of "
                f"{self._listed('programs', self.programs)}. Add it if you have read it"
            )
        for name in inputs:
            if self.inputs is not None and name not in self.inputs:
                raise PolicyError(
                    f"{self._name} does not permit the input {name!r}: it is none of "
                    f"{self._listed('inputs', self.inputs)}. Add it if programs may use it"
                )

    def _check_reveals(
        self, reveals: Sequence[Reveal], former: Mapping[tuple[Any, Any], int]
    ) -> None:
        """Refuse what no rule permits, or a rule that was used up by former reveals in the log."""
        if self.reveals is None:
            return
        used: Counter[Rule | None] = Counter()
        for (to, what), times in former.items():
            used[self._rule(to, what)] += times
        earlier = used.copy()
        for reveal in reveals:
            rule = self._rule(reveal.to, reveal.what)
            if rule is None:
                raise PolicyError(
                    f"{self._name} does not permit {_described(reveal)}: no [[reveals]]"
                    f"{self._at('reveals')} is for it. Add one with to = {_quoted(reveal.to)}"
                    + (f" and what = {_quoted(reveal.what)}" if reveal.what else "")
                )
            used[rule] += 1
            if rule.at_most is not None and used[rule] > rule.at_most:
                raise PolicyError(
                    f"{self._name} permits at most {rule.at_most} reveal(s) by the rule"
                    f"{rules.after(rule.place)} for {_described(reveal)}; the log has "
                    f"{earlier[rule]}, this would be number {used[rule]}. Raise at_most if that "
                    "discloses no more than you want"
                )

    def _rule(self, to: str | None, what: str | None) -> Rule | None:
        """The rule that decides: the label's own before the one for any label."""
        for label in (what or None, None):
            for rule in self.reveals or ():
                if (rule.to, rule.what) == (to, label):
                    return rule
        return None

    @property
    def _name(self) -> str:
        return "the policy" if self.file is None else str(self.file)

    def _at(self, key: str) -> str:
        return rules.after(self.places.get(key, ""))

    def _listed(self, key: str, values: Sequence[str]) -> str:
        return f"the {len(values)} {key}{self._at(key)}"


def _described(reveal: Reveal) -> str:
    label = f"{reveal.what!r} " if reveal.what else ""
    return f"the reveal {label}of {reveal.elements} element(s) to {reveal.to} at {reveal.line}"


def _quoted(text: str) -> str:
    return f'"{text}"'
