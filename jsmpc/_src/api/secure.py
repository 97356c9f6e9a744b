"""`jsmpc.secure`: from a JAX function to a secure one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, overload

from jsmpc._src.api.function import SecureFunction
from jsmpc._src.readings.scaling.plan import Scales

P = ParamSpec("P")
R = TypeVar("R")


@overload
def secure(
    f: Callable[P, R],
    *,
    static_argnums: int | Sequence[int] | None = ...,
    static_argnames: str | Sequence[str] | None = ...,
    check: bool = ...,
    scales: Scales | None = ...,
) -> SecureFunction[P, R]: ...


@overload
def secure(
    *,
    static_argnums: int | Sequence[int] | None = ...,
    static_argnames: str | Sequence[str] | None = ...,
    check: bool = ...,
    scales: Scales | None = ...,
) -> Callable[[Callable[P, R]], SecureFunction[P, R]]: ...


def secure(
    f: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    check: bool = False,
    scales: Scales | None = None,
) -> Any:
    """A function that computes `f` on shares; nothing is disclosed but what `f` reveals.

    `f` is any function of JAX arrays, unmodified: it may use `jax.grad`, Flax and Optax. The
    result takes a key first, then the arguments of `f` with shares (`jsmpc.share`) in the place
    of secret arrays; its results are shares where they depend on secrets and were not revealed.
    It is compiled, equal layers once, and cached by shapes; it composes with `jax.jit` and
    `jax.vmap` (the axes of a share start at 1: axis 0 is the party).

    Args:
      f: the function; left out in the form of a decorator with options.
      static_argnums, static_argnames: positions and names of arguments of `f` that are no arrays,
        as for `jax.jit`; they must be hashable.
      check: whether to find out if a product or a sum of secrets leaves the range, which is silent
        otherwise. All parties learn at which equation that is so first, or that it is nowhere, and
        nothing else. Where the program itself proves that a number stays in range, whatever the
        shares hold (sums and products of bits, one-hot vectors, sigmoids, clipped numbers), that
        costs nothing; elsewhere the run takes several times as long.
      scales: a plan from `jsmpc.calibrate` of how many digits each number of `f` has; by default
        all have those of the encoding.

    Raises (when called):
      ProtocolError: for shares of several protocols, rings or encodings, and without any share;
        for `scales` of another function, other shapes or another encoding.
      UnsupportedError: for a primitive that cannot be computed on secrets, with the user's line.
      SecretError: where `f` needs the value of a secret, as in `if x > 0`.
      EncodingError: for a public operand that the encoding cannot hold, and with `check` for an
        overflow, with the user's line. Where the call itself is
        transformed (`jit`, `vmap`, `scan`), it is raised when a result is revealed.
      KeyFormatError: if the first argument is not a key, or one that several runs would share.

    Warns (when called):
      EncodingWarning: for a public operand that the encoding rounds to zero, a loop that begins
        with one of which it keeps few digits, and with `scales` for a share that has too few for
        numbers as small as the samples of the plan. Of operands that are known only when the
        function runs, and not where the call itself is transformed, it is one all of which is lost.

    Guarantee: that of the protocol; shapes and the program are public.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jax.random.key(0), jnp.arange(4.0), jsmpc.Replicated3())
      >>> norm = jsmpc.secure(lambda x: jnp.sum(x * x))
      >>> jsmpc.reveal(norm(jax.random.key(1), x))
      Array(14., dtype=float32)
      >>> @jsmpc.secure(static_argnames="train")
      ... def layer(x, *, train):
      ...     return jax.nn.relu(x - 1) if train else x
      >>> jsmpc.reveal(layer(jax.random.key(2), x, train=True))
      Array([0., 0., 1., 2.], dtype=float32)
    """
    if f is None:
        return functools.partial(
            secure,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            check=check,
            scales=scales,
        )
    return SecureFunction(f, static_argnums, static_argnames, check, scales)
