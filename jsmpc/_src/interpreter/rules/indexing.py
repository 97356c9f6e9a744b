"""Rules for reading and writing at positions, public or secret.

At public positions elements move, share by share. At secret ones every element is touched, so
that nothing shows which: see `functions.indexing`. Positions out of range follow JAX's modes
(clip, fill, drop), those that are promised to be in bounds what XLA does: reads clip, writes drop.
Reads that JAX fills with NaN, which has no encoding, give zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import indexing
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules import comparison
from jsmpc._src.interpreter.rules.arithmetic import as_number, mul, neg
from jsmpc._src.interpreter.rules.positions import (
    Layout,
    gather_layout,
    in_one_row,
    reads_clip,
    scatter_layout,
)
from jsmpc._src.interpreter.secret import BOOL, Secret, is_secret
from jsmpc._src.jaxprs import compat

_INT = np.dtype(np.int32)


def _one_hots(ev: Evaluator, layout: Layout, indices: Any) -> list[Any]:
    """One-hot vectors of the positions, an array for each indexed axis."""
    hots: list[Any] = []
    for axis in layout.indexed:
        count = layout.starts(axis)
        if is_secret(indices):
            x = indices.value.map(lambda w: layout.canonical_positions(w, axis))
            if count == 1 and layout.clip:
                hots.append(jnp.ones((*x.shape, 1), ev.smpc.ring.dtype))
            else:
                hots.append(indexing.one_hot(ev.smpc, ev.ctx, x, count, layout.clip))
        else:
            x = layout.canonical_positions(jnp.asarray(indices), axis)
            hots.append(indexing.public_one_hot(ev.smpc, x, count, layout.clip))
    return hots


def _restored(ev: Evaluator, x: Secret, dtype: Any) -> Secret:
    return Secret(ev.smpc.lsb(ev.ctx, x.value), BOOL) if dtype == BOOL else x


def _read(ev: Evaluator, layout: Layout, x: Any, indices: Any) -> Secret:
    dtype = np.dtype(x.dtype)
    x = as_number(ev, x)
    if is_secret(x):
        table = x.value.map(layout.canonical_table)
    else:
        table = layout.canonical_table(ev.words(x, x.dtype))
    hots = _one_hots(ev, layout, indices)
    value = indexing.read(ev.smpc, ev.ctx, table, hots, layout.batched)
    if isinstance(value, jax.Array):  # of one place, whatever the position is
        value = ev.smpc.constant(ev.ctx, value)
    windows, own = value.map(layout.from_canonical_windows), getattr(x, "encoding", None)
    return _restored(ev, Secret(windows, np.dtype(x.dtype), encoding=own), dtype)


# Reading.


@rule(lax.dynamic_slice_p, cost="order", modular=Modular(ranges.first, slice(1)), scaled=True)
def _dynamic_slice(ev: Evaluator, x: Any, *starts: Any, slice_sizes: Any, **_: Any) -> Any:
    """At public positions local. Secret ones as `gather`, after the public ones."""
    public, layout, indices = _starting_at(x.shape, slice_sizes, starts)

    def slice_publicly(w: Any) -> Any:
        return lax.dynamic_slice_p.bind(w, *public, slice_sizes=layout.table)

    part = x.map(slice_publicly) if is_secret(x) else slice_publicly(x)
    return part if indices is None else _read(ev, layout, part, indices)


def _starting_at(
    shape: Sequence[int], sizes: Sequence[int], starts: Sequence[Any]
) -> tuple[list[Any], Layout, Secret | None]:
    """Where some coordinates may be secret: the public ones (0 for others), how the others look
    up in the slice at the public ones, and these others as one vector."""
    secret = [is_secret(s) for s in starts]
    public = [np.zeros((), s.dtype) if is_secret(s) else s for s in starts]
    table = tuple(n if s else k for n, k, s in zip(shape, sizes, secret, strict=True))
    axes = tuple(d for d, s in enumerate(secret) if s)
    every = tuple(range(len(starts)))
    layout = Layout(table, tuple(sizes), (), axes, ((), ()), (), every, clip=True)
    if not axes:
        return public, layout, None
    first, *others = (starts[d] for d in axes)
    return public, layout, first.map(lambda *w: jnp.stack(w), *others)


@rule(lax.gather_p, cost="order", modular=Modular(ranges.read, slice(1)), scaled=True)
def _gather(
    ev: Evaluator,
    x: Any,
    indices: Any,
    *,
    dimension_numbers: Any,
    slice_sizes: Any,
    mode: Any,
    fill_value: Any,
    **params: Any,
) -> Secret:
    fill = None if reads_clip(mode) else _fill(ev, x.dtype, fill_value)
    if fill is not None:  # what is not hit is zero
        x, _ = ev.of_one_encoding(ev.secret(x), fill)
        x = _shifted(ev, x, fill, subtract=True)
    if is_secret(indices):
        layout = gather_layout(x, indices, dimension_numbers, slice_sizes, mode)
        result = _read(ev, layout, x, indices)
    else:
        params |= {"dimension_numbers": dimension_numbers, "slice_sizes": slice_sizes, "mode": mode}
        result = x.map(lambda w: lax.gather_p.bind(w, indices, fill_value=0, **params))
        result = dataclasses.replace(result, bounds=ranges.union(None, x.range, (0, 0)))
    return result if fill is None else _shifted(ev, result, fill, subtract=False)


def _fill(ev: Evaluator, dtype: Any, value: Any) -> Any:
    """What reads out of range give, as a scalar of the dtype; None for zero."""
    if value is None and dtype == BOOL:
        value = True
    if value is None and jnp.issubdtype(dtype, jnp.integer):
        signed = jnp.issubdtype(dtype, jnp.signedinteger)
        value = jnp.iinfo(dtype).min if signed else jnp.iinfo(dtype).max
        value = value if abs(value) < ev.smpc.ring.bound else 0
    if value is None or np.isnan(value) or value == 0:
        return None
    return np.asarray(value).astype(dtype)


def _shifted(ev: Evaluator, x: Secret, by: Any, subtract: bool) -> Secret:
    words = jnp.broadcast_to(ev.words(by, x.dtype, ev.encoding_of(x)), x.shape)
    if x.dtype == BOOL:
        return Secret(ev.smpc.xor_bp(ev.ctx, x.bits, words), BOOL)
    value = ev.smpc.add_ap(ev.ctx, x.value, -words if subtract else words)
    return Secret(value, x.dtype, encoding=x.encoding)


# Writing.


@rule(
    lax.dynamic_update_slice_p,
    cost="order",
    modular=Modular(ranges.written, slice(2)),
    scaled=True,
)
def _dynamic_update_slice(ev: Evaluator, x: Any, update: Any, *starts: Any, **_: Any) -> Secret:
    """At public positions local. Secret ones as `scatter`, in the slice at the public ones."""
    x, update = ev.of_one_encoding(x, update)
    public, layout, indices = _starting_at(x.shape, update.shape, starts)
    if indices is not None:
        x, size = ev.secret(x), layout.table
        part = x.map(lambda w: lax.dynamic_slice_p.bind(w, *public, slice_sizes=size))
        update = _write(ev, layout, part, indices, update, _set)
    x, update = ev.secrets(x, update)
    return x.map(lambda w, u: lax.dynamic_update_slice_p.bind(w, u, *public), update)


Combine = Callable[[Evaluator, Secret, Any], Secret]


def _set(ev: Evaluator, old: Secret, new: Any) -> Secret:
    return ev.secret(new, old.dtype, ev.encoding_of(old))


_TABLES = slice(None, None, 2)  # all but the positions


@rule(lax.scatter_min_p, lax.scatter_max_p, cost="order", scaled=True)
@rule(lax.scatter_p, cost="order", modular=Modular(ranges.written_at, _TABLES), scaled=True)
@rule(lax.scatter_mul_p, cost="order", modular=Modular(ranges.anything, _TABLES))
@rule(
    lax.scatter_add_p,
    *compat.primitives("scatter_sub"),
    cost="order",
    modular=Modular(ranges.added_at, _TABLES),
    scaled=True,
)
def _scatter(ev: Evaluator, x: Any, indices: Any, updates: Any, **params: Any) -> Secret:
    kind = ev.eqn.primitive.name.removeprefix("scatter").strip("-_") or "set"
    numbers, mode = params["dimension_numbers"], params["mode"]
    if kind == "set":
        _refuse_function(ev, params["update_jaxpr"])
    if kind == "sub":
        kind = "add"
        updates = neg(ev, updates) if is_secret(updates) else -updates
    x, updates = ev.of_one_encoding(x, updates)
    x = ev.cases(x, updates)[0] if is_secret(updates) else ev.secret(x)
    if kind in ("set", "add") and not is_secret(indices):
        updates = ev.secret(updates, x.dtype, ev.encoding_of(x))
        kept = {
            k: params[k]
            for k in ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
        }
        if kind == "set":
            return x.map(lambda w, u: lax.scatter(w, indices, u, **kept), updates)
        value = x.value.map(lambda w, u: lax.scatter_add(w, indices, u, **kept), updates.value)
        total = ranges.added_at(ev.eqn, x.range, ranges.ANYTHING, updates.range)
        return ev.number(value, x.dtype, ev.encoding_of(x), total)
    if not indices.shape[-1]:
        row = x.map(lambda w: w[None])
        place = jnp.zeros((*indices.shape[:-1], 1), indices.dtype)
        params["dimension_numbers"] = in_one_row(numbers)
        return _scatter(ev, row, place, updates, **params).map(lambda w: w[0])
    layout = scatter_layout(x, indices, updates, numbers, mode)
    if kind == "add":
        return _write_sum(ev, layout, x, indices, updates)
    combine: dict[str, Combine] = {
        "set": _set,
        "mul": mul,
        "min": comparison.minimum,
        "max": comparison.maximum,
    }
    return _write(ev, layout, x, indices, updates, combine[kind], params["unique_indices"])


def _refuse_function(ev: Evaluator, jaxpr: Any) -> None:
    if jaxpr is None:
        return
    jaxpr, _ = compat.open_jaxpr(jaxpr)
    if jaxpr.eqns or jaxpr.outvars[0] is not jaxpr.invars[1]:
        raise ev.unsupported(
            "a function applied at positions (x.at[i].apply) is not supported on secrets. Write "
            "x.at[i].set(f(x[i])) instead"
        )


def _windows(ev: Evaluator, layout: Layout, updates: Any) -> Any:
    """Updates in the canonical layout, secret or public."""
    if is_secret(updates):
        return updates.map(layout.canonical_windows)
    return layout.canonical_windows(updates)


def _write_sum(ev: Evaluator, layout: Layout, x: Secret, indices: Any, updates: Any) -> Secret:
    """x with updates added at positions that may coincide: a product with one-hot vectors."""
    hots = _one_hots(ev, layout, indices)
    windows = _windows(ev, layout, updates)
    words = windows.value if is_secret(windows) else ev.words(windows, x.dtype, ev.encoding_of(x))
    return _added(x, layout, indexing.add(ev.smpc, ev.ctx, words, hots, layout.batched))


def _added(x: Secret, layout: Layout, canonical: Any) -> Secret:
    """x plus a canonical table."""
    value = x.value.map(
        lambda w, c: w.at[layout.region].add(layout.from_canonical_table(c)), canonical
    )
    return Secret(value, x.dtype, encoding=x.encoding)


def _write(
    ev: Evaluator,
    layout: Layout,
    x: Secret,
    indices: Any,
    updates: Any,
    combine: Combine,
    unique: bool = True,
) -> Secret:
    """x with f(x[i], update) at each position i, the updates one after another.

    1. Read what is there: zero where the position is out of range.
    2. Combine it with the update.
    3. Add the difference to x at the position: nothing where it is out of range.

    Positions that may coincide are taken one after another, the last one wins: as many rounds as
    positions. `x.at[i].set(v, unique_indices=True)` takes them all at once.
    """
    dtype, smpc, lead = x.dtype, ev.smpc, int(layout.batched)
    x, updates = as_number(ev, x), as_number(ev, updates)
    hots = _one_hots(ev, layout, indices)
    one_by_one = not unique and hots[0].shape[lead] > 1
    if one_by_one:
        updates = ev.secret(updates, x.dtype, ev.encoding_of(x))
    windows = _windows(ev, layout, updates)
    table = x.value.map(layout.canonical_table)

    def written(inner: Evaluator, table: Any, hots: Any, new: Any) -> Any:
        old = indexing.read(smpc, inner.ctx, table, hots, layout.batched)
        change = combine(inner, Secret(old, x.dtype, encoding=x.encoding), new).value - old
        return table + indexing.add(smpc, inner.ctx, change, hots, layout.batched)

    if one_by_one:

        def body(ctx: Any, carry: Any, step: Any) -> tuple[Any, Any]:
            return written(ev.enter(ctx), carry, *_together(step, lead)), ()

        result, _ = ev.ctx.scan(body, table, _apart((hots, windows), lead), hots[0].shape[lead])
    else:
        result = written(ev, table, hots, windows)
    changed = x.value.map(
        lambda w, r: w.at[layout.region].set(layout.from_canonical_table(r)), result
    )
    return _restored(ev, Secret(changed, x.dtype, encoding=x.encoding), dtype)


def _apart(tree: Any, axis: int) -> Any:
    """Every array of a pytree with an axis in front, to scan over."""
    return jax.tree.map(lambda w: jnp.moveaxis(w, axis, 0), tree)


def _together(tree: Any, axis: int) -> Any:
    """One step's arrays with that axis, of length 1, back in its place."""
    return jax.tree.map(lambda w: jnp.expand_dims(w, axis), tree)
