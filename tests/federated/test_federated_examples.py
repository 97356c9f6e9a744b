"""Every example of `jsmpc.federated` runs."""

from __future__ import annotations

import doctest
import inspect

import pytest

from jsmpc import federated

OPTIONS = doctest.FAIL_FAST | doctest.IGNORE_EXCEPTION_DETAIL
NAMES = sorted(
    name for name in federated.__all__ if ">>>" in (getattr(federated, name).__doc__ or "")
)


@pytest.mark.parametrize("name", ["", *NAMES])
def test_examples_run(name: str) -> None:
    documented = getattr(federated, name) if name else federated
    known = {one: getattr(federated, one) for one in federated.__all__}
    text = inspect.cleandoc(documented.__doc__ or "")
    test = doctest.DocTestParser().get_doctest(text, known, name, None, None)
    lines: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=lines.append)
    assert test.examples and not lines, "".join(lines)
