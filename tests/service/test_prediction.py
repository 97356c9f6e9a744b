"""What can be served, as it is found before anything is computed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc._src.api.held import Held
from jsmpc._src.api.session import Session
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.service import model
from jsmpc._src.service.prediction import Prediction, sizes


class Still(Session):
    """A party of a session in which nothing runs."""

    protocol, endpoint = jsmpc.Replicated3(), 0

    def number(self) -> str:
        raise NotImplementedError

    def spend(self, number: str | None) -> None:
        raise NotImplementedError

    def agreed(self, what: str, value: Any) -> Any:
        raise NotImplementedError

    def run(self, *_: Any) -> Any:
        raise NotImplementedError


def prediction(apply: Any, largest: int = 4) -> Prediction:
    session, kind = Still(), jax.ShapeDtypeStruct((3,), np.dtype(np.float32))
    rows = (np.zeros(3, np.uint64),) * 2
    weights = {"w": Held(session, (3,), np.float32, (rows,))}
    served = model.Model(model._MODELS / "test.py", apply, kind)
    return Prediction(session, served, weights, largest)


def test_a_model_that_reveals_nothing_can_be_served() -> None:
    found = prediction(lambda params, x: params["w"] * x)
    assert found.sizes == [1, 2, 4] and found.largest == 4


@pytest.mark.parametrize("to", [None, "party1"])
def test_a_model_that_reveals_something_to_parties_cannot(to: str | None) -> None:
    def apply(params: Any, x: Any) -> Any:
        return jax.lax.cond(params["w"][0] > 0, lambda: x, lambda: x * jsmpc.reveal(x, to=to).sum())

    with pytest.raises(jsmpc.JsmpcError, match=r"reveals something to|reveal"):
        prediction(apply)


def test_answers_cannot_depend_on_inputs_of_others() -> None:
    """Whatever a model computes of one input is computed of each by itself."""
    served = model.Model(
        model._MODELS / "test.py",
        lambda params, x: x / jnp.sum(x) + params["w"],
        jax.ShapeDtypeStruct((3,), np.dtype(np.float32)),
    )
    x = np.random.default_rng(0).uniform(1, 2, (4, 3)).astype(np.float32)
    other = x.copy()
    other[2:] = 7.0
    params = {"w": np.ones(3, np.float32)}
    found, again = (served.batched(params, b) for b in (x, other))
    np.testing.assert_array_equal(found[:2], again[:2])
    np.testing.assert_allclose(found[0], x[0] / x[0].sum() + 1, rtol=1e-6)


@pytest.mark.parametrize("largest", [0, -4, 3, 12])
def test_the_largest_batch_is_a_power_of_two(largest: int) -> None:
    with pytest.raises(ConfigError, match=f"power of two, not {largest}"):
        sizes(largest)
