"""What a server announces of a round to a node, as the values of a record of Flower's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.masked.setup import OneServer
from jsmpc._src.federated.quantization import Quantization


class Noise(NamedTuple):
    """The noise of a sum, of which each client adds a part.

    Attributes:
      deviation: of the sum's, in units of the quantization; 0 for none.
      honest: how many add to it at least.
      clip: the largest Euclidean length of an update.
    """

    deviation: float = 0.0
    honest: int = 1
    clip: float = 0.0


class Announced(NamedTuple):
    """A round, as one node learns of it.

    Attributes:
      setup: of the round; number: of the node among its clients.
      round_number: of the round.
      noise: what the node adds a part of.
    """

    setup: OneServer
    number: int
    round_number: int
    noise: Noise

    def values(self) -> dict[str, Any]:
        """It, as values of a `ConfigRecord`."""
        fields = {f.name: getattr(self.setup, f.name) for f in dataclasses.fields(self.setup)}
        like = fields.pop("like")
        rest = {
            "quantization": dataclasses.asdict(fields.pop("quantization")),
            "like": [like.shapes, like.dtypes],
            "number": self.number,
            "round_number": self.round_number,
            "noise": self.noise,
        }
        identities, seed = fields.pop("identities"), fields.pop("seed")
        text = json.dumps({**fields, **rest})
        return {"announced": text, "identities": list(identities), "seed": seed}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Announced:
        """What `values` gave; FederatedError for anything else, and for set-ups that do not hold
        what they promise."""
        try:
            fields = json.loads(values["announced"])
            number, round_number = int(fields.pop("number")), int(fields.pop("round_number"))
            noise, rule = Noise(*fields.pop("noise")), Quantization(**fields.pop("quantization"))
            described = zip(*fields.pop("like"), strict=True)
            setup = OneServer(
                quantization=rule,
                like=[jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in described],
                identities=values["identities"],
                seed=values["seed"],
                **fields,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FederatedError("flower: the announcement of a round is malformed") from error
        return cls(setup, number, round_number, noise)
