"""A directory whose file is read again when it changes."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.transport.directory import Directory

_PAUSE = 1.0  # seconds between two looks

_LOGGER = logging.getLogger("jsmpc")


class Watched:
    """What the file of a directory says now, looked at once a second at most.

    While the file, or a certificate that it names, cannot be used, nobody may ask: whoever removes
    somebody from it must not find later that a slip elsewhere in it has kept the old one.

    Args:
      directory: what the file said first.
    """

    def __init__(self, directory: Directory) -> None:
        self._lock, self._next = threading.Lock(), 0.0
        self._directory, self._error = directory, ""
        self._stamps = _stamps(directory)

    def now(self) -> Directory:
        """The directory as its file is now.

        Raises:
          ConfigError: if the file cannot be used now.
        """
        with self._lock:
            if time.monotonic() >= self._next:
                if self._error or self._stamps != _stamps(self._directory):
                    self._read()
                self._next = time.monotonic() + _PAUSE
            if self._error:
                raise ConfigError(self._error)
            return self._directory

    def _read(self) -> None:
        try:
            stamps = _stamps(self._directory)  # before: what changes meanwhile is read again
            directory = type(self._directory).load(self._directory.file)
            if directory.files != self._directory.files:
                stamps = _stamps(directory)
            self._directory, self._stamps, self._error = directory, stamps, ""
        except ConfigError as error:
            if str(error) != self._error:
                _LOGGER.error("nobody may ask until this is mended: %s", error)
            self._error = str(error)


def _stamps(directory: Directory) -> dict[Path, tuple[int, ...] | None]:
    """What changes with the files of a directory."""
    return {file: _stamp(file) for file in directory.files}


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
