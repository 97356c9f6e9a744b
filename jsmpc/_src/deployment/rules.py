"""The rules of a policy, and where they stand in its file."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from jsmpc._src.deployment import identity, tables
from jsmpc._src.deployment.errors import ConfigError, PolicyError
from jsmpc._src.deployment.tables import Table


@dataclasses.dataclass(frozen=True)
class Rule:
    """One of a policy's `[[reveals]]`: to whom, which label (None for any) and how often."""

    to: str
    what: str | None = None
    at_most: int | None = None
    place: str = ""


def after(place: str) -> str:
    """A place in brackets, if it is known."""
    return f" ({place})" if place else ""


def place_of(text: str, key: str) -> str:
    """Where a key stands in the text of a policy."""
    lines = _lines(text, key)
    return f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}" if lines else ""


def places(text: str, key: str, count: int) -> list[str]:
    """Where each of the tables of an array stands in the text of a policy."""
    lines = _lines(text, key)
    if len(lines) != count:  # an array of inline tables has one line for all of them
        lines = lines[:1] * count
    return [f"line {line}" for line in lines] or [""] * count


def _lines(text: str, key: str) -> list[int]:
    """The lines on which a key, or a table of an array of that name, begins."""
    start = re.compile(rf"\s*(\[\[\s*)?[\"']?{key}[\"']?\s*(?(1)\]\]|=)")
    return [number for number, line in enumerate(text.splitlines(), 1) if start.match(line)]


def read(path: str | os.PathLike[str]) -> tuple[Table, str]:
    """The outermost table of a policy's file, and its text; PolicyError."""
    remedy = "Name the policy, or none to permit everything"
    return tables.read(Path(path), PolicyError, remedy)


def read_programs(table: Table) -> tuple[str, ...] | None:
    """The permitted programs, None without the key."""
    programs = table.strings("programs")
    if programs is None:
        return None
    for program in programs:
        if not re.fullmatch(r"[0-9A-Fa-f]{64}", program):
            raise table.refusal(
                "programs", f"{program!r} is no SHA-256: give all of its 64 hexadecimal digits"
            )
    return tuple(program.lower() for program in programs)


def read_rules(table: Table, text: str) -> tuple[Rule, ...] | None:
    """The rules for reveals, None without the key."""
    values = table.get("reveals", list)
    if values is None:
        return None
    rules: dict[Any, Rule] = {}
    for value, place in zip(values, places(text, "reveals", len(values)), strict=True):
        rule = _rule_of(table, value, place, f"[[reveals]]{after(place)}")
        if rules.setdefault((rule.to, rule.what), rule) is not rule:
            raise table.refusal(
                "reveals", f"two rules for the same reveals{after(place)}. Keep one"
            )
    return tuple(rules.values())


def _rule_of(table: Table, value: Any, place: str, name: str) -> Rule:
    if type(value) is not dict:
        raise table.refusal("reveals", "must be tables. Write [[reveals]] above the keys of each")
    row = Table(table.file, name, value, PolicyError)
    row.only("to", "what", "at_most")
    to = row.need("to", str, 'to = "everyone"')
    if to != identity.EVERYONE:
        try:
            identity.check_name(to)
        except ConfigError as error:
            raise row.refusal("to", str(error)) from None
    what, at_most = row.get("what", str), row.get("at_most", int)
    if what == "":
        raise row.refusal("what", "is empty. Leave it out to permit any label, or none")
    if at_most is not None and at_most < 0:
        raise row.refusal("at_most", f"must be 0 or more, not {at_most}")
    return Rule(to, what, at_most, place)
