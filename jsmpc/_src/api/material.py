"""Offline material: what the parties received before they knew their inputs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jsmpc._src.api import material_file
from jsmpc._src.api.files import identity, of_party
from jsmpc._src.api.kept import refuse_files
from jsmpc._src.api.phases import Parts, Phases
from jsmpc._src.api.session import Session, current
from jsmpc._src.errors import MaterialError
from jsmpc._src.jaxprs import compat, tracing
from jsmpc._src.protocols.base import Protocol

# The numbers of what has been used in this process: a copy read from disk is no other material.
_SPENT: dict[str, object] = {}


class _Tag:
    """What a material is, in the pytree's structure; all structures count as equal."""

    def __init__(self, origin: Phases | str | None, number: str, files: Sequence[Path]):
        self.origin, self.number, self.files = origin, number, tuple(files)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tag)

    def __hash__(self) -> int:
        return hash(_Tag)


@jax.tree_util.register_pytree_node_class
class Material:
    """Seeds of the parties and the dealer's messages for one run of one function.

    It is used once: so are all its copies together (`copy`, `jax.tree.map`, `jax.device_put`,
    pickles that are read in the same process). In files of its own it outlives the process: that
    it is used is written down there, and in a session into the party's log, before it is used.

    Attributes:
      protocol: the protocol that it was made for.
      choreography: the fingerprint of the program that it was made for; nothing else takes it.
      parts: what each endpoint was dealt; in a session, this one's alone.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jax.random.key(0), jnp.ones(3), jsmpc.Additive())
      >>> square = jsmpc.secure(lambda x: x * x)
      >>> material = square.offline(jax.random.key(1), x)
      >>> material
      Material(Additive, 136 B, unused)
      >>> jsmpc.reveal(square.online(material, x)).shape, material
      ((3,), Material(Additive, 136 B, spent))
    """

    def __init__(
        self,
        parts: Parts,
        protocol: Protocol,
        origin: Phases | str | None,
        number: str | None = None,
        files: Sequence[Path] = (),
    ):
        self.parts, self.protocol = parts, protocol
        self._tag = _Tag(origin, secrets.token_hex(16) if number is None else number, files)

    @property
    def choreography(self) -> str | None:
        origin = self._tag.origin
        return origin.choreography if isinstance(origin, Phases) else origin

    @property
    def number(self) -> str:
        """What tells it from all other material."""
        return self._tag.number

    @property
    def files(self) -> tuple[Path, ...]:
        """Where it was written to or read from."""
        return self._tag.files

    def tree_flatten(self) -> tuple[tuple[Any], tuple[Any, ...]]:
        return (self.parts,), (self.protocol, self._tag)

    @classmethod
    def tree_unflatten(cls, aux: tuple[Any, ...], children: Any) -> Material:
        material = object.__new__(cls)
        (material.parts,), (material.protocol, material._tag) = children, aux
        return material

    def __reduce__(self) -> Any:
        parts = jax.tree.map(np.asarray, self.parts)
        tag = self._tag
        return _restored, (parts, self.protocol, self.choreography, tag.number, tag.files)

    def __copy__(self) -> Material:
        children, aux = self.tree_flatten()
        return self.tree_unflatten(aux, children)

    def __deepcopy__(self, memo: Any) -> Material:
        return self.__copy__()

    def __repr__(self) -> str:
        state = "spent" if is_spent(self) else "unused"
        size = sum(x.nbytes for x in jax.tree.leaves(self.parts))
        return f"Material({type(self.protocol).__name__}, {size:,} B, {state})"

    # On disk.

    def save(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write it to disk, each party's part to a file of its own.

        In a session each party writes its own file, and a dealer none; a simulation, as a dealer
        who works alone, writes all of them, for the parties to fetch.

        Args:
          path: of the files; the party's name is added to it.

        Returns:
          the files that were written, readable by their owner alone.

        Raises:
          MaterialError: if it was used, and inside of a transformation.

        Guarantee: a file tells no more than its party knows. Who has all parties' files of a run
        learns all secrets of that run: a party's belongs to it alone.

        Example:
          >>> import jax, jax.numpy as jnp, jsmpc, pathlib, tempfile
          >>> folder, smpc = tempfile.TemporaryDirectory(), jsmpc.Additive(("bob", "alice"))
          >>> x = jsmpc.share(jsmpc.random_key(), jnp.arange(3.0), smpc)
          >>> square = jsmpc.secure(lambda x: x * x)
          >>> path = pathlib.Path(folder.name, "square")
          >>> [file.name for file in square.offline(jsmpc.random_key(), x).save(path)]
          ['square.bob.material', 'square.alice.material']
          >>> jsmpc.reveal(square.online(jsmpc.Material.load(path, smpc), x)).shape
          (3,)
          >>> square.online(jsmpc.Material.load(path, smpc), x)
          Traceback (most recent call last):
              ...
          jsmpc.MaterialError: …square.bob.material: the material has been used: …
          >>> folder.cleanup()
        """
        refuse_transformation("save")
        if is_spent(self):
            raise material_file.used()
        if (session := current()) is not None:
            refuse_files(session, "material", MaterialError)
        written = []
        for endpoint in sorted(kept_by(self.protocol) & self.parts.keys()):
            file = of_party(path, self.protocol.endpoints[endpoint], "material")
            header = {
                **identity(self.protocol, endpoint),
                "choreography": self.choreography,
                "number": self._tag.number,
            }
            material_file.write(file, header, self.parts[endpoint])
            written.append(file)
        self._tag.files = (*self._tag.files, *(file.absolute() for file in written))
        return written

    @classmethod
    def load(cls, path: str | os.PathLike[str], protocol: Protocol | None = None) -> Material:
        """Read what `save` wrote: in a session one's own part, in a simulation all parties'.

        The words are mapped into memory: they are read from disk as the program comes to them.

        Args:
          path: as for `save`.
          protocol: that of the material; in a session it may be left out.

        Raises:
          MaterialError: if a file is missing, damaged, spent, of another party, protocol, ring or
            encoding, or dealt in another run than the other parties' files.

        Example:
          >>> import jsmpc
          >>> jsmpc.Material.load("nowhere", jsmpc.Additive())
          Traceback (most recent call last):
              ...
          jsmpc.MaterialError: nowhere.party0.material: there is no such file of material
        """
        session = current()
        smpc = session.protocol if session is not None else protocol
        if smpc is None:
            raise MaterialError("Material.load in a simulation takes the protocol of the material")
        if protocol is not None and protocol != smpc:
            raise MaterialError(f"the session runs {smpc}, not {protocol}")
        if session is not None:
            refuse_files(session, "material", MaterialError)
        ranks = kept_by(smpc) if session is None else kept_by(smpc) & {session.endpoint}
        parties = sorted(ranks)
        paths = [of_party(path, smpc.endpoints[rank], "material").absolute() for rank in parties]
        if not paths:  # a dealer, who keeps nothing
            assert session is not None
            return cls({session.endpoint: []}, smpc, None)
        found = [
            material_file.read(file, identity(smpc, rank))
            for file, rank in zip(paths, parties, strict=True)
        ]
        tags = {(header["choreography"], header["number"]) for header, _ in found}
        if len(tags) > 1:
            raise MaterialError(f"{path}: the parties' files were dealt in different runs")
        with compat.protocol_mode():
            parts = {
                rank: [jax.device_put(x) for x in arrays]
                for rank, (_, arrays) in zip(parties, found, strict=True)
            }
        return cls(parts, smpc, *tags.pop(), paths)

    # Its use.

    def spend(self, phases: Phases, protocol: Protocol, session: Session | None = None) -> None:
        """Mark as used; MaterialError if it was, or if it belongs to something else."""
        if self.protocol != protocol:
            raise MaterialError(f"the material was made for {self.protocol}, not for {protocol}")
        if self._tag.origin is not phases and self.choreography not in (phases.choreography, None):
            raise MaterialError(
                "the material was made for another function or for other shapes. Call .offline "
                "of this very function with arguments of these shapes"
            )
        if not phases.fit(self.parts):
            raise MaterialError(
                "the words of the material are not those that were dealt: they were computed on, "
                "or cut by JAX's 32-bit mode. Copy and store material whole (pickle, copy, save)"
            )
        wanted = kept_by(protocol) if session is None else kept_by(protocol) & {session.endpoint}
        if not self.parts.keys() >= wanted:
            raise MaterialError(
                "the material is one party's part alone: use it in a session, at that party"
            )
        refuse_transformation("online")
        if session is not None:
            session.spend(self._tag.number if wanted else None)
        self._claim()

    def _claim(self) -> None:
        own = object()
        if _SPENT.setdefault(self._tag.number, own) is not own:  # one step, also among threads
            raise material_file.used()
        for file in self._tag.files:
            material_file.claim(file)


def is_spent(material: Material) -> bool:
    """Whether material was used in this process."""
    return material.number in _SPENT


def kept_by(protocol: Protocol) -> set[int]:
    """The endpoints that have a part of material: all but a dealer, who keeps nothing."""
    return {e for e in range(len(protocol.endpoints)) if protocol.keys_of(e)}


def refuse_transformation(phase: str) -> None:
    """Raise MaterialError where one material would be made or used in many runs."""
    if tracing.transformed():
        raise MaterialError(
            f"{phase} inside of a transformation (jit, vmap, scan, grad) would have one material "
            "for every run and every element. Call it outside: it is compiled by itself"
        )


def _restored(parts: Mapping[int, Any], *rest: Any) -> Material:
    with compat.protocol_mode():
        return Material(jax.tree.map(jax.numpy.asarray, parts), *rest)
