"""Shares on disk: a file for each party, with its own rows and nothing else."""

from __future__ import annotations

import io
import json
import os
import secrets
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import forms
from jsmpc._src.api.files import checksum, different, identity, of_party, replaced
from jsmpc._src.api.held import Held, is_held, session_of
from jsmpc._src.api.kept import refuse_files
from jsmpc._src.api.session import Session, current
from jsmpc._src.api.share import Share, checked, is_share
from jsmpc._src.errors import ProtocolError
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols.base import Protocol

_FORMAT = 2
_HEADER = "header"


def save(tree: Any, path: str | os.PathLike[str]) -> list[Path]:
    """Write shares to disk, each party's rows to a file of its own.

    In a session each party writes its own file, and all call this; a simulation writes all of them.

    Args:
      tree: a share, or dictionaries, lists and tuples of shares.
      path: of the files; the party's name is added to it.

    Returns:
      the files that were written, readable by their owner alone.

    Raises:
      TypeError: for another kind of container, or a leaf that is no share.

    Guarantee: a file tells no more than its party knows: the rows, and all shapes.

    Example:
      >>> import jax.numpy as jnp, jsmpc, pathlib, tempfile
      >>> folder = tempfile.TemporaryDirectory()
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.arange(3.0), jsmpc.Replicated3())
      >>> files = jsmpc.save({"x": x}, pathlib.Path(folder.name, "weights"))
      >>> [file.name for file in files]
      ['weights.party0.share', 'weights.party1.share', 'weights.party2.share']
      >>> loaded = jsmpc.load(pathlib.Path(folder.name, "weights"), jsmpc.Replicated3())
      >>> jsmpc.reveal(loaded["x"])
      Array([0., 1., 2.], dtype=float32)
      >>> folder.cleanup()
    """
    leaves: list[Any] = []
    form = forms.form_of(tree, leaves, lambda x: is_share(x) or is_held(x))
    session = session_of(leaves)
    if session is not None:
        refuse_files(session, "shares", ProtocolError)
        sharing = session.number()
        if not session.is_party:
            return []
        files = {session.endpoint: [[r for rows in x.rows for r in rows] for x in leaves]}
        protocol = session.protocol
    else:
        protocol = _common(leaves)
        sharing, files = secrets.token_hex(16), {}
        for rank in range(protocol.size):
            rows = sorted(protocol.holds(rank))
            files[rank] = [[c[r] for c in checked(x).components for r in rows] for x in leaves]
    types = [[list(x.shape), x.dtype.name, x.digits] for x in leaves]
    written = []
    for rank, arrays in files.items():
        header = {**_expected(protocol, rank), "sharing": sharing, "tree": form, "leaves": types}
        file = of_party(path, protocol.parties[rank], "share")
        _write(file, header, arrays)
        written.append(file)
    return written


def load(path: str | os.PathLike[str], protocol: Protocol | None = None) -> Any:
    """Read what `save` wrote: in a session one's own rows, in a simulation all parties'.

    Args:
      path: as for `save`.
      protocol: that of the shares; in a session it may be left out.

    Raises:
      ProtocolError: if a file is missing, damaged, of another party, protocol, ring or encoding, or
        of another sharing than the other parties' files.

    Example:
      >>> import jax.numpy as jnp, jsmpc, pathlib, tempfile
      >>> smpc, other = jsmpc.Replicated3(), jsmpc.Replicated3(bits=32)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "bias")
      ...     _ = jsmpc.save(jsmpc.share(jsmpc.random_key(), jnp.ones(2), smpc), path)
      ...     jsmpc.load(path, other)
      Traceback (most recent call last):
          ...
      jsmpc.ProtocolError: …bias.party0.share is of another bits: 64, where 32 is wanted
    """
    session = current()
    if session is None:
        if protocol is None:
            raise ProtocolError("load in a simulation takes the protocol of the shares")
        found = [
            _read(of_party(path, p, "share"), protocol, i) for i, p in enumerate(protocol.parties)
        ]
        sharings = {header["sharing"] for header, _ in found}
        if len(sharings) > 1:
            raise ProtocolError(f"{path}: the parties' files are of different sharings")
        return _shares(found, protocol)
    if protocol is not None and protocol != session.protocol:
        raise ProtocolError(f"the session runs {session.protocol}, not {protocol}")
    return _held(session, path)


