"""Functions of JAX on secrets of the replicated protocol, each; see `jax_functions`.

What they are made of, the rules, is tested with the other protocols in `test_rules`, and where
shapes, positions and integers matter in the files beside this one.
"""

import pytest

from jax_functions import CASES, check, ignored_underflow


@ignored_underflow
@pytest.mark.parametrize(("group", "name"), CASES, ids=lambda x: x)
def test_a_function_of_secrets_is_that_of_jax(group, name):
    check(group, name, "replicated")
