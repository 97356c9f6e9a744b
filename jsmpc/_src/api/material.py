"""Offline material: what the parties received before they knew their inputs."""

from __future__ import annotations

from typing import Any

import jax

from jsmpc._src.errors import MaterialError
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime.dealing import Plan


@jax.tree_util.register_pytree_node_class
class Material:
    """Seeds of the parties and the dealer's corrections for one run of one function.

    Attributes:
      seeds: the parties' seeds, stacked on the leading axis.
      corrections: party 0's corrections, an entry for each of the plan's.
      plan: what was dealt, in order; material serves every function of the same plan.
      protocol: the protocol that it was made for.
    """

    def __init__(self, seeds: Any, corrections: Any, plan: Plan, protocol: Protocol):
        self.seeds, self.corrections = seeds, corrections
        self.plan, self.protocol = plan, protocol
        self._spent = False

    def tree_flatten(self) -> tuple[tuple[Any, Any], tuple[Plan, Protocol]]:
        return (self.seeds, self.corrections), (self.plan, self.protocol)

    @classmethod
    def tree_unflatten(cls, aux: tuple[Plan, Protocol], children: Any) -> Material:
        (seeds, corrections), (plan, protocol) = children, aux
        return cls(seeds, corrections, plan, protocol)

    def __repr__(self) -> str:
        state = "spent" if self._spent else "unused"
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
        if self._spent:
            raise MaterialError(
                "the material has been used: used twice, its masks would disclose differences of "
                "secrets. Call .offline again with a new key"
            )
        self._spent = True
