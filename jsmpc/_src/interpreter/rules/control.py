"""Rules for sub-programs: calls, loops and conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.interpreter.bounds import INNER
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.findings import NOTHING, completed, rehearsed
from jsmpc._src.interpreter.private import is_private, refused
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules.arithmetic import is_known
from jsmpc._src.interpreter.rules.selection import choose
from jsmpc._src.interpreter.secret import is_secret
from jsmpc._src.jaxprs import walk
from jsmpc._src.jaxprs.reveal import reveal_p
from jsmpc._src.jaxprs.secrecy import carries, secrecy
from jsmpc._src.jaxprs.structure import CALLS, Call, Scan, While


@rule(*CALLS, cost="program", error=INNER, modular=Modular(), scaled=True)
def _call(ev: Evaluator, *operands: Any, **_: Any) -> list[Any]:
    return ev.within(0).inlined(Call.of(ev.eqn).body, operands)


def _as_secret(ev: Evaluator, values: Sequence[Any], secret: Sequence[bool]) -> list[Any]:
    """Values that loops carry and branches return, of one structure whatever they come from: as
    the results of the equation at hand are kept."""
    pairs = zip(values, secret, strict=True)
    return [_settled(ev, v, s, ev.kept_as(i)) for i, (v, s) in enumerate(pairs)]


def _begun(ev: Evaluator, init: Sequence[Any], secret: Sequence[bool]) -> list[Any]:
    """What a loop carries into its first iteration."""
    for i, (x, hidden) in enumerate(zip(init, secret, strict=True)):
        if hidden and not is_secret(x) and not is_private(x):
            ev.begun(x, i)
    return _as_secret(ev, init, secret)


def _settled(ev: Evaluator, x: Any, secret: bool, encoding: Any) -> Any:
    if is_private(x):
        raise refused(ev, x.rank, "would be carried on by a loop, or returned by a branch")
    if secret:
        return ev.settled(x, encoding)
    return x if is_secret(x) else lax.convert_element_type(x, x.dtype)


def _followed(ev: Evaluator, choice: Any) -> Any:
    """What a loop or a branch depends on; a dealer, who deals for what runs, knows it too."""
    return choice if ev.smpc.dealer is None else ev.ctx.network.tell(choice)


@rule(P.scan_p, cost="program", error=INNER, modular=Modular(), scaled=True)
def _scan(ev: Evaluator, *operands: Any, **_: Any) -> list[Any]:
    loop = Scan.of(ev.eqn)
    if 0 < loop.length <= loop.unroll:
        return _unrolled(ev, loop, operands)
    carry_secret = carries(loop, [is_secret(x) for x in operands])[0]
    constants, init, xs = loop.split(operands)

    def body(ctx: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        inner = ev.enter(ctx)
        out = inner.within(0).evaluate(loop.body, [*constants, *carry, *x])
        carry = _as_secret(inner, out[: loop.carried], carry_secret)
        return carry, (out[loop.carried :], inner.found())

    init = _begun(ev, init, carry_secret)
    carry, (ys, found) = ev.ctx.scan(
        body, init, xs, loop.length, reverse=loop.reverse, unroll=loop.unroll
    )
    ev.findings.absorb(found)
    return [*carry, *ys]


def _unrolled(ev: Evaluator, loop: Scan, operands: Sequence[Any]) -> list[Any]:
    """A loop that JAX unrolls as a whole: what is known before it stays known in it."""
    constants, carry, xs = loop.split([np.asarray(x) if is_known(x) else x for x in operands])
    rows: list[Any] = [None] * loop.length
    for i in loop.steps:
        out = ev.within(0).evaluate(loop.body, [*constants, *carry, *(_row(x, i) for x in xs)])
        carry, rows[i] = out[: loop.carried], out[loop.carried :]
    return [*carry, *(ev.call(lambda *ys: jnp.stack(ys), *ys)[0] for ys in zip(*rows, strict=True))]


def _row(x: Any, i: int) -> Any:
    return x.map(lambda w: w[i]) if is_secret(x) else x[i]


@rule(P.while_p, cost="program", error=INNER, modular=Modular(), scaled=True)
def _while(ev: Evaluator, *operands: Any, **_: Any) -> list[Any]:
    """The condition is evaluated at the end of the iteration before, to carry its findings too."""
    loop = While.of(ev.eqn)
    test, constants, init = loop.split(operands)
    carry_secret = carries(loop, [is_secret(x) for x in (*constants, *init)])[0]
    if any(secrecy(loop.condition, [*(is_secret(x) for x in test), *carry_secret])):
        raise ev.unsupported(
            "the condition of a while loop is secret, and how often it runs would disclose it. "
            "Run a fixed number of iterations (lax.fori_loop, lax.scan) and select with "
            "jnp.where; of a library's function choose what needs no such loop, as an optimizer "
            "without its line search; or reveal the condition if it may be disclosed"
        )

    def goes_on(inner: Evaluator, carry: Sequence[Any]) -> Any:
        (go,) = inner.within(0).evaluate(loop.condition, [*test, *carry])
        if is_private(go):
            raise refused(ev, go.rank, "decides how often a loop runs")
        return _followed(inner, jnp.asarray(go))

    def body(ctx: Any, state: Any) -> Any:
        _, carry, found = state
        inner = ev.enter(ctx)
        inner.findings.absorb(found)
        out = inner.within(1).evaluate(loop.body, [*constants, *carry])
        carry = _as_secret(inner, out, carry_secret)
        go = goes_on(inner, carry)
        return go, carry, completed(inner.found(), found)

    init = _begun(ev, init, carry_secret)
    go = goes_on(ev, init)
    none = rehearsed(ev.ctx, lambda ctx: body(ctx, (go, init, NOTHING))[2])
    _, carry, found = ev.ctx.while_loop(lambda _, state: state[0], body, (go, init, none))
    ev.findings.absorb(found)
    return carry


@rule(P.cond_p, cost="program", error=INNER, modular=Modular(operands=slice(1, None)), scaled=True)
def _cond(ev: Evaluator, index: Any, *operands: Any, branches: Any, **_: Any) -> list[Any]:
    """Of a secret condition all branches are evaluated, and their results selected from."""
    if is_known(index):
        taken = min(max(int(index), 0), len(branches) - 1)
        return ev.within(taken).evaluate(branches[taken], operands)
    contexts = ev.ctx.branches(len(branches))
    if is_secret(index):
        if any(walk.contains(b, reveal_p) for b in branches):
            raise ev.unsupported(
                "a branch of a secret condition reveals a value, and would disclose it though it "
                "is not taken: all branches run. Reveal what lax.cond returns, or the condition"
            )
        inners = [ev.enter(ctx) for ctx in contexts]
        results = [
            list(map(inner.wrapped, inner.within(i).evaluate(branch, operands)))
            for i, (inner, branch) in enumerate(zip(inners, branches, strict=True))
        ]
        for inner in inners:
            ev.findings.absorb(inner.found())
        return [choose(ev, index, cases) for cases in zip(*results, strict=True)]
    secret = [
        any(c)
        for c in zip(*(secrecy(b, [is_secret(x) for x in operands]) for b in branches), strict=True)
    ]

    def run(number: int, ctx: Any, values: Any) -> tuple[list[Any], Any]:
        inner = ev.enter(ctx)
        out = inner.within(number).evaluate(branches[number], values)
        return _as_secret(inner, out, secret), inner.found()

    none = NOTHING
    for number in range(len(branches)):
        none = completed(rehearsed(ev.ctx, lambda ctx: run(number, ctx, operands)[1]), none)

    def call(number: int, ctx: Any) -> Any:
        def taken(values: Any) -> tuple[list[Any], Any]:
            out, found = run(number, ctx, values)
            return out, completed(found, none)

        return ev.ctx.optimize(taken)

    calls = [call(number, ctx) for number, ctx in enumerate(contexts)]
    out, found = lax.switch(_followed(ev, index), calls, list(operands))
    ev.findings.absorb(found)
    return out
