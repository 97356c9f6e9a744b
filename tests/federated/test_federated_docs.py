"""Every example of `jsmpc.federated` runs."""

from __future__ import annotations

import sys

import pytest

from documented import examples, run
from jsmpc import federated


@pytest.mark.parametrize("name", ["federated", *federated.__all__])
def test_its_examples_run(name: str) -> None:
    documented = getattr(federated, name, federated)
    known = vars(sys.modules[getattr(documented, "__module__", federated.__name__)])
    assert documented.__doc__
    run(examples(documented, name, known))
