"""Tables of TOML files, read key by key with errors that name file, table and key."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")

_KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "an array",
    dict: "a table",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a file.

    Attributes:
      file: the file's path, for errors.
      name: the table's as it stands in the file, `[parties.alice]`; empty for the outermost one.
      values: what it holds.
      error: what is raised.
    """

    file: Path
    name: str
    values: dict[str, Any]
    error: type[Exception]

    def refusal(self, key: str, problem: str) -> Exception:
        """The error that a key's value has a problem; `problem` says the remedy too."""
        return self.error(": ".join(filter(None, (str(self.file), self.name, key, problem))))

    def only(self, *known: str, above: tuple[str, ...] = ()) -> None:
        """Refuse all other keys; those of the outermost table belong above all tables."""
        for key in self.values:
            if key in above:
                raise self.refusal(key, "is a key of the whole file. Move it above the first table")
            if key not in known:
                raise self.refusal(key, f"unknown key. {nearest(key, known)}")

    def get(self, key: str, kind: type[T]) -> T | None:
        """The value of a key, None where it is absent; integers are numbers too."""
        value = self.values.get(key)
        if value is None or type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return cast(T, float(value))
        is_ = _KINDS.get(type(value), f"a {type(value).__name__}")
        raise self.refusal(key, f"must be {_KINDS[kind]}, not {is_}")

    def need(self, key: str, kind: type[T], example: str) -> T:
        """The value of a key that must be there; the example shows what to write."""
        value = self.get(key, kind)
        if value is None:
            raise self.refusal(key, f"missing. Write for example: {example}")
        return value

    def seconds(self, key: str, default: float) -> float:
        """A positive, finite number of seconds."""
        seconds = self.get(key, float)
        if seconds is None:
            return default
        if not (seconds > 0 and math.isfinite(seconds)):
            raise self.refusal(key, f"must be a positive, finite number of seconds, not {seconds}")
        return seconds

    def strings(self, key: str) -> tuple[str, ...] | None:
        """The strings of an array, None where it is absent."""
        values = self.get(key, list)
        if values is None:
            return None
        for value in values:
            if type(value) is not str:
                raise self.refusal(key, 'must be an array of strings, such as ["one", "two"]')
        return tuple(values)


def read(path: Path, error: type[Exception], remedy: str) -> tuple[Table, str]:
    """The outermost table of a TOML file, and its text.

    Raises:
      error: if the file cannot be read, with the remedy, or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return Table(path, "", tomllib.loads(text), error), text
    except FileNotFoundError:
        raise error(f"{path}: there is no such file. {remedy}") from None
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}. {remedy}") from None
    except UnicodeDecodeError as problem:
        raise error(f"{path}: no TOML, byte {problem.start} is not UTF-8. {remedy}") from None
    except tomllib.TOMLDecodeError as problem:
        raise error(f"{path}: no TOML: {problem}. Strings need quotation marks") from None


def nearest(word: str, known: tuple[str, ...]) -> str:
    """A sentence on the known word that an unknown one is nearest to.

    Example:
      >>> nearest("prot", ("host", "port"))
      "Did you mean 'port'?"
    """
    close = difflib.get_close_matches(word, known, 1)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known)}"
