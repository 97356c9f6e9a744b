"""A secure function with one party a device: its arrays placed, its program mapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh as Devices
from jax.sharding import NamedSharding, PartitionSpec

from jsmpc._src import kernels
from jsmpc._src.api.arguments import is_words
from jsmpc._src.network.mesh import Mesh
from jsmpc._src.network.network import AXIS
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import dealing

_PARTY, _EVERYONE = PartitionSpec(AXIS), PartitionSpec()


def placed(devices: Devices, protocol: Protocol, seeds: Any, corrections: Any) -> tuple[Any, Any]:
    """Each party's material on its own device: its seeds, and what the dealer sent it."""
    material = protocol.placed(seeds[0]), dealing.by_party(corrections)
    return jax.device_put(material, NamedSharding(devices, _PARTY))


def _specs(tree: Any) -> Any:
    return jax.tree.map(lambda x: _PARTY if is_words(x) else _EVERYONE, tree, is_leaf=is_words)


def mapped(
    devices: Devices, parties: int, run: Callable[..., Any], leaves: Any, results: Any
) -> Callable[..., Any]:
    """A program of a network, seeds, corrections and leaves, over the devices of the parties."""
    network = Mesh(parties)

    def party(seeds: Any, corrections: Any, leaves: Any) -> Any:
        return run(network, seeds, jax.tree.map(lambda x: x[0], corrections), leaves)

    return jax.shard_map(
        kernels.optimize(party),
        mesh=devices,
        in_specs=(_PARTY, _PARTY, _specs(leaves)),
        out_specs=_specs(results),
        check_vma=False,
    )
