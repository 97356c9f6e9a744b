"""The prices of one function under several protocols, side by side."""

from __future__ import annotations

import dataclasses
from typing import Any

from jsmpc._src.readings.pricing.profile import Profile, protocol_name
from jsmpc._src.readings.pricing.tables import amount, duration, table


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `jsmpc.profile` found of a function under several protocols.

    Attributes:
      profiles: one for each, in their order.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> secret = jax.ShapeDtypeStruct((10,), jnp.float32)
      >>> protocols = jsmpc.Replicated3(), jsmpc.Additive()
      >>> found = jsmpc.profile(jnp.square, secret, protocols=protocols)
      >>> [price.rounds for price in found.profiles]
      [2, 2]
      >>> print(str(found).splitlines()[0])
      square
    """

    profiles: tuple[Profile, ...]

    def as_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts, to be stored as JSON."""
        return {"profiles": [profile.as_dict() for profile in self.profiles]}

    def __str__(self) -> str:
        first = self.profiles[0]
        names = [n.name for n in first.networks]
        head = ("rounds", "busiest sends", "dealer sends", "memory", *names, "protocol")
        rows = [
            (
                f"{'>= ' if p.lower_bound else ''}{p.rounds}",
                f"{amount(max(p.bytes_sent))}B",
                f"{amount(p.dealer_bytes)}B" if p.dealer_bytes else "-",
                f"{amount(max(p.peak_memory))}B",
                *(duration(p.seconds[name]) for name in names),
                protocol_name(p.protocol),
            )
            for p in self.profiles
        ]
        return "\n".join([first.function, *table(head, rows, right=4 + len(names))])

    def plot(self, ax: Any = None) -> Any:
        """Draw the seconds on each network by protocol; returns the (Matplotlib) axes."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        networks = self.profiles[0].networks
        width = 0.8 / max(len(networks), 1)
        for i, network in enumerate(networks):
            places = [x + width * i for x in range(len(self.profiles))]
            heights = [p.seconds[network.name] for p in self.profiles]
            ax.bar(places, heights, width, label=network.name)
        names = [protocol_name(p.protocol).replace("(", "\n(") for p in self.profiles]
        ax.set_xticks(range(len(names)), names)
        ax.set(ylabel="predicted seconds", yscale="log", title=self.profiles[0].function)
        ax.legend()
        return ax
