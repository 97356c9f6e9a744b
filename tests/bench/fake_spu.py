"""What `peers` needs of SPU, with a product of matrices in the clear in the place of everything."""

from __future__ import annotations

import os
import types
from typing import Any

import numpy as np


class Desc:
    def __init__(self) -> None:
        self.addresses: list[str] = []

    def add_party(self, name: str, address: str) -> None:
        self.addresses.append(address)


def _created(description: Desc, rank: int) -> int:
    with open(os.environ["FAKE_SPU"], "a") as file:
        file.write(f"{os.getpid()} {description.addresses[rank]}\n")
    return rank


class Io:
    def __init__(self, parties: int, config: Any) -> None:
        self._parties = parties

    def make_shares(self, x: np.ndarray, visibility: Any) -> list[np.ndarray]:
        return [x] * self._parties

    def reconstruct(self, shares: list[np.ndarray]) -> np.ndarray:
        assert all(np.array_equal(x, shares[0]) for x in shares)
        return shares[0]


class Runtime:
    """One that ends its process on the second run as party 1, if it is to."""

    def __init__(self, rank: int, config: Any) -> None:
        self._rank, self._values, self._runs = rank, dict[str, np.ndarray](), 0
        self.set_var, self.get_var = self._values.__setitem__, self._values.__getitem__

    def run(self, executable: types.SimpleNamespace) -> None:
        self._runs += 1
        if (self._rank, self._runs, os.environ.get("FAKE_SPU_DIES")) == (1, 2, "1"):
            os._exit(3)
        self._values[executable.output_names[0]] = self._values["in0"] @ self._values["in1"]


def compiled(*arguments: Any) -> tuple[types.SimpleNamespace, None]:
    return types.SimpleNamespace(output_names=arguments[-1]([0])), None


libspu = types.SimpleNamespace(
    RuntimeConfig=lambda **kinds: kinds,
    ProtocolKind=types.SimpleNamespace(ABY3="ABY3", SEMI2K="SEMI2K"),
    FieldType=types.SimpleNamespace(FM64=64),
    Visibility=types.SimpleNamespace(VIS_SECRET=1),
    link=types.SimpleNamespace(Desc=Desc, create_brpc=_created, create_mem=_created),
)
