"""Functions of JAX on secrets of the replicated protocol; see `functions`."""

import pytest

from jax_functions import CASES, check, ignored_underflow


@ignored_underflow
@pytest.mark.parametrize(("group", "name"), CASES, ids=lambda x: x)
def test_a_function_of_secrets_is_that_of_jax(group, name):
    check(group, name, "replicated")
