"""The log of a party: which programs ran and what they revealed, a line each, chained by hashes.

A line is a JSON object with `time`, `event`, `fields` and `chain`, the SHA-256 of the previous
line's chain and this line without its own. So no line can be changed, inserted or taken out
unnoticed, but for lines at the end: that they are gone only who kept a later chain can tell.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jsmpc._src.deployment.errors import LogError

PATIENCE = 5.0  # seconds to wait for others who have the log open
START = "0" * 64  # what comes before the first chain
REVEAL, MATERIAL = "reveal", "material"  # events that later runs depend on
_KEYS = {"time", "event", "fields", "chain"}


class Entry(NamedTuple):
    """A line of the log."""

    time: str
    event: str
    fields: dict[str, Any]
    chain: str


class Head(NamedTuple):
    """Where a log ends: how many entries it has, and the chain of the last one."""

    entries: int
    chain: str


def append(path: str | os.PathLike[str], event: str, /, **fields: Any) -> Head:
    """Append a line to a log, which is made if it is not there; where it ends then.

    Args:
      path: the log's file.
      event: what happened.
      fields: numbers, strings, None, and lists, tuples and dictionaries of strings and integers.

    Raises:
      TypeError: for any other value, an array or bytes: a log holds no data.
      LogError: if the log is broken, or cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> folder = tempfile.TemporaryDirectory()
      >>> file = pathlib.Path(folder.name, "runs.log")
      >>> append(file, "run", program="ab12").entries
      1
      >>> append(file, "reveal", to="everyone", what="score", shape=(3, 4)).entries
      2
      >>> verify(file).entries
      2
    """
    with opened(path) as log:
        return log.append(event, **fields)


def verify(path: str | os.PathLike[str], head: str | None = None) -> Head:
    """Check all lines of a log; where it ends.

    Args:
      path: the log's file.
      head: a chain that the log is known to have had, to notice that its end was cut off.

    Raises:
      LogError: naming the first line that is not what was written, or if `head` is missing.
    """
    file = Path(path)
    if not file.exists():
        raise LogError(f"{file}: there is no such log. Name the file that the party writes")
    with opened(file, write=False) as log:
        if head not in (None, START) and all(entry.chain != head for entry in log.read()):
            raise LogError(
                f"{file}: none of the {log.head.entries} lines has the chain {head}: the end was "
                "cut off or the log is another one. Restore it from a copy"
            )
        return log.head


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], *, write: bool = True) -> Iterator[FileLog]:
    """A log, verified, that nobody else writes to until it is closed.

    Raises:
      LogError: if it is broken, writable by others than its owner, or cannot be opened; and if
        another run keeps it for longer than a few seconds.
    """
    file = Path(path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT if write else os.O_RDONLY
    try:
        descriptor = os.open(file, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LogError(
            f"{file} cannot be opened: {error.strerror}. Name a file in a folder that exists and "
            "that you may write into"
        ) from None
    try:
        _lock(file, descriptor, fcntl.LOCK_EX if write else fcntl.LOCK_SH)
        if os.fstat(descriptor).st_mode & 0o022:
            raise LogError(
                f"{file}: others than its owner can change the log. Run `chmod 600 {file}` and "
                "`jsmpc log verify` on it"
            )
        yield FileLog(file, descriptor)
    finally:
        os.close(descriptor)


def _lock(file: Path, descriptor: int, kind: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LogError(
                    f"{file}: another run of this party keeps the log open, and did so for the "
                    f"{PATIENCE:g} s that this one waited. Wait until it has ended, or give this "
                    "one a log of its own (jsmpc party --log FILE), where reveals and material "
                    "are counted anew"
                ) from None
        time.sleep(0.01)


class Log:
    """Entries chained by their hashes, in memory.

    Of its entries it remembers what later runs depend on.

    Attributes:
      head: where it ends.
      reveals: how often there was a reveal to a recipient with a label.
      material: the numbers of the material that was used.
      rules: how often a rule of a worker's policy was used, by its name.
    """

    def __init__(self) -> None:
        self.head = Head(0, START)
        self.reveals: Counter[tuple[Any, Any]] = Counter()
        self.material: set[Any] = set()
        self.rules: Counter[str] = Counter()
        self._entries: list[Entry] = []

    def read(self) -> Iterator[Entry]:
        """All entries, from the first one on."""
        yield from self._entries

    def append(self, event: str, /, **fields: Any) -> Head:
        """As the function `append`, in one go with what the log remembers."""
        if type(event) is not str:
            raise TypeError(f"a log's event must be a string, not {type(event).__name__}")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        plain = {name: _plain(name, value) for name, value in fields.items()}
        line = {"time": now, "event": event, "fields": plain}
        entry = Entry(now, event, plain, _chain(self.head.chain, line))
        self._keep(entry, f"{_canonical({**line, 'chain': entry.chain})}\n".encode())
        self._note(entry)
        return self.head

    def _keep(self, entry: Entry, line: bytes) -> None:
        """Keeps an entry for good."""
        self._entries.append(entry)

    def _note(self, entry: Entry) -> None:
        self.head = Head(self.head.entries + 1, entry.chain)
        if entry.event == REVEAL:
            self.reveals[entry.fields.get("to"), entry.fields.get("what")] += 1
        if entry.event == MATERIAL:
            self.material.add(entry.fields.get("number"))
        if type(rule := entry.fields.get("rule")) is str:
            self.rules[rule] += 1


class FileLog(Log):
    """An open log, made by `opened`: its entries are in the file, however long it becomes."""

    def __init__(self, file: Path, descriptor: int) -> None:
        super().__init__()
        self._file, self._descriptor = file, descriptor
        self._pending: list[bytes] | None = None
        for entry in self.read():
            self._note(entry)

    def read(self) -> Iterator[Entry]:
        """All entries, verified and from the first one on, as the file has them."""
        with open(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            yield from _verified(self._file, stream)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is appended inside is written as one at the end, and is kept once that is over."""
        before, self._pending = self.head, []
        try:
            yield
        finally:
            lines, self._pending = b"".join(self._pending), None
            try:
                self._write(lines)
            except LogError:
                self.head = before
                raise

    def _keep(self, entry: Entry, line: bytes) -> None:
        if self._pending is None:
            self._write(line)
        else:
            self._pending.append(line)

    def _write(self, line: bytes) -> None:
        """Write a line and wait until it is kept: a reveal must not happen before."""
        size = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):
                raise OSError(28, "no space left")
            os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise LogError(
                f"{self._file} cannot be written: {error.strerror}. Make room on its disk"
            ) from None


