"""Functions of JAX on secrets, each; see `jax_functions`.

What they are made of, the rules, is tested on shares in `test_rules`, and where shapes, positions
and integers matter in the files beside this one. Where the error of what they are made of adds up,
and where values are public in part, they run among three parties; the others run in the clear.
"""

import pytest

from jax_functions import CASES, check, ignored_underflow

AMONG_PARTIES = {"arithmetic", "control", "gradients", "logic", "nn", "products"}


@ignored_underflow
@pytest.mark.parametrize(("group", "name"), CASES, ids=lambda x: x)
def test_a_function_of_secrets_is_that_of_jax(group, name):
    check(group, name, "replicated" if group in AMONG_PARTIES else "plain")
