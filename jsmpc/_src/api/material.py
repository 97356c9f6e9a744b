"""Offline material: what the parties received before they knew their inputs."""

from __future__ import annotations

import secrets
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import MaterialError
from jsmpc._src.jaxprs import compat, tracing
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime.dealing import Plan

# The numbers of what has been used in this process: a copy read from disk is no other material.
_SPENT: dict[bytes, object] = {}


class _Number:
    """The number of one material, in the pytree's structure; all structures count as equal."""

    def __init__(self, value: bytes):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number)

    def __hash__(self) -> int:
        return hash(_Number)


@jax.tree_util.register_pytree_node_class
class Material:
    """Seeds of the parties and the dealer's messages for one run of one function.

    It is used once: so are all its copies together (`copy`, `jax.tree.map`, `jax.device_put`,
    pickles that are read in the same process).

    Attributes:
      seeds: the parties' seeds, stacked on the leading axis.
      corrections: party 0's corrections, an entry for each of the plan's.
      plan: what was dealt, in order; material serves every function of the same plan.
      protocol: the protocol that it was made for.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jax.random.key(0), jnp.ones(3), jsmpc.Additive())
      >>> square = jsmpc.secure(lambda x: x * x)
      >>> material = square.offline(jax.random.key(1), x)
      >>> material
      Material(2 entries, Additive, unused)
      >>> jsmpc.reveal(square.online(material, x)).shape, material
      ((3,), Material(2 entries, Additive, spent))
    """

    def __init__(
        self,
        seeds: Any,
        corrections: Any,
        plan: Plan,
        protocol: Protocol,
        number: _Number | None = None,
        words: tuple[Any, ...] | None = None,
    ):
        self.seeds, self.corrections = seeds, corrections
        self.plan, self.protocol = plan, protocol
        self._number = number or _Number(secrets.token_bytes(16))
        self._words = self._types() if words is None else words

    def _types(self) -> tuple[Any, ...]:
        return tuple((x.shape, x.dtype) for x in jax.tree.leaves((self.seeds, self.corrections)))

    def tree_flatten(self) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
        aux = (self.plan, self.protocol, self._number, self._words)
        return (self.seeds, self.corrections), aux

    @classmethod
    def tree_unflatten(cls, aux: tuple[Any, ...], children: Any) -> Material:
        return cls(*children, *aux)

    def __reduce__(self) -> Any:
        words = jax.tree.map(np.asarray, (self.seeds, self.corrections))
        return _restored, (words, self.plan, self.protocol, self._number.value)

    def __copy__(self) -> Material:
        children, aux = self.tree_flatten()
        return self.tree_unflatten(aux, children)

    def __deepcopy__(self, memo: Any) -> Material:
        return self.__copy__()

    def __repr__(self) -> str:
        state = "spent" if self._number.value in _SPENT else "unused"
        return f"Material({len(self.plan)} entries, {type(self.protocol).__name__}, {state})"

    def spend(self, plan: Plan, protocol: Protocol) -> None:
        """Mark as used; MaterialError if it was, or if it belongs to something else."""
        if self.protocol != protocol:
            raise MaterialError(f"the material was made for {self.protocol}, not for {protocol}")
        if self.plan != plan:
            raise MaterialError(
                "the material was made for another function or for other shapes. Call .offline "
                "of this very function with arguments of these shapes"
            )
        if self._types() != self._words:
            raise MaterialError(
                "the words of the material are not those that were dealt: they were computed on, "
                "or cut by JAX's 32-bit mode. Copy and store material whole (pickle, copy)"
            )
        refuse_transformation("online")
        own = object()
        if _SPENT.setdefault(self._number.value, own) is not own:  # one step, also among threads
            raise MaterialError(
                "the material has been used: used twice, its masks would disclose differences of "
                "secrets. Call .offline again with a new key"
            )


def refuse_transformation(phase: str) -> None:
    """Raise MaterialError where one material would be made or used in many runs."""
    if tracing.transformed():
        raise MaterialError(
            f"{phase} inside of a transformation (jit, vmap, scan, grad) would have one material "
            "for every run and every element. Call it outside: it is compiled by itself"
        )


def _restored(words: Any, plan: Plan, protocol: Protocol, number: bytes) -> Material:
    with compat.protocol_mode():
        seeds, corrections = jax.tree.map(jnp.asarray, words)
        return Material(seeds, corrections, plan, protocol, _Number(number))
