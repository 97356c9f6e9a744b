"""Every public name has an example, and every example runs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from documented import examples, run

PUBLIC = {name: getattr(jsmpc, name) for name in jsmpc.__all__ if name != "__version__"}


@pytest.fixture(autouse=True)
def fixed_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """`random_key` draws from a fixed seed, so that every run shows the same last digits."""
    rng = np.random.default_rng(0)

    def fixed_key() -> jax.Array:
        return jnp.asarray(rng.integers(0, 2**32, 8, np.uint32))

    monkeypatch.setattr(jsmpc, "random_key", fixed_key)


def test_the_package_shows_what_is_used_together() -> None:
    run(examples(jsmpc, "jsmpc"))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    test = examples(PUBLIC[name], f"jsmpc.{name}")
    assert test.examples
    run(test)
