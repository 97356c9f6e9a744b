"""Every public name has an example, and every example runs."""

from __future__ import annotations

import doctest
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc

# What is used together is shown together, in the docstring of the package.
SHOWN_BY_THE_PACKAGE = {"Material", "SecureFunction", "Share", "reveal", "secure", "share"}
CONSTANTS = {"__version__"}
NAMES = sorted(set(jsmpc.__all__) - CONSTANTS)
PUBLIC = {name: getattr(jsmpc, name) for name in NAMES}
OPTIONS = doctest.IGNORE_EXCEPTION_DETAIL | doctest.FAIL_FAST


def examples(documented: Any, name: str) -> doctest.DocTest:
    text = inspect.cleandoc(documented.__doc__ or "")
    return doctest.DocTestParser().get_doctest(text, {}, name, None, None)


@pytest.fixture(autouse=True)
def fixed_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """`random_key` draws from a fixed seed, so that every run shows the same last digits."""
    rng = np.random.default_rng(0)

    def fixed_key() -> jax.Array:
        return jnp.asarray(rng.integers(0, 2**32, 8, np.uint32))

    monkeypatch.setattr(jsmpc, "random_key", fixed_key)


def run(test: doctest.DocTest) -> None:
    lines: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=lines.append)
    assert not lines, "".join(lines)


def test_the_package_shows_what_is_used_together() -> None:
    test = examples(jsmpc, "jsmpc")
    run(test)
    for name in SHOWN_BY_THE_PACKAGE:
        assert name in jsmpc.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    test = examples(PUBLIC[name], f"jsmpc.{name}")
    assert test.examples or name in SHOWN_BY_THE_PACKAGE
    run(test)
