"""What a simulated program sends and draws.

`Recorder` evaluates a program equation by equation and writes down the value of every message,
with who received it, and every keystream, with its key and nonce. `exposed` makes a program that
returns them all, to be compiled and fused as programs are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive

from jsmpc._src import kernels
from jsmpc._src.api.share import is_share
from jsmpc._src.jaxprs import compat, walk
from jsmpc._src.jaxprs.structure import Branches, Call, Scan, While, structure
from jsmpc._src.kernels import stream
from jsmpc._src.network.messages import message_p
from jsmpc._src.runtime import prf


@dataclasses.dataclass(frozen=True)
class Message:
    """One message; `round` counts the online messages that wait for one another, from 1.

    What is sent to several parties is one value: `origin` is the number of its first message.
    """

    source: int | str
    target: int
    phase: str
    value: Any
    round: int
    origin: int


@dataclasses.dataclass
class Recorder:
    """Evaluates jaxprs, loops unrolled, and writes down messages and keystreams."""

    messages: list[Message] = dataclasses.field(default_factory=list)
    keystreams: list[tuple[Any, Any]] = dataclasses.field(default_factory=list)

    def run(self, closed: Any, args: Sequence[Any]) -> list[Any]:
        return [value for value, _ in self._evaluate(closed, [(x, 0) for x in args])]

    def _evaluate(self, jaxpr: Any, args: Sequence[tuple[Any, int]]) -> list[tuple[Any, int]]:
        """Values come with the round after which they are known."""
        return walk.evaluate(jaxpr, args, self._equation, lift=lambda constant: (constant, 0))

    def _equation(self, eqn: Any, args: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
        values, latest = [v for v, _ in args], max((r for _, r in args), default=0)
        if eqn.primitive is message_p:
            return [self._message(eqn.params, values[0], latest)]
        if eqn.primitive is stream.keystream_p:
            self.keystreams.append((values[0], values[1]))
        if eqn.primitive is stream.draw_p:
            self.keystreams.append((values[0], stream.nonce_of(eqn.params["number"])))
        match structure(eqn):
            case Scan() as loop:
                return self._scan(loop, values, latest)
            case While() as loop:
                return self._while(loop, values, latest)
            case Branches(branches):
                return self._evaluate(branches[int(values[0])], args[1:])
            case Call(body):
                return self._evaluate(body, args)
        return [(x, latest) for x in compat.bind(eqn, values)]

    def _message(self, params: dict[str, Any], value: Any, latest: int) -> tuple[Any, int]:
        after = latest + (params["phase"] == "online")
        route = (params["source"], params["target"], params["phase"])
        same = [m.origin for m in self.messages if m.value is value]
        self.messages.append(Message(*route, value, after, [*same, len(self.messages)][0]))
        return value, after

    # Iterations run one after another: each begins when the one before has ended.

    def _scan(self, loop: Scan, values: list[Any], now: int) -> list[tuple[Any, int]]:
        consts, carry, xs = loop.split(values)
        rows = []
        for i in loop.steps:
            out, now = self._iteration(loop.body, [*consts, *carry, *(x[i] for x in xs)], now)
            carry = out[: loop.carried]
            rows.append(out[loop.carried :])
        if loop.reverse:
            rows.reverse()
        return [(v, now) for v in (*carry, *(jnp.stack(c) for c in zip(*rows, strict=True)))]

    def _while(self, loop: While, values: list[Any], now: int) -> list[tuple[Any, int]]:
        test, consts, carry = loop.split(values)
        while True:
            (going,), now = self._iteration(loop.condition, [*test, *carry], now)
            if not going:
                return [(v, now) for v in carry]
            carry, now = self._iteration(loop.body, [*consts, *carry], now)

    def _iteration(self, jaxpr: Any, values: list[Any], now: int) -> tuple[list[Any], int]:
        out = self._evaluate(jaxpr, [(v, now) for v in values])
        return [v for v, _ in out], max((r for _, r in out), default=now)


def record(f: Callable[..., Any], *args: Any) -> tuple[Recorder, Any]:
    """A run of a function of a simulated network, in the 64-bit mode; loops are not fused."""
    with jax.enable_x64(True), mock.patch.object(kernels, "optimize", lambda f: f):
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        recorder = Recorder()
        out = recorder.run(closed, jax.tree.leaves(args))
        return recorder, jax.tree.unflatten(jax.tree.structure(shape), out)


def words_of(args: Sequence[Any]) -> list[Any]:
    """The arrays of arguments, shares by their components: the inputs of a traced program."""
    leaves = jax.tree.leaves(args, is_leaf=is_share)
    return [c for x in leaves for c in (x.components if is_share(x) else (jnp.asarray(x),))]


def program_of(secure: Any, *args: Any) -> Callable[..., Any]:
    """A secure function of arguments like these, not fused: a function of a key and arrays."""
    jaxpr, consts = compat.open_jaxpr(secure.trace(*args))
    return functools.partial(jax.core.eval_jaxpr, jaxpr, consts)


def record_secure(secure: Any, key: Any, *args: Any) -> Recorder:
    """A run of a secure function, both phases in one program."""
    closed, recorder = secure.trace(*args), Recorder()
    with jax.enable_x64(True):
        recorder.run(closed, [prf.as_key(key), *words_of(args)])
    return recorder


def record_draws(secure: Any, key: Any, *args: Any) -> Recorder:
    """A run of a secure function of which no more is computed than what is drawn with.

    Its loops are of known lengths.
    """
    closed, recorder = secure.trace(*args), Recorder()

    def drawn(*values: Any) -> list[tuple[Any, Any]]:
        recorder.run(closed, values)
        return recorder.keystreams

    with jax.enable_x64(True):
        recorder.keystreams = jax.jit(drawn)(prf.as_key(key), *words_of(args))
    return recorder


def pairs(recorder: Recorder) -> list[bytes]:
    """Of each keystream that was drawn its key and its nonce."""
    result = []
    for keys, nonces in recorder.keystreams:
        rows = zip(np.asarray(keys).reshape(-1, 8), np.asarray(nonces).reshape(-1, 3), strict=True)
        result += [k.tobytes() + n.tobytes() for k, n in rows]
    return result


Optimizer = Callable[[Callable[..., Any]], Callable[..., Any]]


def exposed(closed: Any, what: Iterable[Primitive], optimize: Optimizer) -> Callable[..., Any]:
    """A program that returns its results and those of all equations of the given primitives.

    Args:
      closed: the program's jaxpr, not fused.
      what: primitives of one result: messages, draws.
      optimize: what the whole and every loop's body go through.

    Returns:
      a function of the program's flat arguments to the flat results, and the values of the
      equations. Those in a scan are stacked, of a while loop they are the last iteration's, of
      branches not taken they are zero.
    """
    what = frozenset(what)
    return optimize(lambda *args: _expose(closed, args, what, optimize))


def _expose(
    jaxpr: Any, args: Sequence[Any], what: frozenset[Primitive], optimize: Optimizer
) -> tuple[list[Any], list[Any]]:
    found: list[Any] = []

    def inner(body: Any) -> Callable[..., tuple[list[Any], list[Any]]]:
        return lambda *operands: _expose(body, operands, what, optimize)

    def scan(loop: Scan, values: list[Any]) -> list[Any]:
        consts, first, xs = loop.split(values)

        def step(carry: Any, row: Any) -> Any:
            out, seen = inner(loop.body)(*consts, *carry, *row)
            return out[: loop.carried], (out[loop.carried :], seen)

        carry, (rows, seen) = lax.scan(
            optimize(step), list(first), list(xs), loop.length, reverse=loop.reverse
        )
        found.extend(seen)
        return [*carry, *rows]

    def while_(loop: While, values: list[Any]) -> list[Any]:
        test, consts, first = loop.split(values)
        shapes = jax.eval_shape(inner(loop.body), *consts, *first)[1]
        seen = [jnp.zeros(x.shape, x.dtype) for x in shapes]
        carry, seen = lax.while_loop(
            lambda state: walk.evaluate(loop.condition, [*test, *state[0]], compat.bind)[0],
            optimize(lambda state: inner(loop.body)(*consts, *state[0])),
            (list(first), seen),
        )
        found.extend(seen)
        return carry

    def branches(bodies: Sequence[Any], values: list[Any]) -> list[Any]:
        shapes = [jax.eval_shape(inner(body), *values[1:])[1] for body in bodies]

        def taken(number: int) -> Callable[..., Any]:
            def branch(*operands: Any) -> Any:
                out, seen = inner(bodies[number])(*operands)
                rows = [[jnp.zeros(x.shape, x.dtype) for x in row] for row in shapes]
                rows[number] = seen
                return out, rows

            return optimize(branch)

        out, rows = lax.switch(values[0], [taken(i) for i in range(len(bodies))], *values[1:])
        found.extend(x for row in rows for x in row)
        return out

    def apply(eqn: Any, values: list[Any]) -> list[Any]:
        match structure(eqn):
            case Scan() as loop:
                return scan(loop, values)
            case While() as loop:
                return while_(loop, values)
            case Branches(bodies):
                return branches(bodies, values)
            case Call(body):
                return walk.evaluate(body, values, apply)
        out = compat.bind(eqn, values)
        if eqn.primitive in what:
            found.extend(out)
        return out

    return walk.evaluate(jaxpr, args, apply), found
