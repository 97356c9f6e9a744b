"""A choreography run by some of its endpoints: by one in a deployment, by all in tests.

The hosted endpoints' steps, and nothing else, are computed. What one hosted endpoint sends to
another is passed on; what comes from others, or goes to them, is left to an `Exchange`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jsmpc._src.jaxprs import compat, lines
from jsmpc._src.jaxprs.structure import Branches, Scan, While
from jsmpc._src.readings.projection.choreography import (
    Block,
    Compute,
    Control,
    Either,
    Message,
    Step,
    Value,
)

Array = jax.Array
# From a token, arrays and their targets, expected arrays and their sources to a token and arrays.
Exchange = Callable[
    [Array, list[Array], list[int], list[jax.ShapeDtypeStruct], list[int]],
    tuple[Array, list[Array]],
]
Held = dict[tuple[int, Value], Any]  # what each endpoint holds


@dataclasses.dataclass
class Endpoints:
    """Runs the steps of the `hosted` endpoints.

    Attributes:
      hosted: their numbers.
      exchange: what carries arrays between them and the others.
      optimize: what bodies of loops and branches go through.
      token: what orders the exchanges.
    """

    hosted: Sequence[int]
    exchange: Exchange
    optimize: Callable[[Any], Any]
    token: Array

    def run(self, block: Block, held: Held) -> None:
        """Takes a block's steps; what they give is added to what is held."""
        for step, endpoints in ordered(block, self.hosted):
            if isinstance(step, list):
                self._pass_on(step, held)
            elif isinstance(step, Control):
                self._control(step, endpoints, held)
            else:
                for endpoint in endpoints:
                    _take(step, endpoint, held)

    def _pass_on(self, messages: list[Message], held: Held) -> None:
        """One exchange."""
        inside = [m for m in messages if m.source in self.hosted and m.target in self.hosted]
        sent = [m for m in messages if m.source in self.hosted and m not in inside]
        received = [m for m in messages if m.target in self.hosted and m not in inside]
        for m in inside:
            held[m.target, m.value] = _read(held, m.source, m.value)
        if sent or received:
            self.token, arrays = self.exchange(
                self.token,
                [_read(held, m.source, m.value) for m in sent],
                [m.target for m in sent],
                [jax.ShapeDtypeStruct(m.value.aval.shape, m.value.aval.dtype) for m in received],
                [m.source for m in received],
            )
            for m, array in zip(received, arrays, strict=True):
                held[m.target, m.value] = array

    # Loops and conditions: what is carried, scanned over and returned is a list of the values of
    # all hosted endpoints, after the token where anything is sent inside.

    def _control(self, step: Control, endpoints: Sequence[int], held: Held) -> None:
        run = {Scan: self._scan, While: self._while, Branches: self._branches}[type(step.form)]
        wanted = _wanted(step, endpoints)
        results = run(step, endpoints, held, wanted)
        held.update(((e, step.results[i]), x) for (e, i), x in zip(wanted, results, strict=True))

    def _body(
        self, block: Block, given: list[tuple[int, Value]], returned: list[tuple[int, Value]]
    ) -> Callable[..., tuple[Array, list[Array]]]:
        """A block as a function of a token, of what is the same every time, and of values."""

        def body(token: Array, outer: Held, arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
            inner, held = dataclasses.replace(self, token=token), dict(outer)
            held.update(zip(given, arrays, strict=True))
            inner.run(block, held)
            return inner.token, [typed(held, *pair) for pair in returned]

        return body

    def _scan(
        self, step: Control, endpoints: Sequence[int], held: Held, wanted: list[tuple[int, int]]
    ) -> list[Array]:
        (block,), form = step.blocks, step.form
        assert isinstance(form, Scan)
        consts, first, rows = form.split(step.operands)
        _, carry, xs = form.split(block.inputs)
        outer = _given(block.inputs, consts, endpoints, held)
        carried = _carried(step, endpoints)
        scanned = [(e, i) for i, v in enumerate(xs) for e in endpoints if _is_given(v, e)]
        returned = [*carried, *((e, i) for e, i in wanted if i >= form.carried)]
        body = self._body(
            block,
            [*((e, carry[i]) for e, i in carried), *((e, xs[i]) for e, i in scanned)],
            [(e, block.outputs[i]) for e, i in returned],
        )

        def iteration(state: Any, row: Any) -> Any:
            token, arrays = body(state[0], outer, [*state[1], *row])
            return (token, arrays[: len(carried)]), arrays[len(carried) :]

        init = [typed(held, e, first[i]) for e, i in carried]
        (self.token, last), ys = lax.scan(
            self.optimize(iteration),
            (self.token, init),
            [typed(held, e, rows[i]) for e, i in scanned],
            form.length,
            reverse=form.reverse,
            unroll=form.unroll,
        )
        final = dict(zip(returned, [*last, *ys], strict=True))
        return [final[pair] for pair in wanted]

    def _while(
        self, step: Control, endpoints: Sequence[int], held: Held, wanted: list[tuple[int, int]]
    ) -> list[Array]:
        (condition, block), form = step.blocks, step.form
        assert isinstance(form, While)
        test, consts, first = form.split(step.operands)
        tested = condition.inputs[form.test_consts :]
        carry = block.inputs[form.consts :]
        carried = _carried(step, endpoints)
        given = [(e, carry[i]) for e, i in carried]
        body = self._body(block, given, [(e, block.outputs[i]) for e, i in carried])
        outer = _given(block.inputs, consts, endpoints, held)
        tests = _given(condition.inputs, test, endpoints, held)
        witness = endpoints[0]
        goes_on = self._body(
            condition, [(e, tested[i]) for e, i in carried], [(witness, condition.outputs[0])]
        )
        state = lax.while_loop(
            lambda state: goes_on(state[0], tests, state[1])[1][0],
            self.optimize(lambda state: body(state[0], outer, state[1])),
            (self.token, [typed(held, e, first[i]) for e, i in carried]),
        )
        self.token, final = state[0], dict(zip(carried, state[1], strict=True))
        return [final[pair] for pair in wanted]

    def _branches(
        self, step: Control, endpoints: Sequence[int], held: Held, wanted: list[tuple[int, int]]
    ) -> list[Array]:
        index, *operands = step.operands
        given = [
            (e, i)
            for i in range(len(operands))
            for e in endpoints
            if any(_is_given(block.inputs[i], e) for block in step.blocks)
        ]

        def branch(block: Block) -> Callable[..., Any]:
            body = self._body(
                block,
                [(e, block.inputs[i]) for e, i in given],
                [(e, block.outputs[i]) for e, i in wanted],
            )
            return self.optimize(lambda token, arrays: body(token, {}, arrays))

        arrays = [typed(held, e, operands[i]) for e, i in given]
        number = _read(held, endpoints[0], index)
        branches = [branch(block) for block in step.blocks]
        self.token, results = lax.switch(number, branches, self.token, arrays)
        return list(results)


def ordered(block: Block, hosted: Sequence[int]) -> Iterator[tuple[Any, list[int]]]:
    """Exchanges (lists of messages) and steps, each with the hosted endpoints that take it."""
    events: list[tuple[tuple[int, int, int], Any, list[int]]] = []
    exchanges: dict[int, list[Message]] = {}
    for index, step in enumerate(block.steps):
        if isinstance(step, Message):
            if step.at & set(hosted):
                exchanges.setdefault(step.slot, []).append(step)
            continue
        at = [e for e in hosted if e in step.at]
        if isinstance(step, Control) and step.exchanges:
            if at:
                events.append(((step.slots[at[0]], 1, index), step, at))
        else:
            events += [((step.slots[e], 1, index), step, [e]) for e in at]
    events += [((slot, 0, 0), messages, []) for slot, messages in exchanges.items()]
    for _, step, at in sorted(events, key=lambda event: event[0]):
        yield step, at


def _take(step: Step, endpoint: int, held: Held) -> None:
    if isinstance(step, Either):
        held[endpoint, step.results[0]] = _read(held, endpoint, step.choice[endpoint])
        return
    assert isinstance(step, Compute)
    with lines.at_line_of(step.eqn):
        out = compat.bind(step.eqn, [_read(held, endpoint, v) for v in step.operands])
    held.update(((endpoint, v), x) for v, x in zip(step.results, out, strict=True))


def _read(held: Held, endpoint: int, value: Value) -> Any:
    return value.constant if value.known else held[endpoint, value]


def typed(held: Held, endpoint: int, value: Value) -> Array:
    """A value as an array, constants too."""
    return jnp.asarray(_read(held, endpoint, value), value.aval.dtype)


def _is_given(value: Value, endpoint: int) -> bool:
    """Whether a block's input is needed by an endpoint that does not receive it inside."""
    return endpoint in value.needed and value.origins[endpoint] is None


def _given(
    inputs: Sequence[Value], operands: Sequence[Value], endpoints: Sequence[int], held: Held
) -> Held:
    """What a block's first inputs are, for those who need them."""
    pairs = zip(inputs, operands, strict=False)
    return {(e, i): _read(held, e, o) for i, o in pairs for e in endpoints if _is_given(i, e)}


def _carried(step: Control, endpoints: Sequence[int]) -> list[tuple[int, int]]:
    """The endpoints of a loop that carry a value, and the value's number."""
    return [(e, i) for i, at in enumerate(step.carried) for e in endpoints if e in at]


def _wanted(step: Control, endpoints: Sequence[int]) -> list[tuple[int, int]]:
    """The endpoints that need a result from here, and the result's number."""
    return [
        (e, i)
        for i, v in enumerate(step.results)
        for e in endpoints
        if e in v.needed and v.origins.get(e) is step
    ]
