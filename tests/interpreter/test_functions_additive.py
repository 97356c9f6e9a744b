"""Functions of JAX on secrets of the additive protocols; see `jax_functions`.

The rules that all others are made of are measured with `Additive` in `test_rules`. SecureNN
differs by its comparison.
"""

import pytest

from jax_functions import CASES, check, ignored_underflow

GROUPS = {"additive": ("arithmetic", "control"), "securenn": ("logic",)}
HERE = [(p, *case) for p, groups in GROUPS.items() for case in CASES if case[0] in groups]


@ignored_underflow
@pytest.mark.parametrize(("protocol", "group", "name"), HERE, ids=lambda x: x)
def test_a_function_of_secrets_is_that_of_jax(protocol, group, name):
    check(group, name, protocol)
