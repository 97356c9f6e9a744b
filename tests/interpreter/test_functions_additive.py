"""Functions of JAX on secrets of the additive protocol; see `functions`."""

import pytest

from jax_functions import CASES, check, ignored_underflow

# What the groups left out are made of is in the others; compiling them again takes a minute.
HERE = [(group, name) for group, name in CASES if group not in ("special", "gradients")]


@ignored_underflow
@pytest.mark.parametrize(("group", "name"), HERE, ids=lambda x: x)
def test_a_function_of_secrets_is_that_of_jax(group, name):
    check(group, name, "additive")
