"""Rules for sub-programs: calls, loops and conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc import compat
from jsmpc.reveal import reveal_p
from jsmpc.secure.arithmetic import is_known
from jsmpc.secure.interpreter import Evaluator, is_secret, rule
from jsmpc.secure.ordering import choose


@rule(
    P.jit_p,
    P.closed_call_p,
    P.remat_p,
    P.custom_jvp_call_p,
    P.custom_vjp_call_p,
    cost="program",
    error="that of the sub-program",
)
def _call(ev: Evaluator, *operands: Any, **params: Any) -> list[Any]:
    return ev.evaluate(params.get("jaxpr") or params["call_jaxpr"], operands)


def secrecy(jaxpr: Any, secret: Sequence[bool]) -> list[bool]:
    """Which outputs of a jaxpr depend on secrets, given which inputs are secret."""
    jaxpr, _ = compat.open_jaxpr(jaxpr)
    known = {v for v, s in zip(jaxpr.invars, secret, strict=True) if s}
    for eqn in jaxpr.eqns:
        operands = [not hasattr(v, "val") and v in known for v in eqn.invars]
        known.update(v for v, s in zip(eqn.outvars, _results(eqn, operands), strict=True) if s)
    return [not hasattr(v, "val") and v in known for v in jaxpr.outvars]


def _results(eqn: Any, secret: list[bool]) -> list[bool]:
    """Which results of an equation are secret."""
    params, count = eqn.params, len(eqn.outvars)
    if not any(secret) or eqn.primitive is reveal_p:
        return [False] * count
    if eqn.primitive is P.scan_p:
        consts, carried = compat.scan_counts(params)
        return _carries(params["jaxpr"], secret, consts, carried)[1]
    if eqn.primitive is P.while_p:
        skipped = params["cond_nconsts"]
        carried = len(secret) - skipped - params["body_nconsts"]
        return _carries(params["body_jaxpr"], secret[skipped:], params["body_nconsts"], carried)[1]
    if eqn.primitive is P.cond_p:
        branches = [secrecy(b, secret[1:]) for b in params["branches"]]
        return [secret[0] or any(column) for column in zip(*branches, strict=True)]
    if eqn.primitive is lax.is_finite_p:
        return [False]
    inner = params.get("jaxpr") or params.get("call_jaxpr")
    return [True] * count if inner is None else secrecy(inner, secret)


def _carries(
    jaxpr: Any, secret: Sequence[bool], consts: int, carried: int
) -> tuple[list[bool], list[bool]]:
    """Which carried values become secret in any iteration, and the results' secrecy then."""
    head, carry, tail = (
        list(secret[:consts]),
        list(secret[consts : consts + carried]),
        list(secret[consts + carried :]),
    )
    while True:
        out = secrecy(jaxpr, [*head, *carry, *tail])
        grown = [a or b for a, b in zip(carry, out[:carried], strict=True)]
        if grown == carry:
            return carry, [*carry, *out[carried:]]
        carry = grown


def _as_secret(ev: Evaluator, values: Sequence[Any], secret: Sequence[bool]) -> list[Any]:
    return [
        ev.secret(v) if s else v if is_secret(v) else jnp.asarray(v)
        for v, s in zip(values, secret, strict=True)
    ]


@rule(P.scan_p, cost="program", error="that of the sub-program")
def _scan(ev: Evaluator, *operands: Any, jaxpr: Any, length: int, **params: Any) -> list[Any]:
    consts, carried = compat.scan_counts(params)
    secret = [is_secret(x) for x in operands]
    carry_secret, _ = _carries(jaxpr, secret, consts, carried)
    constants, init, xs = (
        operands[:consts],
        _as_secret(ev, operands[consts : consts + carried], carry_secret),
        operands[consts + carried :],
    )

    def body(ctx: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        out = ev.enter(ctx).evaluate(jaxpr, [*constants, *carry, *x])
        return _as_secret(ev.enter(ctx), out[:carried], carry_secret), out[carried:]

    carry, ys = ev.ctx.scan(
        body, init, xs, length, reverse=params["reverse"], unroll=params["unroll"]
    )
    return [*carry, *ys]


@rule(P.while_p, cost="program", error="that of the sub-program")
def _while(
    ev: Evaluator,
    *operands: Any,
    cond_jaxpr: Any,
    cond_nconsts: int,
    body_jaxpr: Any,
    body_nconsts: int,
) -> list[Any]:
    test = list(operands[:cond_nconsts])
    constants = list(operands[cond_nconsts : cond_nconsts + body_nconsts])
    init = list(operands[cond_nconsts + body_nconsts :])
    secret = [is_secret(x) for x in (*constants, *init)]
    carry_secret, _ = _carries(body_jaxpr, secret, body_nconsts, len(init))
    if any(secrecy(cond_jaxpr, [*(is_secret(x) for x in test), *carry_secret])):
        raise ev.unsupported(
            "the condition of a while loop is secret, and how often it runs would disclose it. "
            "Run a fixed number of iterations (lax.fori_loop, lax.scan) and select with "
            "jnp.where, or reveal the condition if it may be disclosed"
        )

    def condition(ctx: Any, carry: Any) -> Any:
        return ev.enter(ctx).evaluate(cond_jaxpr, [*test, *carry])[0]

    def body(ctx: Any, carry: Any) -> Any:
        inner = ev.enter(ctx)
        return _as_secret(inner, inner.evaluate(body_jaxpr, [*constants, *carry]), carry_secret)

    return ev.ctx.while_loop(condition, body, _as_secret(ev, init, carry_secret))


@rule(P.cond_p, cost="program", error="that of the sub-program")
def _cond(ev: Evaluator, index: Any, *operands: Any, branches: Any, **_: Any) -> list[Any]:
    """Of a secret condition all branches are evaluated, and their results selected from."""
    if is_known(index):
        return ev.evaluate(branches[min(max(int(index), 0), len(branches) - 1)], operands)
    contexts = ev.ctx.branches(len(branches))
    if not is_secret(index):
        secret = [
            any(c)
            for c in zip(
                *(secrecy(b, [is_secret(x) for x in operands]) for b in branches), strict=True
            )
        ]

        def run(branch: int) -> Any:
            def call(values: Any) -> list[Any]:
                inner = ev.enter(contexts[branch])
                return _as_secret(inner, inner.evaluate(branches[branch], values), secret)

            return call

        calls = [ev.ctx.optimize(run(i)) for i in range(len(branches))]
        return lax.switch(index, calls, list(operands))
    results = [ev.enter(c).evaluate(b, operands) for c, b in zip(contexts, branches, strict=True)]
    return [choose(ev, index, cases) for cases in zip(*results, strict=True)]
