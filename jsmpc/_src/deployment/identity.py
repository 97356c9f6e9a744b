"""A party's identity: a private key, and the certificate by which the others know it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jsmpc._src.deployment import certificates
from jsmpc._src.deployment.errors import ConfigError

EVERYONE = "everyone"  # whom a policy calls so; no party may be


@dataclasses.dataclass(frozen=True)
class Identity:
    """Where a party's key and certificate are.

    Attributes:
      name: the party's, and the certificate's common name.
      certificate_path: what the other parties get.
      key_path: what never leaves the party's machine.
      fingerprint: the certificate's SHA-256, to compare by another way than the file came.

    Example:
      >>> import tempfile
      >>> from jsmpc._src.deployment import identity
      >>> folder = tempfile.TemporaryDirectory()
      >>> alice = identity.new("alice", folder.name)
      >>> alice.certificate_path.name, alice.key_path.name, len(alice.fingerprint.split())
      ('alice.cert.pem', 'alice.key.pem', 16)
      >>> identity.load(folder.name, "alice") == alice
      True
    """

    name: str
    certificate_path: Path
    key_path: Path
    fingerprint: str


def check_name(name: str) -> str:
    """The name, if a party may have it.

    Raises:
      ConfigError: unless it has 1 to 64 of the characters A-Z, a-z, 0-9, _ and -, or if it is
        `everyone`, which is what policies call all parties.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ConfigError(
            f"{name!r} is no name of a party: take 1 to 64 of the characters A-Z, a-z, 0-9, _ and -"
        )
    if name == EVERYONE:
        raise ConfigError(f"{name!r} means all parties in a policy; name the party otherwise")
    return name


def new(name: str, folder: str | os.PathLike[str]) -> Identity:
    """Make an identity: write `<name>.key.pem`, for its owner alone, and `<name>.cert.pem`.

    Args:
      name: the party's name.
      folder: where to; it must exist.

    Raises:
      ConfigError: for a name that no party may have, a folder that cannot be written, or if one
        of the files exists: an identity is never overwritten.
    """
    certificate_path, key_path = _paths(Path(folder), check_name(name))
    private, certificate = certificates.create(name)
    with contextlib.ExitStack() as undo:
        for path, mode, text in (
            (key_path, 0o600, private),
            (certificate_path, 0o644, certificate),
        ):
            _write_new(path, mode, text, undo)
        undo.pop_all()
    fingerprint = certificates.read(certificate, str(certificate_path)).fingerprint
    return Identity(name, certificate_path, key_path, fingerprint)


def load(folder: str | os.PathLike[str], name: str) -> Identity:
    """The identity that `new` wrote into a folder.

    Raises:
      ConfigError: if a file is missing, the key can be read by others than its owner, the
        certificate is another party's or not valid now, or the two do not belong together.
    """
    certificate_path, key_path = _paths(Path(folder), check_name(name))
    public = certificates.public_key(_read_private(key_path), str(key_path))
    certificate = certificates.read(read_file(certificate_path), str(certificate_path))
    if certificate.name != name:
        raise ConfigError(
            f"{certificate_path}: is the certificate of {certificate.name!r}, not of {name!r}. Put "
            "back the one that came with the key"
        )
    if certificate.public_key != public:
        raise ConfigError(
            f"{certificate_path} is not the certificate of the key {key_path}. Put back the one "
            "that came with it, or make a new identity in another folder"
        )
    certificate.check_time(str(certificate_path))
    return Identity(name, certificate_path, key_path, certificate.fingerprint)


def load_shown(folder: str | os.PathLike[str], name: str, fingerprint: str, where: str) -> Identity:
    """The identity in a folder, if it has the certificate that a file shows to the others.

    Args:
      folder, name: as for `load`.
      fingerprint: that of the certificate in the file.
      where: it stands there, for the error.

    Raises:
      ConfigError: if it is another one, and as `load` does.
    """
    found = load(folder, name)
    if found.fingerprint != fingerprint:
        raise ConfigError(
            f"{where}: is not {found.certificate_path}, so that the others would refuse {name}. "
            "Send them that file"
        )
    return found


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
      ConfigError: if it cannot be read.
    """
    with _readable(path):
        return path.read_bytes()


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.cert.pem", folder / f"{name}.key.pem"


def _write_new(path: Path, mode: int, text: bytes, undo: contextlib.ExitStack) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists, and an identity is never overwritten. Take another folder, or move "
            "the old key and certificate away"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}. Name a folder that exists and that you "
            "may write into"
        ) from None
    undo.callback(path.unlink)
    with open(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _read_private(path: Path) -> bytes:
    with _readable(path), open(path, "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ConfigError(
                f"{path}: others than its owner can read or change the key. Run "
                f"`chmod 600 {path}`, and make a new identity if somebody may have read it"
            )
        return file.read()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file. `jsmpc keys new` makes a key and its certificate"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Check its owner") from None
