"""Fusion of the elementwise parts of a program, by the means that a platform has.

Protocols are long chains of cheap operations on words. XLA:CPU compiles such chains slowly and
computes a value again for each of its consumers. Where the native kernels exist, the chains run
on the elementwise machine instead (`jsmpc.kernels.program`): a chain is one pass over its
operands, its masks are drawn where they are used, and nothing between is written to memory.
Elsewhere XLA fuses, and the draws of a program are computed together.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Primitive
from jax.interpreters import batching, mlir

from jsmpc import compat
from jsmpc.kernels import native, program, pure, stream

Array = jax.Array


def optimize(fun: Callable[..., Any]) -> Callable[..., Any]:
    """A function equal to `fun` whose elementwise parts and draws run fast."""

    def optimized(*args: Any) -> Any:
        closed, out_shape = jax.make_jaxpr(fun, return_shape=True)(*args)
        jaxpr, consts = compat.open_jaxpr(closed)
        jaxpr = compat.without_dead_code(compat.without(jaxpr, "held"))
        on_machine = jax.default_backend() == "cpu" and native.available()
        evaluate = _Fused if on_machine else _Grouped
        out = evaluate(jaxpr, consts, jax.tree.leaves(args)).outputs()
        return jax.tree.unflatten(jax.tree.structure(out_shape), out)

    return optimized


class _Evaluation:
    """Evaluates a jaxpr on demand."""

    def __init__(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]):
        self.jaxpr = jaxpr
        self.env: dict[Any, Any] = {}
        self.env.update(zip(jaxpr.constvars, consts, strict=True))
        self.env.update(zip(jaxpr.invars, args, strict=True))

    def read(self, v: Any) -> Any:
        return compat.literal_value(v) if isinstance(v, Literal) else self.env[v]

    def bind(self, eqn: Any) -> None:
        with compat.at_line_of(eqn):
            out = compat.bind(eqn, [self.read(v) for v in eqn.invars])
        self.env.update(zip(eqn.outvars, out, strict=True))


class _Grouped(_Evaluation):
    """All draws whose keys are known are computed in one ChaCha20 loop.

    In pure XLA such a loop costs a quarter of a second to compile, however short the draw.
    """

    def outputs(self) -> list[Any]:
        pending = [
            e for e in self.jaxpr.eqns if e.primitive is stream.draw_p and e.outvars[0].aval.size
        ]
        for eqn in self.jaxpr.eqns:
            if pending and eqn is pending[0]:
                self._draw([e for e in pending if e.invars[0] in self.env])
                pending = [e for e in pending if e.outvars[0] not in self.env]
            elif not (eqn.outvars and eqn.outvars[0] in self.env):
                self.bind(eqn)
        return [self.read(v) for v in self.jaxpr.outvars]

    def _draw(self, eqns: list[Any]) -> None:
        sizes = [
            stream.TILE_BLOCKS * stream.tiles_of(e.params["shape"], e.params["dtype"]) for e in eqns
        ]
        keys, nonces, counters = [], [], []
        for eqn, n in zip(eqns, sizes, strict=True):
            nonce = stream.nonce_of(eqn.params["number"])
            keys.append(jnp.broadcast_to(self.read(eqn.invars[0])[:, None], (8, n)))
            nonces.append(jnp.broadcast_to(jnp.asarray(nonce)[:, None], (3, n)))
            counters.append(jnp.arange(n, dtype=jnp.uint32))
        words = pure.chacha20(
            jnp.concatenate(keys, 1), jnp.concatenate(nonces, 1), jnp.concatenate(counters)
        )
        start = 0
        for eqn, size in zip(eqns, sizes, strict=True):
            blocks = words[:, start : start + size]
            start += size
            params = eqn.params
            self.env[eqn.outvars[0]] = stream.from_blocks(blocks, params["shape"], params["dtype"])


_BINARY = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "and": "and",
    "or": "or",
    "xor": "xor",
    "shift_left": "shift_left",
    "shift_right_logical": "shift_right",
    "div": "div",
}
_UNARY = {"neg": "negate", "not": "not", "convert_element_type": "convert"}
_EVALUATE: dict[str, Callable[..., int]] = {
    "broadcast_in_dim": operator.pos,
    "convert_element_type": operator.pos,
    "neg": operator.neg,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}
_NEUTRAL = {"add": 0, "sub": 0, "xor": 0, "or": 0, "shift_left": 0, "shift_right_logical": 0}
_NEUTRAL |= {"mul": 1, "div": 1}
_COMMUTATIVE = {"add", "mul", "and", "or", "xor"}
_VIEWS = {"reshape", "squeeze", "expand_dims", "broadcast_in_dim", "message", "copy", "slice"}
_WORDS = {np.dtype(f"uint{n}") for n in (8, 16, 32, 64)}


def _is_word(v: Any) -> bool:
    return getattr(v.aval, "dtype", None) in _WORDS


def _variables(operands: Sequence[Any]) -> list[Any]:
    return [v for v in operands if not isinstance(v, Literal)]


def _slice_offset(eqn: Any) -> int | None:
    """Where a slice begins in the flattened operand, if it is contiguous there."""
    shape, start = eqn.invars[0].aval.shape, eqn.params["start_indices"]
    size = eqn.outvars[0].aval.shape
    if any(s != 1 for s in eqn.params["strides"] or ()):
        return None
    whole = [a == b for a, b in zip(shape, size, strict=True)]
    partial = next((i for i in reversed(range(len(shape))) if not whole[i]), 0)
    if any(size[i] != 1 for i in range(partial)):
        return None
    strides = [int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(len(shape))]
    return sum(a * b for a, b in zip(start, strides, strict=True))


class _Fused(_Evaluation):
    """Every elementwise equation belongs to a region: its stage and its number of elements.

    The stage counts the other equations (products, transpositions, …) that a value waits for;
    within that, an equation goes where its result is used, so that little is passed between
    regions. Equations of one stage and size run as one program.
    """

    def __init__(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]):
        super().__init__(jaxpr, consts, args)
        self.maker = {v: e for e in jaxpr.eqns for v in e.outvars}
        self.root: dict[Any, tuple[Any, int]] = {}  # of a view: what it shows, from where
        self.constants: dict[Any, int] = {}  # the same word throughout, known now
        self.home: dict[Any, tuple[int, int]] = {}  # of a fused value: its region
        self.others: dict[int, list[Any]] = {}
        fused = self._earliest()
        self._latest(fused)
        self.regions: dict[tuple[int, int], list[Any]] = {}
        for eqn in fused:
            self.regions.setdefault(self.home[eqn.outvars[0]], []).append(eqn)
        self.exported = self._exported()
        self.stacks: dict[tuple[int, int], list[Any]] = collections.defaultdict(list)
        for eqns in self.others.values():
            for eqn in [e for e in eqns if e.primitive.name == "stack"]:
                self._write_in_place(eqn, eqns)

    def seen(self, v: Any) -> tuple[Any, int]:
        """The value whose elements a variable shows, and from which element on."""
        return self.root.get(v, (v, 0))

    def _view(self, eqn: Any) -> tuple[Any, int] | None:
        """What the result of an equation shows, if it only shows elements in their order."""
        if eqn.primitive.name not in _VIEWS or not _is_word(eqn.outvars[0]):
            return None
        source, out = eqn.invars[0], eqn.outvars[0]
        if len(eqn.invars) > 1 or isinstance(source, Literal):
            return None
        seen, start = self.seen(source)
        if eqn.primitive.name == "slice":
            offset = _slice_offset(eqn)
            return None if offset is None else (seen, start + offset)
        scalar = seen.aval.size == 1 and eqn.primitive.name == "broadcast_in_dim"
        return (seen, start) if source.aval.size == out.aval.size or scalar else None

    def constant(self, v: Any) -> int | None:
        """The word that a variable or literal consists of, if it is known."""
        if isinstance(v, Literal):
            value = compat.literal_value(v)
            return int(value) if value.dtype in _WORDS and value.size == 1 else None
        return self.constants.get(self.seen(v)[0])

    def _folded(self, eqn: Any) -> int | None:
        """The word that the result of an equation consists of, if its operands tell."""
        name, out = eqn.primitive.name, eqn.outvars[0]
        if not _is_word(out):
            return None
        operands = [self.constant(v) for v in eqn.invars]
        known = [word for word in operands if word is not None]
        if name in ("mul", "and") and 0 in known:
            return 0
        if not known or len(known) < len(operands) or name not in _EVALUATE:
            return None
        return _EVALUATE[name](*known) % (1 << 8 * out.aval.dtype.itemsize)

    def _unchanged(self, eqn: Any) -> tuple[Any, int] | None:
        """What the result shows, if the equation adds zero, multiplies by one or the like."""
        name, out = eqn.primitive.name, eqn.outvars[0]
        if name not in _NEUTRAL or not _is_word(out):
            return None
        operands = [tuple(eqn.invars)]
        if name in _COMMUTATIVE:
            operands.append(operands[0][::-1])
        for x, y in operands:
            whole = not isinstance(x, Literal) and x.aval.size == out.aval.size
            if whole and self.constant(y) == _NEUTRAL[name]:
                return self.seen(x)
        return None

    def _fusible(self, eqn: Any) -> bool:
        name, out = eqn.primitive.name, eqn.outvars[0]
        if not _is_word(out) or out.aval.size == 0:
            return False
        if name in ("draw", "broadcast_in_dim"):
            return name == "draw" or isinstance(eqn.invars[0], Literal)
        return (name in _BINARY or name in _UNARY) and all(
            _is_word(v) and v.aval.size in (1, out.aval.size) for v in eqn.invars
        )

    def _key(self, eqn: Any) -> Any:
        """What is equal for equations of equal results.

        Parties that hold the same value compute the same from it; here it is computed once.
        """
        operands = [
            self.seen(v) if (word := self.constant(v)) is None else word for v in eqn.invars
        ]
        aval = eqn.outvars[0].aval
        return (eqn.primitive, aval.dtype, aval.size, eqn.params.get("number"), *operands)

    def _together(self, v: Any, eqn: Any) -> bool:
        """Whether a fused value can be read by an equation of its own region."""
        seen, offset = self.seen(v)
        return seen.aval.size == eqn.outvars[0].aval.size and not offset

    def _earliest(self) -> list[Any]:
        """Finds the first stage of each value; returns the fusible equations."""
        stage: dict[Any, int] = collections.defaultdict(int)
        fused: list[Any] = []
        made: dict[Any, Any] = {}  # what an equation makes, for those equal to it
        for eqn in self.jaxpr.eqns:
            operands = _variables(eqn.invars)
            single = len(eqn.outvars) == 1
            if single and (view := self._view(eqn) or self._unchanged(eqn)) is not None:
                self.root[eqn.outvars[0]] = view
                stage[eqn.outvars[0]] = max(stage[v] for v in operands)
            elif single and (word := self._folded(eqn)) is not None:
                self.constants[eqn.outvars[0]] = word
            elif single and self._fusible(eqn) and (known := made.get(self._key(eqn))):
                self.root[eqn.outvars[0]] = (known, 0)
                stage[eqn.outvars[0]] = stage[known]
            elif single and self._fusible(eqn):
                out = made[self._key(eqn)] = eqn.outvars[0]
                stage[out] = max(
                    (
                        stage[v] + (self.seen(v)[0] in self.home and not self._together(v, eqn))
                        for v in operands
                    ),
                    default=0,
                )
                self.home[out] = (stage[out], out.aval.size)
                fused.append(eqn)
            else:
                after = max((stage[v] for v in operands), default=0) + 1
                stage.update((out, after) for out in eqn.outvars)
                self.others.setdefault(after, []).append(eqn)
        return fused

    def _latest(self, fused: list[Any]) -> None:
        """Moves each fused equation to the first stage in which its result is needed."""
        needed: dict[Any, int] = {}

        def need(v: Any, stage: int) -> None:
            seen = self.seen(v)[0]
            needed[seen] = min(stage, needed.get(seen, stage))

        for stage, eqns in self.others.items():
            for eqn in eqns:
                for v in _variables(eqn.invars):
                    need(v, stage - 1)
        for eqn in reversed(fused):
            out = eqn.outvars[0]
            stage, size = self.home[out]
            stage = needed.get(out, stage)
            self.home[out] = (stage, size)
            for v in _variables(eqn.invars):
                need(v, stage if self._together(v, eqn) else stage - 1)

    # Evaluation, stage by stage.

    def read(self, v: Any) -> Any:
        if isinstance(v, Literal):
            return compat.literal_value(v)
        if v not in self.env:
            self.bind(self.maker[v])
        return self.env[v]

    def outputs(self) -> list[Any]:
        last = max([0, *self.others, *(stage for stage, _ in self.regions)])
        for stage in range(last + 1):
            for eqn in self.others.get(stage, ()):
                self.bind(eqn)
            for region in [r for r in self.regions if r[0] == stage]:
                self._run(region)
        return [self.read(v) for v in self.jaxpr.outvars]

    def _write_in_place(self, eqn: Any, others: list[Any]) -> None:
        """Lets a region write its results into a stack of them, if nothing else reads them."""
        rows = [self.seen(v) for v in _variables(eqn.invars)]
        values = {v for v, start in rows if not start and v.aval.size == eqn.invars[0].aval.size}
        homes = {self.home.get(v) for v in values}
        home = homes.pop() if len(homes) == 1 else None
        alone = len(values) == len(eqn.invars) and all(self.uses[v] == 1 for v in values)
        if eqn.params["axis"] == 0 and home is not None and alone:
            others.remove(eqn)
            self.exported -= values
            self.stacks[home].append(eqn)

    def _exported(self) -> set[Any]:
        """Fused values that are read outside of their own region."""
        self.uses: collections.Counter[Any] = collections.Counter()
        self.uses.update(self.seen(v)[0] for v in _variables(self.jaxpr.outvars))
        for eqns in self.others.values():
            self.uses.update(self.seen(v)[0] for e in eqns for v in _variables(e.invars))
        for region, eqns in self.regions.items():
            seen = {self.seen(v)[0] for e in eqns for v in _variables(e.invars)}
            self.uses.update(v for v in seen if self.home.get(v, region) != region)
        return set(self.uses)

    def _run(self, region: tuple[int, int]) -> None:
        compiled = Region(self, region)
        operands = [self.read(v) for v in compiled.operands]
        out = fused_p.bind(*operands, region=compiled)
        self.env.update(zip(compiled.results, out, strict=True))


class Region:
    """Equations of one stage and size, as a program and as equations."""

    def __init__(self, whole: _Fused, region: tuple[int, int]):
        self.equations = _draws_at_first_use(whole.regions[region], whole)
        self.size = region[1]
        self.inside = {e.outvars[0] for e in self.equations}
        self.results = [e.outvars[0] for e in self.equations if e.outvars[0] in whole.exported]
        self.slots = {v: (i, 0) for i, v in enumerate(self.results)}
        self.stacks = whole.stacks[region]
        for eqn in self.stacks:
            for row, v in enumerate(eqn.invars):
                self.slots[whole.seen(v)[0]] = (len(self.results), row * self.size)
            self.results.append(eqn.outvars[0])
        self.operands: list[Any] = []
        readers = [*self.equations, *self.stacks]
        self.root = {v: whole.seen(v) for e in readers for v in _variables(e.invars)}
        self.known = {v: word for v in self.root if (word := _known(whole, v)) is not None}
        for eqn in self.equations:
            for v in eqn.invars:
                if isinstance(v, Literal) or v in self.known:
                    continue
                seen, _ = self.root[v]
                if seen not in self.inside and seen not in self.operands:
                    self.operands.append(seen)

    def evaluate(self, *operands: Array) -> list[Array]:
        """The results by the equations themselves."""
        env = dict(zip(self.operands, operands, strict=True))

        def read(v: Any) -> Any:
            if isinstance(v, Literal):
                return compat.literal_value(v)
            if v in self.known:
                return jnp.full(v.aval.shape, self.known[v], v.aval.dtype)
            seen, offset = self.root[v]
            flat = env[seen].reshape(-1)
            return jnp.broadcast_to(
                flat[offset : offset + v.aval.size] if flat.size > 1 else flat, (v.aval.size,)
            ).reshape(v.aval.shape)

        for eqn in (*self.equations, *self.stacks):
            env[eqn.outvars[0]] = compat.bind(eqn, [read(v) for v in eqn.invars])[0]
        return [env[v] for v in self.results]

    def run(self, *operands: Array) -> list[Array]:
        """The results by the elementwise machine."""
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in self.results]
        return _Assembler(self).program(operands, shapes)


def _known(whole: _Fused, v: Any) -> int | None:
    """The word that a variable consists of, if it is known before the region runs."""
    constant = whole.constant(v)
    return _known_scalar(whole.env.get(whole.seen(v)[0])) if constant is None else constant


def _known_scalar(x: Any) -> int | None:
    if x is None or isinstance(x, jax.core.Tracer) or np.size(x) != 1:
        return None
    return int(np.asarray(x).reshape(())) if np.asarray(x).dtype in _WORDS else None


def _draws_at_first_use(eqns: list[Any], whole: _Fused) -> list[Any]:
    """The equations with each draw just before it is used, so that it stays in cache."""
    waiting = {e.outvars[0]: e for e in eqns if e.primitive is stream.draw_p}
    ordered = []
    for eqn in eqns:
        if eqn.primitive is not stream.draw_p:
            for v in _variables(eqn.invars):
                if (drawn := waiting.pop(whole.seen(v)[0], None)) is not None:
                    ordered.append(drawn)
            ordered.append(eqn)
    return [*waiting.values(), *ordered]


class _Assembler:
    """Instructions and registers for a region; a register is reused once its value is dead."""

    def __init__(self, region: Region):
        self.region = region
        self.program = program.Program(region.size)
        self.place: dict[Any, int] = {}
        self.free: dict[Any, list[int]] = collections.defaultdict(list)
        self.last = {
            region.root[v][0]: i
            for i, e in enumerate(region.equations)
            if e.primitive is not stream.draw_p
            for v in self._variables(e)
        }
        for i, eqn in enumerate(region.equations):
            self._emit(eqn)
            for v in dict.fromkeys(region.root[v][0] for v in self._variables(eqn)):
                if self.last.get(v) == i and v in region.inside and v not in region.slots:
                    self.free[v.aval.dtype].append(self.place[v])

    def _variables(self, eqn: Any) -> list[Any]:
        if eqn.primitive is stream.draw_p:
            return []
        return [v for v in eqn.invars if not isinstance(v, Literal) and v not in self.region.known]

    def _constant(self, v: Any) -> int | None:
        if isinstance(v, Literal):
            return int(compat.literal_value(v)) % (1 << 64)
        return self.region.known.get(v)

    def _source(self, v: Any) -> int:
        constant = self._constant(v)
        if constant is not None:
            register = self._scratch(v.aval.dtype)
            self.program.emit("constant", v.aval.dtype, register, constant=constant)
            return register
        seen, offset = self.region.root[v]
        if seen in self.region.inside:
            return self.place[seen]
        place = program.SCALAR if v.aval.size == 1 < self.region.size else program.OPERAND
        if seen.aval.size == 1:
            place = program.SCALAR
        if (seen, offset, place) not in self.place:
            index = self.region.operands.index(seen)
            self.place[seen, offset, place] = self.program.register(
                place, v.aval.dtype, index, offset
            )
        return self.place[seen, offset, place]

    def _scratch(self, dtype: Any) -> int:
        return self.program.register(program.SCRATCH, dtype)

    def _target(self, v: Any) -> int:
        if v in self.region.slots:
            slot = self.region.slots[v]
            self.place[v] = self.program.register(program.RESULT, v.aval.dtype, *slot)
        else:
            pool = self.free[v.aval.dtype]
            self.place[v] = pool.pop() if pool else self._scratch(v.aval.dtype)
        return self.place[v]

    def _emit(self, eqn: Any) -> None:
        out, dtype = eqn.outvars[0], eqn.outvars[0].aval.dtype
        emit, name = self.program.emit, eqn.primitive.name
        if eqn.primitive is stream.draw_p:
            key, offset = self.region.root[eqn.invars[0]]
            index = self.region.operands.index(key)
            emit("draw", dtype, self._target(out), index, offset, eqn.params["number"])
        elif name == "broadcast_in_dim":
            emit("constant", dtype, self._target(out), constant=self._constant(eqn.invars[0]) or 0)
        elif name in _UNARY:
            source = self._source(eqn.invars[0])
            kind = program.type_code(eqn.invars[0].aval.dtype)
            emit(_UNARY[name], dtype, self._target(out), a=source, constant=kind)
        else:
            x, y = eqn.invars
            self._binary(_BINARY[name], x, y, out)

    def _binary(self, op: str, x: Any, y: Any, out: Any) -> None:
        emit, dtype = self.program.emit, out.aval.dtype
        if op in ("add", "mul", "and", "or", "xor") and self._constant(x) is not None:
            x, y = y, x
        constant = self._constant(y)
        width = 8 * np.dtype(dtype).itemsize
        usable = constant is not None and self._constant(x) is None
        if usable and op.startswith("shift") and constant >= width:
            usable = False
        if usable and op == "div" and constant == 0:
            usable = False
        if not usable:
            a, b = self._source(x), self._source(y)
            emit(op, dtype, self._target(out), a=a, b=b)
            return
        assert constant is not None
        if op == "sub":
            op, constant = "add", -constant % (1 << width)
        a = self._source(x)
        emit(f"{op}_constant", dtype, self._target(out), a=a, constant=constant)


fused_p = Primitive("fused")
fused_p.multiple_results = True


def _run(*operands: Array, region: Region) -> list[Array]:
    with jax.enable_x64(True):
        return (region.run if native.available() else region.evaluate)(*operands)


def _evaluate(*operands: Array, region: Region) -> list[Array]:
    with jax.enable_x64(True):
        return region.evaluate(*operands)


def _abstract(*_: Any, region: Region) -> list[Any]:
    return [jax.core.ShapedArray(v.aval.shape, v.aval.dtype) for v in region.results]


def _batch(operands: Any, dims: Any, *, region: Region) -> tuple[list[Array], list[int]]:
    out = jax.vmap(region.evaluate, in_axes=tuple(dims))(*operands)
    return out, [0] * len(out)


fused_p.def_abstract_eval(_abstract)
fused_p.def_impl(lambda *operands, region: _evaluate(*operands, region=region))
batching.primitive_batchers[fused_p] = _batch
mlir.register_lowering(fused_p, mlir.lower_fun(_evaluate, multiple_results=True))
mlir.register_lowering(fused_p, mlir.lower_fun(_run, multiple_results=True), "cpu")
