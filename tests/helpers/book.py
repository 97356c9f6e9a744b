"""A file of workers and clients, with their identities, for tests on this machine."""

from __future__ import annotations

from pathlib import Path

from jsmpc._src.deployment import identity
from jsmpc._src.deployment.probe import free_port
from jsmpc._src.transport.directory import Directory


class Book:
    """Writes `workers.toml` into a folder, and the identities of whom it names.

    Args:
      folder: where to.
      keys: those of the whole file.
    """

    def __init__(self, folder: Path, **keys: float) -> None:
        self.folder, self.file = folder, folder / "workers.toml"
        self._keys, self._tables = keys, dict[tuple[str, str], dict[str, str | int]]()

    def worker(self, name: str, host: str = "127.0.0.1", port: int | None = None) -> None:
        """Adds a worker."""
        address = {"host": host, "port": port or free_port("::1" if ":" in host else "127.0.0.1")}
        self._add("workers", name, address)

    def client(self, name: str) -> None:
        """Adds a client."""
        self._add("clients", name, {})

    def remove(self, name: str) -> None:
        """Takes somebody out of the file; the identity stays."""
        self._tables = {key: row for key, row in self._tables.items() if key[1] != name}
        self.write()

    def change(self, name: str, **values: str | int) -> None:
        """Changes keys of somebody's table."""
        for (_, other), row in self._tables.items():
            if other == name:
                row.update(values)
        self.write()

    def load(self) -> Directory:
        """The directory as the file is now."""
        return Directory.load(self.file)

    def write(self) -> None:
        """Writes the file, all at once."""
        lines = [f"{key} = {value}" for key, value in self._keys.items()]
        for (kind, name), row in self._tables.items():
            lines += ["", f"[{kind}.{name}]"]
            lines += [f"{key} = {value!r}" for key, value in row.items()]
        fresh = self.folder / "fresh.toml"
        fresh.write_text("\n".join(lines))
        fresh.rename(self.file)

    def _add(self, kind: str, name: str, row: dict[str, str | int]) -> None:
        if not (self.folder / f"{name}.key.pem").exists():
            identity.new(name, self.folder)
        self._tables[kind, name] = {**row, "certificate": f"{name}.cert.pem"}
        self.write()