def _shares(found: Sequence[tuple[Any, list[list[np.ndarray]]]], protocol: Protocol) -> Any:
    """Shares of a simulation, from all parties' files."""
    header = found[0][0]
    leaves = []
    with compat.protocol_mode():
        for i, (_, dtype, digits) in enumerate(header["leaves"]):
            components = []
            for array in range(protocol.arrays):
                rows: dict[int, np.ndarray] = {}
                for rank, (_, arrays) in enumerate(found):
                    own = sorted(protocol.holds(rank))
                    mine = arrays[i][array * len(own) : (array + 1) * len(own)]
                    rows.update(zip(own, mine, strict=True))
                components.append(jnp.stack([rows[r] for r in range(protocol.size)]))
            leaves.append(checked(Share(tuple(components), protocol, dtype, digits)))
    return forms.tree_of(header["tree"], iter(leaves))


def _held(session: Session, path: str | os.PathLike[str]) -> Any:
    """One party's rows; a dealer, who has none, is told their shapes."""
    refuse_files(session, "shares", ProtocolError)
    header: dict[str, Any] | None = None
    arrays: list[list[np.ndarray]] = []
    count = len(session.rows())
    if session.is_party:
        header, arrays = _read(
            of_party(path, session.name, "share"), session.protocol, session.endpoint
        )
    names = ("sharing", "tree", "leaves")
    form = session.agreed("stored shares", header and {name: header[name] for name in names})
    leaves = []
    with compat.protocol_mode():
        for i, (shape, dtype, digits) in enumerate(form["leaves"]):
            rows = [jnp.asarray(x) for x in arrays[i]] if arrays else []
            columns = [tuple(rows[j : j + count]) for j in range(0, len(rows), count or 1)]
            leaves.append(Held(session, tuple(shape), dtype, tuple(columns), digits))
    return forms.tree_of(form["tree"], iter(leaves))


# Files.


def _expected(protocol: Protocol, rank: int) -> dict[str, Any]:
    return {"format": _FORMAT, **identity(protocol, rank)}


def _common(leaves: Sequence[Any]) -> Protocol:
    protocols = {x.protocol for x in leaves}
    if len(protocols) != 1:
        raise ProtocolError(f"save takes shares of one protocol, not of {len(protocols)}")
    return next(iter(protocols))


def _write(file: Path, header: dict[str, Any], arrays: Sequence[Sequence[Any]]) -> None:
    """Write a file as a whole or not at all."""
    own = [np.asarray(x) for row in arrays for x in row]
    lengths = [len(row) for row in arrays]
    header = {**header, "rows": lengths, "checksum": checksum({**header, "rows": lengths}, own)}
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    named: dict[str, Any] = {_HEADER: text, **{f"row{i}": x for i, x in enumerate(own)}}
    np.savez(buffer, **named)
    with replaced(file) as stream:
        stream.write(buffer.getbuffer())


def _read(
    file: Path, protocol: Protocol, rank: int
) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
    """A file's header and rows, leaf by leaf; ProtocolError unless they are what they should be."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            header = json.loads(bytes(content[_HEADER]))
            own = [content[f"row{i}"] for i in range(len(content.files) - 1)]
        whole = header.pop("checksum") == checksum(header, own)
    except FileNotFoundError:
        raise ProtocolError(f"{file}: there is no such file of shares") from None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, AttributeError):
        whole = False
    if not whole:
        raise ProtocolError(f"{file} is damaged, or no file of shares")
    if (problem := different(header, _expected(protocol, rank))) is not None:
        raise ProtocolError(f"{file} {problem}")
    rows = iter(own)
    return header, [[next(rows) for _ in range(n)] for n in header["rows"]]
