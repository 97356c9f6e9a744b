"""A choreography run by some of its endpoints: by one in a deployment, by all in tests.

The hosted endpoints' steps, and nothing else, are computed. What one hosted endpoint sends to
another is passed on; what comes from others, or goes to them, is left to an `Exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Var

from jsmpc._src.jaxprs.structure import Branches, Scan, While
from jsmpc._src.jaxprs.writing import Operand, Writer
from jsmpc._src.readings.projection.choreography import (
    Block,
    Compute,
    Control,
    Either,
    Message,
    Step,
    Value,
)
from jsmpc._src.readings.projection.comparison import Comparison

Array = jax.Array
# From a token, arrays and their targets, expected arrays and their sources to a token and arrays.
Exchange = Callable[
    [Array, list[Array], list[int], list[jax.ShapeDtypeStruct], list[int]],
    tuple[Array, list[Array]],
]
Halt = Callable[[Array, Array], Array]  # from a token and whether to end here to a token
# From a jaxpr, its constants and its inputs to its outputs.
Evaluate = Callable[[Any, Sequence[Any], Sequence[Any]], list[Any]]
Place = tuple[int, Value]  # a value at an endpoint
Body = Callable[[Any, Sequence[Any]], tuple[Any, list[Any]]]  # of a token and arrays

_TOKEN = jax.ShapeDtypeStruct((), jnp.uint32)


def own_part(
    block: Block,
    given: Sequence[Place],
    returned: Sequence[Place],
    hosted: Sequence[int],
    exchange: Exchange,
    halt: Halt,
    evaluate: Evaluate,
    known: dict[Place, Any] | None = None,
) -> Body:
    """A block's steps of some endpoints, as a function.

    Args:
      block: the choreography.
      given, returned: what the function takes and returns, after a token that orders exchanges.
      hosted: the endpoints.
      exchange: what carries arrays between them and the others.
      halt: what ends the program where values differ that are compared.
      evaluate: what runs the equations, here and in the bodies of loops and branches.
      known: values of the block's inputs that are not given, since the program holds them.
    """
    writer = Writer([_TOKEN, *(value.aval for _, value in given)])
    token, *inputs = writer.inputs
    held = {**(known or {}), **dict(zip(given, inputs, strict=True))}
    endpoints = _Endpoints(hosted, exchange, halt, evaluate, writer, token, held)
    endpoints.run(block)
    outputs = [endpoints.token, *(endpoints.typed(*place) for place in returned)]
    jaxpr, constants = writer.written(outputs)

    def run(token: Any, arrays: Sequence[Any]) -> tuple[Any, list[Any]]:
        after, *results = evaluate(jaxpr, (), [*constants, token, *arrays])
        return after, results

    return run


class _Endpoints:
    """Writes the steps of the hosted endpoints.

    Attributes:
      token: what orders the exchanges.
      held: what each endpoint holds.
    """

    def __init__(
        self,
        hosted: Sequence[int],
        exchange: Exchange,
        halt: Halt,
        evaluate: Evaluate,
        writer: Writer,
        token: Operand,
        held: dict[Place, Operand],
    ) -> None:
        self._hosted, self._exchange, self._halt = hosted, exchange, halt
        self._evaluate = evaluate
        self._writer, self.token, self.held = writer, token, held

    def run(self, block: Block) -> None:
        """Takes a block's steps; what they give is added to what is held."""
        for step, endpoints in ordered(block, self._hosted):
            if isinstance(step, list):
                self._pass_on(step)
            elif isinstance(step, Control):
                self._control(step, endpoints)
            elif isinstance(step, Comparison):
                for endpoint in endpoints:
                    self._compare(step, endpoint)
            else:
                for endpoint in endpoints:
                    self._take(step, endpoint)

    def _take(self, step: Step, endpoint: int) -> None:
        if isinstance(step, Either):
            self.held[endpoint, step.results[0]] = self._read(endpoint, step.choice[endpoint])
            return
        assert isinstance(step, Compute)
        out = self._writer.copy(step.eqn, [self._read(endpoint, v) for v in step.operands])
        self.held.update(((endpoint, v), x) for v, x in zip(step.results, out, strict=True))

    def _read(self, endpoint: int, value: Value) -> Operand:
        return value.constant if value.known else self.held[endpoint, value]

    def typed(self, endpoint: int, value: Value) -> Operand:
        """A value of its own type, constants too."""
        return (
            np.asarray(value.constant, value.aval.dtype)
            if value.known
            else self.held[endpoint, value]
        )

    def _pass_on(self, messages: list[Message]) -> None:
        """One exchange."""
        hosted = self._hosted
        inside = [m for m in messages if m.source in hosted and m.target in hosted]
        sent = [m for m in messages if m.source in hosted and m not in inside]
        received = [m for m in messages if m.target in hosted and m not in inside]
        for m in inside:
            self.held[m.target, m.value] = self._read(m.source, m.value)
        if not sent and not received:
            return

        def exchanged(token: Array, arrays: list[Array]) -> tuple[Array, list[Array]]:
            return self._exchange(
                token,
                arrays,
                [m.target for m in sent],
                [jax.ShapeDtypeStruct(m.value.aval.shape, m.value.aval.dtype) for m in received],
                [m.source for m in received],
            )

        arrays = [self.typed(m.source, m.value) for m in sent]
        self.token, arrays = self._writer.call(exchanged, self.token, arrays)
        self.held.update(((m.target, m.value), x) for m, x in zip(received, arrays, strict=True))

    def _compare(self, step: Comparison, endpoint: int) -> None:
        def compared(token: Array, first: Array, *others: Array) -> Array:
            differs = [jnp.any(x != first) for x in others]
            return self._halt(token, jnp.any(jnp.stack(differs)))

        digests = [self._read(endpoint, v) for v in step.operands]
        self.token = self._writer.call(compared, self.token, *digests)

    # Loops and conditions: what is carried, scanned over and returned is a list of the values of
    # all hosted endpoints, after the token where anything is sent inside.

    def _control(self, step: Control, endpoints: Sequence[int]) -> None:
        run = {Scan: self._scan, While: self._while, Branches: self._branches}[type(step.form)]
        wanted = _wanted(step, endpoints)
        results = run(step, endpoints, wanted)
        held = (((e, step.results[i]), x) for (e, i), x in zip(wanted, results, strict=True))
        self.held.update(held)

    def _part(
        self,
        endpoints: Sequence[int],
        block: Block,
        outer: dict[Place, Operand],
        given: list[Place],
        returned: list[Place],
    ) -> Body:
        """A block of some endpoints as a function of what is outer, as far as it is not known, and
        of `given`."""
        known = {place: x for place, x in outer.items() if not isinstance(x, Var)}
        places = [*(place for place in outer if place not in known), *given]
        means = endpoints, self._exchange, self._halt, self._evaluate
        return own_part(block, places, returned, *means, known)

    def _outer(
        self, inputs: Sequence[Value], operands: Sequence[Value], endpoints: Sequence[int]
    ) -> dict[Place, Operand]:
        """What a block's first inputs are, for those who need them."""
        return {
            (e, i): self._read(e, o)
            for i, o in zip(inputs, operands, strict=False)
            for e in endpoints
            if _is_given(i, e)
        }

    def _scan(
        self, step: Control, endpoints: Sequence[int], wanted: list[tuple[int, int]]
    ) -> list[Operand]:
        (block,), form = step.blocks, step.form
        assert isinstance(form, Scan)
        consts, first, rows = form.split(step.operands)
        _, carry, xs = form.split(block.inputs)
        outer = self._outer(block.inputs, consts, endpoints)
        carried = _carried(step, endpoints)
        scanned = [(e, i) for i, v in enumerate(xs) for e in endpoints if _is_given(v, e)]
        returned = [*carried, *((e, i) for e, i in wanted if i >= form.carried)]
        body = self._part(
            endpoints,
            block,
            outer,
            [*((e, carry[i]) for e, i in carried), *((e, xs[i]) for e, i in scanned)],
            [(e, block.outputs[i]) for e, i in returned],
        )

        def scan(token: Array, same: list[Array], init: list[Array], rows: list[Array]) -> Any:
            def iteration(state: Any, row: list[Array]) -> Any:
                token, arrays = body(state[0], [*same, *state[1], *row])
                return (token, arrays[: len(carried)]), arrays[len(carried) :]

            start, reverse, unroll = (token, init), form.reverse, form.unroll
            return lax.scan(iteration, start, rows, form.length, reverse=reverse, unroll=unroll)

        (self.token, last), ys = self._writer.call(
            scan,
            self.token,
            _variables(outer),
            [self.typed(e, first[i]) for e, i in carried],
            [self.typed(e, rows[i]) for e, i in scanned],
        )
        final = dict(zip(returned, [*last, *ys], strict=True))
        return [final[pair] for pair in wanted]

    def _while(
        self, step: Control, endpoints: Sequence[int], wanted: list[tuple[int, int]]
    ) -> list[Operand]:
        (condition, block), form = step.blocks, step.form
        assert isinstance(form, While)
        test, consts, first = form.split(step.operands)
        tested = condition.inputs[form.test_consts :]
        carry = block.inputs[form.consts :]
        carried = _carried(step, endpoints)
        outer = self._outer(block.inputs, consts, endpoints)
        tests = self._outer(condition.inputs, test, endpoints)
        given = [(e, carry[i]) for e, i in carried]
        body = self._part(
            endpoints, block, outer, given, [(e, block.outputs[i]) for e, i in carried]
        )
        goes_on = self._part(
            endpoints,
            condition,
            tests,
            [(e, tested[i]) for e, i in carried],
            [(endpoints[0], condition.outputs[0])],
        )

        def loop(token: Array, tests: list[Array], same: list[Array], init: list[Array]) -> Any:
            return lax.while_loop(
                lambda state: goes_on(state[0], [*tests, *state[1]])[1][0],
                lambda state: body(state[0], [*same, *state[1]]),
                (token, init),
            )

        self.token, last = self._writer.call(
            loop,
            self.token,
            _variables(tests),
            _variables(outer),
            [self.typed(e, first[i]) for e, i in carried],
        )
        final = dict(zip(carried, last, strict=True))
        return [final[pair] for pair in wanted]

    def _branches(
        self, step: Control, endpoints: Sequence[int], wanted: list[tuple[int, int]]
    ) -> list[Operand]:
        index, *operands = step.operands
        given = [
            (e, i)
            for i in range(len(operands))
            for e in endpoints
            if any(_is_given(block.inputs[i], e) for block in step.blocks)
        ]
        branches = [
            self._part(
                endpoints,
                block,
                {},
                [(e, block.inputs[i]) for e, i in given],
                [(e, block.outputs[i]) for e, i in wanted],
            )
            for block in step.blocks
        ]
        self.token, results = self._writer.call(
            lambda number, *operands: lax.switch(number, branches, *operands),
            self.typed(endpoints[0], index),
            self.token,
            [self.typed(e, operands[i]) for e, i in given],
        )
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


def _variables(outer: dict[Place, Operand]) -> list[Operand]:
    return [x for x in outer.values() if isinstance(x, Var)]


def _is_given(value: Value, endpoint: int) -> bool:
    """Whether a block's input is needed by an endpoint that does not receive it inside."""
    return endpoint in value.needed and value.origins[endpoint] is None


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