def _verified(file: Path, lines: Iterable[bytes]) -> Iterator[Entry]:
    previous = START
    for number, line in enumerate(lines, 1):
        try:
            entry = Entry(**_parsed(line))
            content = {"time": entry.time, "event": entry.event, "fields": entry.fields}
            problem = None if entry.chain == _chain(previous, content) else "was changed or moved"
        except (ValueError, TypeError, RecursionError):
            problem = "is no entry" if line.endswith(b"\n") else "is not complete"
        if problem:
            raise LogError(
                f"{file}: line {number} {problem}; the {number - 1} before it are as they were "
                "written. Keep this file as evidence and restore the log from a copy, or start a "
                "new one"
            )
        previous = entry.chain
        yield entry


def _parsed(line: bytes) -> dict[str, Any]:
    """The object of a line that is, to the byte, what `append` writes."""
    values = json.loads(line)
    if type(values) is not dict or set(values) != _KEYS or type(values["fields"]) is not dict:
        raise ValueError("not the keys of an entry")
    if line != f"{_canonical(values)}\n".encode():
        raise ValueError("not in canonical form")
    return values


def _chain(previous: str, line: dict[str, Any]) -> str:
    return hashlib.sha256(f"{previous}\n{_canonical(line)}".encode()).hexdigest()


def _canonical(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(name: str, value: Any, inside: bool = False) -> Any:
    """A field's value as JSON reads it back; within collections no fractions: they are data.

    NumPy's scalars derive from Python's, so that only the very types will do.
    """
    kind = type(value)
    if kind in (str, int, bool, type(None)):
        return value
    if kind is float and not inside and math.isfinite(value):
        return value
    if kind in (list, tuple):
        return [_plain(name, item, True) for item in value]
    if kind is dict and all(type(key) is str for key in value):
        return {key: _plain(name, item, True) for key, item in value.items()}
    raise TypeError(
        f"append to a log: the field {name!r} holds a {kind.__name__} that is no entry of a log, "
        "which holds no data. Log a name, a count or a shape instead"
    )
