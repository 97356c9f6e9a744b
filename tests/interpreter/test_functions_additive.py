"""Functions of JAX on secrets of the additive protocol; see `jax_functions`.

Those whose rules treat positions and words in a way of their own; the rules that all others are
made of are measured with this protocol in `test_rules`.
"""

import pytest

from jax_functions import CASES, check, ignored_underflow

HERE = [(group, name) for group, name in CASES if group in ("arithmetic", "shapes", "control")]


@ignored_underflow
@pytest.mark.parametrize(("group", "name"), HERE, ids=lambda x: x)
def test_a_function_of_secrets_is_that_of_jax(group, name):
    check(group, name, "additive")
