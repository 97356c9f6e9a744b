"""Containers as JSON, for what is stored or travels: never more than names, keys and counts."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

Kinds = Callable[[str, tuple[str, ...]], Any]  # from a name and fields to a named tuple
DEPTH = 64  # of containers in each other


def form_of(tree: Any, leaves: list[Any], is_leaf: Callable[[Any], bool]) -> Any:
    """The containers of a tree as JSON; its leaves are collected in the order of `jax.tree`.

    Args:
      tree: dictionaries with strings as keys, lists, tuples, named tuples and None.
      leaves: a list that the leaves are appended to.
      is_leaf: what is one.

    Raises:
      TypeError: for any other container, with the remedy.

    Example:
      >>> leaves = []
      >>> form_of({"w": 1, "layers": [2, (3, None)]}, leaves, lambda x: isinstance(x, int))
      {'dict': {'layers': {'list': [None, {'tuple': [None, {'none': []}]}]}, 'w': None}}
      >>> leaves
      [2, 3, 1]
    """
    if is_leaf(tree):
        leaves.append(tree)
        return None
    if tree is None:
        return {"none": []}
    if type(tree) is dict and all(type(k) is str for k in tree):
        return {"dict": {k: form_of(tree[k], leaves, is_leaf) for k in sorted(tree)}}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [form_of(x, leaves, is_leaf) for x in tree]}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        fields = [[n, form_of(x, leaves, is_leaf)] for n, x in zip(tree._fields, tree, strict=True)]
        kind = type(tree)
        return {"named": [f"{kind.__module__}.{kind.__qualname__}", fields]}
    raise TypeError(
        "what is stored or travels stands in dictionaries with strings as keys, lists, tuples and "
        f"named tuples, not in {type(tree).__name__}. Turn other containers into dictionaries "
        "first, with flax.serialization.to_state_dict"
    )


def leaves_in(form: Any) -> int:
    """How many leaves the containers of a form hold; ValueError for something that is no form.

    Named tuples need not be known here.

    Example:
      >>> leaves_in({"dict": {"b": None, "w": None}})
      2
    """
    numbers = itertools.count()
    _tree(form, numbers, 0, lambda name, fields: lambda *values: values)
    return next(numbers)


def tree_of(form: Any, leaves: Iterator[Any]) -> Any:
    """The inverse of `form_of`, for forms of anybody.

    A named tuple is what this process has imported by its name, with the same fields.

    Raises:
      ValueError: for something that is no form, or a named tuple that is not known here.

    Example:
      >>> tree_of({"dict": {"b": None, "w": None}}, iter([1, 2]))
      {'b': 1, 'w': 2}
    """
    return _tree(form, leaves, 0, _known)


def _tree(form: Any, leaves: Iterator[Any], depth: int, kinds: Kinds) -> Any:
    if depth > DEPTH:
        raise ValueError(f"containers are in each other more than {DEPTH} deep")
    if form is None:
        try:
            return next(leaves)
        except StopIteration:
            raise ValueError("there are fewer values than their containers hold") from None
    if type(form) is not dict or len(form) != 1:
        raise ValueError("not the form of containers")
    ((kind, inner),) = form.items()
    if kind == "none" and inner == []:
        return None
    if kind == "dict" and type(inner) is dict:
        return {k: _tree(inner[k], leaves, depth + 1, kinds) for k in sorted(inner)}
    if kind in ("list", "tuple") and type(inner) is list:
        found = [_tree(x, leaves, depth + 1, kinds) for x in inner]
        return found if kind == "list" else tuple(found)
    if kind == "named" and type(inner) is list and len(inner) == 2:
        return _named(inner[0], inner[1], leaves, depth, kinds)
    raise ValueError("not the form of containers")


def _named(name: Any, fields: Any, leaves: Iterator[Any], depth: int, kinds: Kinds) -> Any:
    try:
        names = tuple(n for n, _ in fields)
        values = [_tree(x, leaves, depth + 1, kinds) for _, x in fields]
    except TypeError:
        raise ValueError("not the form of a named tuple") from None
    if type(name) is not str or any(type(n) is not str for n in names):
        raise ValueError("not the form of a named tuple")
    return kinds(name, names)(*values)


def _known(name: str, fields: tuple[str, ...]) -> Any:
    """The named tuple of a name and fields, which this process has imported."""
    module, _, kind = name.rpartition(".")
    found: Any = getattr(sys.modules.get(module), kind, None)
    known = isinstance(found, type) and issubclass(found, tuple)
    if not known or getattr(found, "_fields", None) != fields:
        raise ValueError(
            f"the named tuple {name[:200]} is not known here. Import {module[:200] or 'it'}"
        )
    return found
