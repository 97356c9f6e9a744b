"""The examples in this layer run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from jsmpc._src import service

MODULES = sorted(path.stem for path in Path(service.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    module = importlib.import_module(f"{service.__name__}.{name}")
    options = doctest.IGNORE_EXCEPTION_DETAIL
    assert doctest.testmod(module, optionflags=options).failed == 0
