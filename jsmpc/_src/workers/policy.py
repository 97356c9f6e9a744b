"""What a worker's owner permits: which plans on which objects, and what may leave to whom.

What the file does not mention is not restricted: without `run` any plan may run, with `run = []`
none. Whatever comes from a caller alone, that caller may compute on, by any plan that has a rule,
and take back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from jsmpc._src.deployment import rules
from jsmpc._src.deployment.errors import PolicyError
from jsmpc._src.deployment.tables import Table
from jsmpc._src.workers.store import Object

ANY = "any"  # a rule's plan: results of whichever


@dataclasses.dataclass(frozen=True)
class Rule:
    """One `[[run]]` or `[[get]]` of a policy; what it does not mention it does not restrict.

    Attributes:
      plan: a plan's hash: the plan that runs, or that what leaves is a result of.
      objects: tags or ids, of which each object that is computed on, or leaves, has one.
      rows: the least length of each object's first axis.
      who: the callers, or the workers that an object may move to.
      at_most: how often.
      place: where it stands in its file.
    """

    plan: str | None = None
    objects: tuple[str, ...] | None = None
    rows: int | None = None
    who: tuple[str, ...] | None = None
    at_most: int | None = None
    place: str = dataclasses.field(default="", compare=False)

    @property
    def name(self) -> str:
        """What its uses are counted by: all that it says but how often."""
        said = [self.plan, self.objects, self.rows, self.who]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def fits(self, plan: str, objects: Sequence[Object], who: Collection[str]) -> bool:
        """Whether it permits this."""
        named = self.objects is None or all(_is_one_of(x, self.objects) for x in objects)
        many = self.rows is None or all(x.rows >= self.rows for x in objects)
        planned = self.plan in (None, plan) or (self.plan == ANY and plan != "")
        return planned and named and many and (self.who is None or set(who) <= set(self.who))


def _is_one_of(x: Object, names: Sequence[str]) -> bool:
    return x.id in names or not set(names).isdisjoint(x.tags)


@dataclasses.dataclass
class Policy:
    """What is permitted; None where there is no restriction.

    Attributes:
      run: rules for what may be computed; get: for what may leave; share: for what may be shared
        among other workers, which is for who may have all parts to leave: without `share` the rules
        of `get` for each of these workers decide.
      file: where they stand.
      used: how often each rule was used, by its name.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> total = jsmpc.plan(jnp.sum, "float32[n]")
      >>> policy = Policy(run=[Rule(total.hash, rows=3)], get=[Rule(total.hash)])
      >>> bob = jsmpc.Worker("bob", policy=policy)
      >>> ages = bob.offer(jnp.array([31.0, 42.0, 53.0]), tags=["#ages"])
      >>> total(ages).get()
      Array(126., dtype=float32)
      >>> ages.get()
      Traceback (most recent call last):
          ...
      jsmpc._src.deployment.errors.PolicyError: get at bob: the policy …
    """

    run: Sequence[Rule] | None = None
    get: Sequence[Rule] | None = None
    share: Sequence[Rule] | None = None
    file: Path | None = None
    used: Counter[str] = dataclasses.field(default_factory=Counter, repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None) -> Policy:
        """Read and validate a policy; None is the one that permits everything.

        Raises:
          PolicyError: if the file is missing or something in it is wrong.
        """
        if path is None:
            return cls()
        table, text = rules.read(path)
        table.only("run", "get", "share")
        return cls(
            _rules(table, text, "run", "by", ("rows",)),
            _rules(table, text, "get", "to"),
            _rules(table, text, "share", "to"),
            table.file,
        )

    @property
    def names_no_plans(self) -> bool:
        """Whether it is the same to it which plan runs, or has made a result."""
        return self.run is None and self.get is None and self.share is None

    def permit_run(self, plan: str, objects: Sequence[Object], by: Collection[str]) -> Rule | None:
        """The rule that permits a plan on objects; PolicyError if there is none, or it is used up.

        Args:
          by: who asks: the caller, and those for whom it asks, all of whom must be permitted.
        """
        foreign = [x for x in objects if any(x.sources != {who} for who in by)]
        if self.run is None or not foreign:
            return None
        what = f"the plan {plan[:12]}… on {_listed(foreign)} for {' and '.join(sorted(by))}"
        return self._rule("run", self.run, plan, foreign, by, what)

    def permit_get(self, x: Object, caller: str, to: str) -> Rule | None:
        """The rule that permits an object to leave to somebody; PolicyError."""
        if self.get is None or x.kind != "value" or x.sources == {caller}:
            return None
        whose = f"a result of {x.plan[:12]}…" if x.plan else "raw"
        what = f"{_listed([x])}, {whose}, to leave to {to}"
        return self._rule("get", self.get, x.plan, [x], {to}, what)

    def permit_share(self, x: Object, by: str, to: Sequence[str]) -> Rule | None:
        """The rule that permits an object to be shared among workers; PolicyError."""
        if x.sources == {by}:
            return None
        what = f"{_listed([x])} to be shared among {', '.join(to)}"
        if self.share is not None:
            return self._rule("share", self.share, x.plan, [x], set(to), what)
        return None if self.get is None else self._rule("get", self.get, x.plan, [x], set(to), what)

    def permit_plan(self, plan: str) -> None:
        """PolicyError if no rule is for a plan, so that it need not even be read."""
        rules_ = self.run
        if rules_ is not None and all(rule.plan not in (None, plan) for rule in rules_):
            raise PolicyError(
                f"{self._name} does not permit the plan {plan}: it is none of those of its "
                f'{len(rules_)} [[run]]. Add one with plan = "{plan}" if you have read it'
            )

    def _rule(
        self,
        kind: str,
        known: Sequence[Rule],
        plan: str,
        objects: Sequence[Object],
        who: Collection[str],
        what: str,
    ) -> Rule:
        fitting = [rule for rule in known if rule.fits(plan, objects, who)]
        if not fitting:
            raise PolicyError(
                f"{self._name} does not permit {what}: none of its {len(known)} [[{kind}]] is for "
                f"it. {_advice(known, plan, objects, who)}"
            )
        for rule in fitting:
            if rule.at_most is None or self.used[rule.name] < rule.at_most:
                return rule
        rule = fitting[-1]
        raise PolicyError(
            f"{self._name} permits at most {rule.at_most} by [[{kind}]]{rules.after(rule.place)} "
            f"for {what}; the log has {self.used[rule.name]}. Raise at_most if that discloses no "
            "more than you want"
        )

    @property
    def _name(self) -> str:
        return "the policy" if self.file is None else str(self.file)


def _advice(
    known: Iterable[Rule], plan: str, objects: Sequence[Object], who: Collection[str]
) -> str:
    """Which permission is missing: what the nearest rule asks for, or that none is near."""
    for rule in known:
        if rule.rows is not None and dataclasses.replace(rule, rows=None).fits(plan, objects, who):
            return f"The rule{rules.after(rule.place)} asks for at least {rule.rows} rows"
        if rule.who is not None and dataclasses.replace(rule, who=None).fits(plan, objects, who):
            return f"The rule{rules.after(rule.place)} is for {', '.join(rule.who)}"
        if dataclasses.replace(rule, objects=None).fits(plan, objects, who):
            return f"The rule{rules.after(rule.place)} is for other objects"
    return f'Add one with plan = "{plan}"' if plan else "Add one without a plan for raw data"


def _listed(objects: Sequence[Object]) -> str:
    shown = [" ".join(x.tags) or f"object {x.id[:12]}…" for x in objects[:4]]
    return ", ".join(shown) + (f" and {len(objects) - 4} more" if len(objects) > 4 else "")


def _rules(
    table: Table, text: str, kind: str, who: str, more: tuple[str, ...] = ()
) -> tuple[Rule, ...] | None:
    values = table.get(kind, list)
    if values is None:
        return None
    found = []
    for value, place in zip(values, rules.places(text, kind, len(values)), strict=True):
        if type(value) is not dict:
            raise table.refusal(kind, f"must be tables. Write [[{kind}]] above the keys of each")
        row = Table(table.file, f"[[{kind}]]{rules.after(place)}", value, PolicyError)
        row.only("plan", "objects", who, "at_most", *more)
        plan = row.get("plan", str)
        if not (plan is None or re.fullmatch("[0-9a-f]{64}", plan) or (kind, plan) == ("get", ANY)):
            raise row.refusal("plan", f"{plan!r} is no SHA-256: give its 64 hexadecimal digits")
        rows, at_most = (_count(row, key) for key in ("rows", "at_most"))
        found.append(Rule(plan, row.strings("objects"), rows, row.strings(who), at_most, place))
    return tuple(found)


def _count(row: Table, key: str) -> int | None:
    count = row.get(key, int)
    if count is not None and count < 0:
        raise row.refusal(key, f"must be 0 or more, not {count}")
    return count
