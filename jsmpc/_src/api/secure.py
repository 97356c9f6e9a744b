"""`jsmpc.secure`: a JAX function as a secure computation of its parties."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.sharding import PartitionSpec

from jsmpc._src import kernels
from jsmpc._src.api.material import Material
from jsmpc._src.api.sharing import Share, check_components, is_share
from jsmpc._src.errors import EncodingError, MaterialError, ProtocolError
from jsmpc._src.interpreter import rules  # noqa: F401 (registers the rules)
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.jaxprs import compat
from jsmpc._src.network.mesh import Mesh
from jsmpc._src.network.network import AXIS, Network
from jsmpc._src.network.simulated import Simulated
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.cost import Cost, measure
from jsmpc._src.runtime import dealing, prf
from jsmpc._src.runtime.context import Context

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class _Signature:
    """All that is static about a call."""

    treedef: Any
    static: tuple[tuple[int, Any], ...]
    protocol: Protocol | None
    user_x64: bool


def secure(
    f: Callable[..., Any],
    *,
    mesh: jax.sharding.Mesh | None = None,
    static_argnums: int | Sequence[int] = (),
) -> SecureFunction:
    """A function that computes `f` on shares; nothing is disclosed but what `f` reveals.

    `f` is any function of JAX arrays, unmodified: it may use `jax.grad`, Flax and Optax. The
    result takes a key first, then the arguments of `f` with shares (`jsmpc.share`) in the place
    of secret arrays; its results are shares where they depend on secrets and were not revealed.
    It is compiled, and cached by shapes; it composes with `jax.jit` and `jax.vmap` (the axes of
    a share start at 1: axis 0 is the party).

    Args:
      f: the function.
      mesh: a mesh with the axis `party`, to run each party on its own device; by default all
        parties are simulated in one program, which hides nothing from the machine it runs on.
      static_argnums: positions of arguments of `f` that are no arrays.

    Raises (when called):
      ProtocolError: for shares of several protocols, rings or encodings.
      UnsupportedError: for a primitive that cannot be computed on secrets, with the user's line.
      KeyFormatError: if the first argument is not a key.

    Guarantee: that of the protocol; shapes and the program are public.
    """
    return SecureFunction(f, mesh, static_argnums)


class SecureFunction:
    """What `secure` returns: callable as a whole, or as an offline and an online phase."""

    def __init__(
        self,
        f: Callable[..., Any],
        mesh: jax.sharding.Mesh | None = None,
        static_argnums: int | Sequence[int] = (),
    ):
        if not callable(f):
            raise TypeError(f"secure takes a function, not {f!r}")
        functools.update_wrapper(self, f, updated=())
        self._f = f
        self._mesh = mesh
        self._static = (static_argnums,) if isinstance(static_argnums, int) else static_argnums
        self._run = jax.jit(self._simulate, static_argnums=0)
        self._deal = jax.jit(self._dealt, static_argnums=(0, 1))
        self._run_online = jax.jit(self._resume, static_argnums=(0, 1))
        self._plans: dict[Any, dealing.Plan] = {}

    def __call__(self, key: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute `f`: both phases in one."""
        key = prf.as_key(key)
        signature, leaves = self._flatten(args, kwargs)
        if signature.protocol is not None and self._mesh is not None:
            return self.online(self.offline(key, *args, **kwargs), *args, **kwargs)
        with jax.enable_x64(True):
            return _checked(*self._run(signature, key, leaves))

    def offline(self, key: Any, *args: Any, **kwargs: Any) -> Material:
        """What can be done before the inputs are known: seeds, and the dealer's work.

        Args:
          key: a key of its own for each run.
          *args, **kwargs: shares and arrays as for a call; only their shapes matter.

        Returns:
          material for one call of `online`.
        """
        key = prf.as_key(key)
        signature, leaves = self._flatten(args, kwargs)
        protocol = _require_protocol(signature)
        plan = self._plan(signature, leaves)
        with jax.enable_x64(True):
            seeds, corrections = self._deal(protocol, plan, key)
        return Material(seeds, corrections, plan, protocol)

    def online(self, material: Material, *args: Any, **kwargs: Any) -> Any:
        """Compute `f` with material from `offline`, which is used up.

        Raises:
          MaterialError: if it belongs to another function or other shapes, or was used before;
            nothing has been computed then.
        """
        if not isinstance(material, Material):
            raise MaterialError(f"online takes what offline returned, not {material!r}")
        signature, leaves = self._flatten(args, kwargs)
        protocol = _require_protocol(signature)
        material.spend(self._plan(signature, leaves), protocol)
        with jax.enable_x64(True):
            seeds, corrections = material.seeds, material.corrections
            if self._mesh is not None:
                seeds, corrections = self._place(protocol, seeds, corrections)
            out = self._run_online(signature, material.plan, seeds, corrections, leaves)
            return _checked(*out)

    def cost(self, *args: Any, **kwargs: Any) -> Cost:
        """Rounds and bytes of a call, counted from its messages without running it."""
        signature, leaves = self._flatten(args, kwargs)
        with jax.enable_x64(True):
            jaxpr = jax.make_jaxpr(functools.partial(self._program, signature))(_KEY_SHAPE, leaves)
        return measure(jaxpr, signature.protocol.parties if signature.protocol else ())

    # From the user's arguments to arrays and back.

    def _flatten(self, args: Any, kwargs: Any) -> tuple[_Signature, list[Any]]:
        static = tuple((i, args[i]) for i in self._static if i < len(args))
        dynamic = [None if i in self._static else a for i, a in enumerate(args)]
        leaves, treedef = jax.tree.flatten((dynamic, kwargs), is_leaf=is_share)
        shares = [x for x in leaves if is_share(x)]
        for x in shares:
            check_components(x)
        protocol = _common_protocol(shares)
        arrays = [x if is_share(x) else _as_array(x) for x in leaves]
        return _Signature(treedef, static, protocol, compat.x64_enabled()), arrays

    def _trace(self, signature: _Signature, leaves: list[Any]) -> tuple[Any, Any]:
        """The jaxpr of `f`, traced with plain arrays in the user's own mode."""

        def flat(*values: Any) -> Any:
            args, kwargs = jax.tree.unflatten(signature.treedef, values)
            for i, value in signature.static:
                args[i] = value
            return self._f(*args, **kwargs)

        def plain(x: Any) -> Any:
            if is_share(x):
                return jax.ShapeDtypeStruct(x.shape, x.dtype)
            return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=getattr(x, "weak_type", False))

        with jax.enable_x64(signature.user_x64):
            return jax.make_jaxpr(flat, return_shape=True)(*map(plain, leaves))

    def _evaluate(
        self,
        signature: _Signature,
        network: Network,
        ctx: Context,
        leaves: list[Any],
    ) -> Any:
        protocol = _require_protocol(signature)
        jaxpr, out_shape = self._trace(signature, leaves)

        def load(x: Any) -> Any:
            if is_share(x):
                return Secret(protocol.unpack(network, x.components), x.dtype)
            return x

        def store(x: Any) -> Any:
            if is_secret(x):
                return Share(network.pack(x.value), protocol, x.dtype)
            return x

        evaluator = Evaluator(protocol, ctx, unfit={})
        out = evaluator.evaluate(jaxpr, [load(x) for x in leaves])
        results = jax.tree.unflatten(jax.tree.structure(out_shape), [store(x) for x in out])
        return results, evaluator.unfit

    # All parties in one program.

    def _program(
        self,
        signature: _Signature,
        key: Array,
        leaves: list[Any],
        optimize: Callable[[Any], Any] = lambda f: f,
    ) -> Any:
        protocol = _require_protocol(signature)
        network = Simulated(protocol.size)
        ctx = Context(network, protocol.setup(network, key), optimize=optimize)
        return self._evaluate(signature, network, ctx, leaves)

    def _simulate(self, signature: _Signature, key: Array, leaves: list[Any]) -> Any:
        if signature.protocol is None:
            args, kwargs = jax.tree.unflatten(signature.treedef, leaves)
            for i, value in signature.static:
                args[i] = value
            with jax.enable_x64(signature.user_x64):
                return self._f(*args, **kwargs), {}
        program = functools.partial(self._program, signature, optimize=kernels.optimize)
        return _with_fresh_key_per_element(kernels.optimize(program))(key, leaves)

    # The two phases.

    def _plan(self, signature: _Signature, leaves: list[Any]) -> dealing.Plan:
        shapes = tuple((x.shape, x.dtype) for x in leaves)
        cached = self._plans.get((signature, shapes))
        if cached is None:
            protocol = _require_protocol(signature)
            network = Simulated(protocol.size)
            planner = dealing.Planner()

            def run(key: Array, leaves: list[Any]) -> Any:
                ctx = Context(network, protocol.setup(network, key), planner)
                return self._evaluate(signature, network, ctx, leaves)

            with jax.enable_x64(True):
                abstract = jax.tree.map(_abstract, leaves)
                jax.eval_shape(run, _KEY_SHAPE, abstract)
            cached = self._plans[signature, shapes] = planner.plan()
        return cached

    def _dealt(self, protocol: Protocol, plan: dealing.Plan, key: Array) -> Any:
        network = Simulated(protocol.size, phase="offline")

        def run(key: Array) -> Any:
            seeds = protocol.setup(network, key)
            return network.pack(seeds), dealing.offline(network, seeds, plan)

        return kernels.optimize(run)(key)

    def _resume(
        self, signature: _Signature, plan: dealing.Plan, seeds: Any, corrections: Any, leaves: Any
    ) -> Any:
        protocol = _require_protocol(signature)
        network: Network = Simulated(protocol.size)
        if self._mesh is not None:
            network = Mesh(protocol.size)

        def run(seeds: Any, corrections: Any, leaves: Any) -> Any:
            if self._mesh is not None:
                corrections = jax.tree.map(lambda x: x[0], corrections)
            unpacked = protocol.unpack(network, seeds)
            dealt = dealing.Supplied(plan, corrections)
            ctx = Context(network, unpacked, dealt, kernels.optimize)
            return self._evaluate(signature, network, ctx, leaves)

        fast = kernels.optimize(run)
        if self._mesh is None:
            return fast(seeds, corrections, leaves)

        party, everyone = PartitionSpec(AXIS), PartitionSpec()

        def specs(tree: Any) -> Any:
            return jax.tree.map(
                lambda x: party if is_share(x) else everyone, tree, is_leaf=is_share
            )

        results = jax.eval_shape(
            functools.partial(self._program, signature), _KEY_SHAPE, jax.tree.map(_abstract, leaves)
        )
        return jax.shard_map(
            fast,
            mesh=self._mesh,
            in_specs=(party, party, specs(leaves)),
            out_specs=specs(results),
            check_vma=False,
        )(seeds, corrections, leaves)

    def _place(self, protocol: Protocol, seeds: Any, corrections: Any) -> tuple[Any, Any]:
        """Each party's material on its own device: seeds for all, corrections for party 0."""
        assert self._mesh is not None
        sharding = jax.sharding.NamedSharding(self._mesh, PartitionSpec(AXIS))

        def for_party_0(x: Array) -> Array:
            return jnp.concatenate([x[None], jnp.zeros((protocol.size - 1, *x.shape), x.dtype)])

        placed = protocol.placed(seeds[0]), jax.tree.map(for_party_0, corrections)
        return jax.device_put(placed, sharding)


