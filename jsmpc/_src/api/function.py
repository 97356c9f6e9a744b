"""A JAX function as a secure computation of its parties: what `jsmpc.secure` makes."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import jax
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.api import (
    arguments,
    choreographed,
    evaluation,
    fresh,
    kept,
    material,
    outcome,
    phases,
    poison,
    ports,
    serialization,
)
from jsmpc._src.api.arguments import Call, Static
from jsmpc._src.api.brief import brief
from jsmpc._src.api.compiled import Compiled
from jsmpc._src.api.director import Director
from jsmpc._src.api.held import ahead_of, session_of
from jsmpc._src.api.material import Material
from jsmpc._src.api.phases import Phases
from jsmpc._src.api.session import Function, Purpose, Session
from jsmpc._src.api.words import is_words
from jsmpc._src.errors import EncodingWarning, JsmpcError, MaterialError, ProtocolError, SecretError
from jsmpc._src.jaxprs import compat, disclosed, lines
from jsmpc._src.jaxprs.disclosed import Disclosure
from jsmpc._src.jaxprs.undisturbed import undisturbed
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.cost import Cost, measure
from jsmpc._src.readings.projection.projection import Projection
from jsmpc._src.readings.scaling.plan import Scales
from jsmpc._src.readings.verification.report import Verification
from jsmpc._src.runtime import dealing, prf
from jsmpc._src.runtime.context import Context

Array = jax.Array
# A program with the form of its results, what it is for, and what makes a set for its stock.
_Part = tuple[tuple[Projection, Any], Purpose, Callable[[], list[Array]] | None]
P = ParamSpec("P")
R = TypeVar("R")


class SecureFunction(Generic[P, R]):
    """What `secure` returns: callable as a whole, or as an offline and an online phase.

    Attributes:
      cited: the papers that its programs are from, so far; see `jsmpc.references`.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> square = jsmpc.secure(lambda x: x * x)
      >>> x = jsmpc.share(jax.random.key(0), jnp.ones(10), jsmpc.Replicated3())
      >>> square.cost(x).rounds, square.cost(x).bytes_sent
      (2, (120, 120, 120))
    """

    def __init__(
        self,
        f: Callable[..., Any],
        static_argnums: int | Sequence[int] | None = None,
        static_argnames: str | Sequence[str] | None = None,
        check: bool = False,
        scales: Scales | None = None,
    ):
        if not callable(f):
            raise TypeError(f"secure takes a function, not {type(f).__name__}")
        self.__doc__, self.__module__ = f.__doc__, f.__module__
        self.__qualname__ = getattr(f, "__qualname__", type(f).__name__)
        self.__name__ = getattr(f, "__name__", type(f).__name__)
        self.__signature__ = arguments.signature_of(f)
        self._f = f
        self._options = (static_argnums, static_argnames, check, scales)
        self._check, self._scales = check, scales
        self._static = Static.of(f, static_argnums, static_argnames)
        self._run = Compiled(self._simulate)
        self._deal = jax.jit(_dealt, static_argnums=(0, 1))
        self._run_online = jax.jit(self._resume, static_argnums=(0, 1))
        self._phases: dict[Any, tuple[Phases, Purpose]] = {}
        self._parts: dict[Any, _Part] = {}
        self._reveals: dict[Any, tuple[Disclosure, ...]] = {}
        self.cited: dict[str, None] = {}
        self._bound: dict[Any, SecureFunction[..., Any]] = {}

    def __repr__(self) -> str:
        return f"<secure {self.__name__}>"

    def __get__(self, instance: Any, owner: Any = None) -> SecureFunction[..., Any]:
        """As a method: of an instance, a static argument then that is kept with its programs."""
        if instance is None:
            return self
        arguments.require_hashable(self.__name__, "self", instance)
        if instance not in self._bound:
            method = self._f.__get__(instance, owner)
            self._bound[instance] = SecureFunction(method, *self._options)
        return self._bound[instance]

    @brief
    def __call__(self, key: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute `f`: both phases in one."""
        key = fresh.key_of(key)
        call, leaves, shares = self._flatten(args, kwargs)
        if (session := session_of(shares)) is not None:
            return self._at_endpoint(session, key, call, leaves, shares)
        poison.require_sound(shares)
        traced = arguments.any_traced(leaves)
        with compat.protocol_mode():
            out, verdict = self._run(call, call.protocol.state, key, leaves)
            if traced:
                shown = self._reveals[call, arguments.types(leaves)]
                return disclosed.marked(outcome.poisoned(out, verdict, leaves), shown)
            return outcome.raised(out, verdict)

    @brief
    def offline(self, key: Any, /, *args: P.args, **kwargs: P.kwargs) -> Material:
        """What can be done before the inputs are known: seeds, and the dealer's work.

        Args:
          key: a key of its own for each run.
          *args, **kwargs: as for a call; only shapes and dtypes matter, so that they may also be
            those of `jax.eval_shape`.

        Returns:
          material for one call of `online`; in a session, this endpoint's part of it.

        Raises:
          MaterialError: inside of a transformation (`jit`, `vmap`, …).
        """
        key = fresh.key_of(key)
        material.refuse_transformation("offline")
        call, leaves, shares = self._flatten(args, kwargs)
        return self._offline(key, call, leaves, ahead_of(shares, call.protocol))

    @brief
    def online(self, material: Material, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute `f` with material from `offline`, which is used up.

        Raises:
          MaterialError: if it belongs to another function or other shapes, or was used before,
            and inside of a transformation; nothing has been computed then.
        """
        if not isinstance(material, Material):
            raise MaterialError(
                f"online takes what offline returned, not {type(material).__name__}"
            )
        call, leaves, shares = self._flatten(args, kwargs)
        if (session := session_of(shares)) is not None:
            return self._online_at_endpoint(session, material, call, leaves, shares)
        poison.require_sound(shares)
        return self._online(material, call, leaves)

    @brief
    def cost(self, *args: P.args, **kwargs: P.kwargs) -> Cost:
        """Rounds and bytes of a call, counted from its messages without running it.

        Args:
          *args, **kwargs: as for `offline`.
        """
        call, leaves, _ = self._flatten(args, kwargs)
        projection, _ = self._projection(call, leaves, lines.caller())
        return measure(projection, call.protocol.computing)

    @brief
    def verify(self, *args: P.args, **kwargs: P.kwargs) -> Verification:
        """The proof that no view of a call tells anything; see `jsmpc.verify`.

        Args:
          *args, **kwargs: as for `offline`.
        """
        call, leaves, _ = self._flatten(args, kwargs)
        projection, _ = self._projection(call, leaves, lines.caller())
        return choreographed.verified(call.protocol, projection)

    @brief
    def trace(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The program of all parties together, before it is fused: a jaxpr.

        Its inputs are a key, uint32[8], and the arrays of the arguments, shares stacked by party.
        """
        return self._jaxpr(*self._flatten(args, kwargs)[:2], lines.caller())

    @brief
    def project(self, *args: P.args, **kwargs: P.kwargs) -> Projection:
        """The program with who computes, sends and learns what: what each endpoint runs.

        Args:
          *args, **kwargs: as for `offline`.

        Raises:
          ProtocolError: if a protocol's step uses what its party does not hold, and where a dealer
            would have to know what the parties reveal.
        """
        call, leaves, _ = self._flatten(args, kwargs)
        return self._projection(call, leaves, lines.caller())[0]

    @brief
    def plans(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """What each worker would run on shares that lie at workers: a `Plan` by the worker's name.

        Its owner reads it, and permits it by its hash.

        Args:
          *args, **kwargs: as for a call, with shares of `jsmpc.share(…, workers=…)`.

        Raises:
          ProtocolError: for shares that do not lie at workers.
        """
        call, leaves, shares = self._flatten(args, kwargs)
        session = session_of(shares)
        if not isinstance(session, Director):
            raise ProtocolError(
                f"{self.__name__}.plans takes shares that lie at workers. Share with workers=…"
            )
        (projection, _), purpose, _ = self._dealt_as_it_runs(call, leaves)
        return session.plans(projection, purpose)

    @brief
    def jaxpr(self, *args: P.args, **kwargs: P.kwargs) -> tuple[Any, list[bool]]:
        """The function's own program in plain JAX, and which of its inputs are secret.

        Args:
          *args, **kwargs: as for `offline`.
        """
        call, leaves, _ = self._flatten(args, kwargs)
        return self._traced(call, leaves)[0], [is_words(x) for x in leaves]

    @brief
    def lower(self, key: Any, /, *args: P.args, **kwargs: P.kwargs) -> jax.stages.Lowered:
        """The compiled program before it is compiled, as that of `jax.jit(f).lower`."""
        call, leaves, _ = self._flatten(args, kwargs)
        key = key if isinstance(key, jax.ShapeDtypeStruct) else fresh.key_of(key)
        with compat.protocol_mode():
            return self._run.whole.lower(call, call.protocol.state, key, leaves)

    # From the user's arguments to arrays and back.

    def _flatten(self, args: Any, kwargs: Any) -> tuple[Call, list[Any], list[Any]]:
        serialization.register()
        return arguments.flatten(self.__name__, self._static, args, kwargs)

    def _traced(self, call: Call, leaves: list[Any]) -> tuple[Any, Any]:
        """The jaxpr of `f`, traced with plain arrays in the user's own mode."""

        def plain(x: Any) -> Any:
            weak = getattr(x, "weak_type", False)
            return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=weak)

        args, kwargs = call.arguments([plain(x) for x in leaves])
        static = {n: kwargs.pop(n) for n in self._static.names if n in kwargs}
        positions = [i for i in self._static.positions if i < len(args)]
        f = functools.partial(self._f, **static) if static else self._f
        make = jax.make_jaxpr(f, static_argnums=positions, return_shape=True)
        with jax.enable_x64(call.user_x64):
            try:
                return make(*args, **kwargs)
            except Exception as error:
                if isinstance(error, JsmpcError) or not lines.needs_value(error):
                    raise
                raise SecretError(_explained(self.__name__, error)) from None

    def _evaluate(self, call: Call, ctx: Context, leaves: list[Any], caller: Any = None) -> Any:
        program, options = self._traced(call, leaves), (self._check, self._scales)
        out = evaluation.evaluate(call.protocol, ctx, program, leaves, *options, caller)
        if self._scales is not None:
            digits = [evaluation.digits(x) for x in leaves]
            for said in self._scales.losses(call.names(leaves), digits):
                warnings.warn(said, EncodingWarning, stacklevel=2)
        self.cited.update(dict.fromkeys(call.protocol.references) | ctx.cited)
        shown = choreographed.shown(call.protocol, program[0])
        self._reveals[call, arguments.types(leaves)] = shown
        return out

    # All parties in one program.

    def _program(
        self,
        call: Call,
        state: Any,
        keys: Sequence[Any],
        leaves: list[Any],
        optimize: Callable[[Any], Any] = lambda f: f,
        caller: Any = None,
    ) -> Any:
        evaluate = functools.partial(self._evaluate, caller=caller)
        return phases.together(call, state, keys, leaves, evaluate, optimize)

    def _from_one_key(
        self, call: Call, state: Any, key: Array, leaves: list[Any], **options: Any
    ) -> Any:
        """As in a simulation: all endpoints draw from one key, and rows are stacked."""
        keys = [key] * len(call.protocol.endpoints)
        return outcome.stacked(self._program(call, state, keys, leaves, **options))

    @undisturbed
    def _simulate(self, call: Call, state: Any, key: Array, leaves: list[Any]) -> Any:
        def program(key: Array, operands: Any) -> Any:
            return self._from_one_key(
                call, operands[0], key, operands[1], optimize=kernels.optimize
            )

        return fresh.per_element(kernels.optimize(program))(key, (state, leaves))

    @undisturbed
    def _jaxpr(self, call: Call, leaves: list[Any], caller: Any) -> Any:
        program = functools.partial(self._from_one_key, call, call.protocol.state, caller=caller)
        with compat.protocol_mode():
            return jax.make_jaxpr(program)(_KEY, leaves)

    def _projection(
        self, call: Call, leaves: list[Any], caller: Any = None
    ) -> tuple[Projection, Any]:
        """The program of all endpoints with who takes which part of it; the form of its results."""
        protocol = call.protocol
        rows = [ports.apart(x) for x in leaves]
        return choreographed.projected(
            protocol,
            functools.partial(self._program, call, caller=caller),
            ([_KEY] * len(protocol.endpoints), rows),
            [*ports.of_keys(protocol), *ports.of_inputs(protocol, rows, call.names(leaves))],
            functools.partial(ports.of_outputs, protocol),
        )

    # One endpoint of a deployment.

    def _at_endpoint(self, session: Session, key: Array, call: Call, leaves: Any, held: Any) -> Any:
        """The results as this endpoint has them."""
        place = call, arguments.types(leaves), session.stocked
        if place not in self._parts:
            stocked = self._from_stock(call, leaves) if session.stocked else None
            self._parts[place] = stocked or self._dealt_as_it_runs(call, leaves)
        program, purpose, deal = self._parts[place]
        early = [key] if deal is None else session.from_stock(deal)
        return choreographed.run_at_endpoint(session, program, purpose, early, leaves, held)

    def _from_stock(self, call: Call, leaves: Any) -> _Part | None:
        """The program whose dealer takes what it deals from its stock; None where it cannot."""
        if kept.holders(call.protocol) or call.protocol.helped:
            return None  # it deals by what others keep, or must not know all seeds
        try:
            both, _ = self._in_phases(call, leaves)
        except MaterialError:  # a loop that runs until a value says so: dealt for as it runs
            return None
        purpose = self._purpose(call, leaves, ", with what was in stock")

        def deal() -> list[Array]:
            with compat.protocol_mode():
                dealt = self._deal(call.protocol, both.plan, call.protocol.state, prf.random_key())
                return jax.tree.leaves(dealt)

        return both.served, purpose, deal

    def _dealt_as_it_runs(self, call: Call, leaves: Any) -> _Part:
        """The program whose dealer, where there is one, follows the parties' loops and branches."""
        found = self._projection(call, leaves, lines.caller())
        purpose = self._purpose(call, leaves)
        told = tuple(choreographed.told(call.protocol, found[0].block))
        return found, dataclasses.replace(purpose, reveals=purpose.reveals + told), None

    def _purpose(self, call: Call, leaves: list[Any], how: str = "") -> Purpose:
        jaxpr, secret = self._traced(call, leaves)[0], tuple(map(is_words, leaves))
        function = Function(jaxpr, secret, lines.line_of(lines.caller()))
        shown = choreographed.reveals(call.protocol, jaxpr)
        return Purpose(f"secure {self.__name__}{how}", shown, function=function)

    # The two phases.

    def _in_phases(self, call: Call, leaves: list[Any]) -> tuple[Phases, Purpose]:
        shapes = arguments.types(leaves)
        if (call, shapes) not in self._phases:
            evaluate = functools.partial(self._evaluate, caller=lines.caller())
            purpose = self._purpose(call, leaves, ", with what was dealt")
            self._phases[call, shapes] = Phases(call, leaves, evaluate), purpose
        return self._phases[call, shapes]

    def _offline(self, key: Array, call: Call, leaves: Any, session: Session | None) -> Material:
        both, _ = self._in_phases(call, leaves)
        with compat.protocol_mode():
            if session is None:
                parts = both.parts(self._deal(call.protocol, both.plan, call.protocol.state, key))
                return Material(parts, call.protocol, both)
            purpose = Purpose(f"what is dealt for secure {self.__name__}")
            own = session.run(both.dealing, [*session.state, key], purpose)
            return Material({session.endpoint: own}, call.protocol, both, session.number())

    def _online(self, given: Material, call: Call, leaves: list[Any]) -> Any:
        both, _ = self._in_phases(call, leaves)
        given.spend(both, call.protocol)
        with compat.protocol_mode():
            dealt = both.joined(given.parts)
            return outcome.raised(
                *self._run_online(call, both.plan, call.protocol.state, dealt, leaves)
            )

    @undisturbed
    def _resume(self, call: Call, plan: dealing.Plan, state: Any, dealt: Any, leaves: Any) -> Any:
        def run(state: Any, dealt: Any, leaves: Any) -> Any:
            optimize = kernels.optimize
            return outcome.stacked(
                phases.resumed(call, plan, state, dealt, leaves, self._evaluate, optimize)
            )

        return kernels.optimize(run)(state, dealt, leaves)

    def _online_at_endpoint(
        self, session: Session, given: Material, call: Call, leaves: Any, held: Any
    ) -> Any:
        both, purpose = self._in_phases(call, leaves)
        given.spend(both, call.protocol, session)
        own = given.parts[session.endpoint]
        return choreographed.run_at_endpoint(session, both.online, purpose, own, leaves, held)


_KEY = jax.ShapeDtypeStruct((8,), np.uint32)


@undisturbed
def _dealt(protocol: Protocol, plan: dealing.Plan, state: Any, key: Array) -> Any:
    keys = [key] * len(protocol.endpoints)
    return kernels.optimize(functools.partial(phases.dealt, protocol, plan))(state, keys)


def _explained(name: str, error: Exception) -> str:
    """What to do where a function needs a value while it is traced."""
    depends = "needs the value of a secret or an argument"
    arguments = lines.arguments_named(error)
    if arguments:
        depends = f"needs a value that depends on {arguments}"
    return (
        f"{name} at {lines.of_error(error)} {depends} while it is traced, e.g. as the condition of "
        "a Python `if`, an index, a shape or a NumPy array. The value of a secret is known to "
        "nobody: use jnp.where, lax.cond or lax.fori_loop, or jsmpc.reveal it inside and compute "
        "what depends on it outside. What is no secret and no array goes into static_argnums or "
        "static_argnames"
    )
