"""The examples in docstrings, and that they show what they say."""

from __future__ import annotations

import doctest
import inspect
from typing import Any

OPTIONS = doctest.IGNORE_EXCEPTION_DETAIL | doctest.FAIL_FAST


def examples(documented: Any, name: str, known: dict[str, Any] | None = None) -> doctest.DocTest:
    """Those of a docstring, of which some names are known without an import."""
    text = inspect.cleandoc(documented.__doc__ or "")
    return doctest.DocTestParser().get_doctest(text, dict(known or {}), name, None, None)


def run(test: doctest.DocTest) -> None:
    """Fails at the first example that shows something else."""
    lines: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=lines.append)
    assert not lines, "".join(lines)