_KEY_SHAPE = jax.ShapeDtypeStruct((8,), np.uint32)


def _checked(out: Any, unfit: dict[str, Array]) -> Any:
    """The results, unless a public operand did not fit the encoding."""
    for where, bad in unfit.items():
        if not isinstance(bad, jax.core.Tracer) and bool(bad):
            raise EncodingError(
                f"{where}: a public operand is NaN, infinite or beyond the encoding's limit. "
                "Check or scale it before it meets a secret"
            )
    return out


def _abstract(x: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _as_array(x: Any) -> Any:
    try:
        return x if isinstance(x, jax.Array) else jnp.asarray(x)
    except TypeError as error:
        raise TypeError(
            f"an argument of a secure function is neither an array nor a share: {x!r}. Name its "
            "position in static_argnums, or close over it"
        ) from error


def _common_protocol(shares: list[Share]) -> Protocol | None:
    protocols = {x.protocol: x for x in shares}
    if len(protocols) > 1:
        first, second = list(protocols)[:2]
        raise ProtocolError(
            "shares of two protocols, rings or encodings cannot be computed on together: "
            f"{first} and {second}. Share all operands with one protocol"
        )
    return next(iter(protocols), None)


def _require_protocol(signature: _Signature) -> Protocol:
    if signature.protocol is None:
        raise ProtocolError(
            "no argument is a share, so there is no protocol to run. Share the secret arguments "
            "with jsmpc.share first"
        )
    return signature.protocol


def _with_fresh_key_per_element(program: Callable[..., Any]) -> Callable[..., Any]:
    """Under `jax.vmap`, a key that all elements have in common is made different for each.

    Otherwise every element would use the same masks, and opening them would disclose the
    differences of their secrets.
    """

    def call(key: Array, leaves: Any) -> Any:
        flat, treedef = jax.tree.flatten(leaves)
        out_tree: list[Any] = []

        def flat_program(key: Array, *flat: Array) -> list[Array]:
            out = program(key, jax.tree.unflatten(treedef, flat))
            arrays, structure = jax.tree.flatten(out)
            out_tree[:] = [structure]
            return arrays

        batched = custom_vmap(flat_program)

        @batched.def_vmap
        def rule(size: int, in_batched: Any, key: Array, *flat: Array) -> Any:
            if not in_batched[0]:
                indices = jnp.arange(size, dtype=jnp.uint32)
                root = prf.derive(key, "vmap")
                key = jax.vmap(lambda i: prf.iterate(root, 0, i))(indices)
            axes = (0, *(0 if b else None for b in in_batched[1:]))
            arrays = jax.vmap(flat_program, in_axes=axes)(key, *flat)
            return arrays, [True] * len(arrays)

        arrays = batched(key, *flat)
        return jax.tree.unflatten(out_tree[0], arrays)

    return call
