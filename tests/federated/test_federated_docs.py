"""Every example of `jsmpc.federated` runs."""

from __future__ import annotations

import doctest
import inspect
import sys

import pytest

from jsmpc import federated

OPTIONS = doctest.IGNORE_EXCEPTION_DETAIL | doctest.FAIL_FAST


@pytest.mark.parametrize("name", ["federated", *federated.__all__])
def test_its_examples_run(name: str) -> None:
    documented = getattr(federated, name, federated)
    known = vars(sys.modules[getattr(documented, "__module__", federated.__name__)])
    text = inspect.cleandoc(documented.__doc__ or "")
    assert text
    test = doctest.DocTestParser().get_doctest(text, dict(known), name, None, None)
    lines: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=lines.append)
    assert not lines, "".join(lines)
