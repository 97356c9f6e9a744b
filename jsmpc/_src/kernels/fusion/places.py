"""Where values lie that are only rearranged before a product reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsmpc._src.kernels.fusion.equations import size_of
from jsmpc._src.kernels.layout import Layout

if TYPE_CHECKING:
    from jsmpc._src.kernels.fusion.stages import Fused


def place(whole: Fused, v: Any) -> tuple[Any, Layout]:
    """The value in which the elements of a variable lie, and where.

    A row of a stacked share, a transposed matrix and the heads of attention are such: a product
    reads them there, and no copy of them is made.
    """
    shape = v.aval.shape
    seen, start = whole.seen(v)
    if size_of(seen) < size_of(v):  # one word throughout
        return v, Layout.of(shape)
    source, at = _rearranged(whole, seen)
    if start == 0 and size_of(seen) == size_of(v):
        reshaped = at.reshaped(shape)
        if reshaped is not None and reshaped.is_packable:
            return source, reshaped
    return seen, Layout.of(shape, start)


def _rearranged(whole: Fused, v: Any) -> tuple[Any, Layout]:
    eqn = whole.maker.get(v)
    if eqn is not None and eqn.primitive.name == "transpose":
        source, at = place(whole, eqn.invars[0])
        return source, at.permuted(eqn.params["permutation"])
    if eqn is not None and eqn.primitive.name == "slice":
        source, at = place(whole, eqn.invars[0])
        start, stop = eqn.params["start_indices"], eqn.params["limit_indices"]
        return source, at.sliced(start, stop, eqn.params["strides"] or (1,) * len(start))
    return v, Layout.of(v.aval.shape)
