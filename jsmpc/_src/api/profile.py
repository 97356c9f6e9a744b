"""`jsmpc.profile`: the price of a secure function before it runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, overload

import jax
import numpy as np

from jsmpc._src.api.function import SecureFunction
from jsmpc._src.api.share import Share, is_share
from jsmpc._src.api.words import Words
from jsmpc._src.errors import ProtocolError
from jsmpc._src.jaxprs import lines
from jsmpc._src.protocols import Protocol, Replicated3
from jsmpc._src.readings.pricing import cache
from jsmpc._src.readings.pricing.advice import advise
from jsmpc._src.readings.pricing.comparison import Comparison
from jsmpc._src.readings.pricing.network import LAN, WAN, Network
from jsmpc._src.readings.pricing.profile import Profile, price


@overload
def profile(
    f: Callable[..., Any],
    /,
    *args: Any,
    protocols: Protocol | None = ...,
    networks: Network | Sequence[Network] = ...,
    static_argnums: int | Sequence[int] | None = ...,
    static_argnames: str | Sequence[str] | None = ...,
    **kwargs: Any,
) -> Profile: ...


@overload
def profile(
    f: Callable[..., Any],
    /,
    *args: Any,
    protocols: Sequence[Protocol],
    networks: Network | Sequence[Network] = ...,
    static_argnums: int | Sequence[int] | None = ...,
    static_argnames: str | Sequence[str] | None = ...,
    **kwargs: Any,
) -> Comparison: ...


def profile(
    f: Callable[..., Any],
    /,
    *args: Any,
    protocols: Protocol | Sequence[Protocol] | None = None,
    networks: Network | Sequence[Network] = (LAN, WAN),
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    **kwargs: Any,
) -> Profile | Comparison:
    """Rounds, bytes, memory and seconds of `jsmpc.secure(f)(key, *args)`, which does not run.

    Shapes suffice: nothing is shared, compiled or computed. The seconds are those of a call that
    was compiled before, its inputs shared: each endpoint's clock is simulated, with the work
    between its exchanges at the speeds of this machine, and messages that leave at the network's
    bandwidth and arrive half a round trip later. The first call measures these speeds, which
    takes a second or two, and keeps them in the user's cache (`$XDG_CACHE_HOME/jsmpc`, or
    `~/.cache/jsmpc`: if the machine was busy then, delete it).

    Args:
      f: a function as for `jsmpc.secure`, or what that returned.
      *args, **kwargs: its arguments: `jax.ShapeDtypeStruct` or a `Share` in the place of what is
        secret, arrays and numbers for what is public. Where `f` has a keyword argument named like
        one of those below, bind it with `functools.partial`.
      protocols: one, or several to compare; by default that of the shares, or `Replicated3()`.
      networks: one, or several; without any, no seconds are predicted.
      static_argnums, static_argnames: as for `jsmpc.secure`.

    Returns:
      a `Profile`; of a sequence of protocols a `Comparison`.

    Raises:
      ProtocolError: if nothing is secret, shares are of several protocols, or what is given as
        protocols or networks is none.
      UnsupportedError, SecretError, EncodingError: as for a call.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> secret = jax.ShapeDtypeStruct((32, 10), jnp.float32)
      >>> def predict(w, x):
      ...     return jnp.argmax(jax.nn.softmax(x @ w))
      >>> found = jsmpc.profile(predict, jax.ShapeDtypeStruct((10, 3), jnp.float32), secret)
      >>> found.rounds, found.busiest, found.advice[-1].operation
      (58, 'party1', 'argmax')
      >>> far = jsmpc.Network(bandwidth=20e6, round_trip=0.1)
      >>> found = jsmpc.profile(jnp.dot, secret, jnp.ones(10), networks=far)
      >>> round(found.seconds["20 Mbit/s, 100 ms"], 1)  # 3 rounds and the set-up
      0.2
    """
    chosen = _protocols(protocols, (args, kwargs))
    joined = (networks,) if isinstance(networks, Network) else tuple(networks)
    if not all(isinstance(n, Network) for n in joined):
        raise ProtocolError(
            "networks is one network, or a sequence of them: jsmpc.LAN, jsmpc.WAN, …"
        )
    if len({n.name for n in joined}) < len(joined):
        raise ProtocolError("networks that are compared need different names: Network(…, name=…)")
    secure = f
    if not isinstance(secure, SecureFunction):
        secure = SecureFunction(f, static_argnums, static_argnames)
    caller = lines.line_of(lines.caller())
    found = []
    for protocol in chosen:
        given, named = jax.tree.map(
            functools.partial(of_shape, protocol), (args, kwargs), is_leaf=is_share
        )
        projection = secure.project(*given, **named)
        program, hidden = secure.jaxpr(*given, **named)
        advice = advise(program, hidden, caller)
        found.append(price(secure.__name__, protocol, projection, joined, cache.speeds, advice))
    one = protocols is None or isinstance(protocols, Protocol)
    return found[0] if one else Comparison(tuple(found))


def _protocols(given: Protocol | Sequence[Protocol] | None, tree: Any) -> tuple[Protocol, ...]:
    """Those to profile under; without any that of the shares in a pytree."""
    if given is None:
        shares = [x for x in jax.tree.leaves(tree, is_leaf=is_share) if is_share(x)]
        return (shares[0].protocol,) if shares else (Replicated3(),)
    found = (given,) if isinstance(given, Protocol) else tuple(given)
    if not found or not all(isinstance(p, Protocol) for p in found):
        raise ProtocolError(
            "protocols is one protocol, or a sequence of them: jsmpc.Replicated3(), …"
        )
    return found


def of_shape(protocol: Protocol, x: Any) -> Any:
    """What stands for a secret, as a share of a protocol that holds shapes alone."""
    if not is_share(x) and not isinstance(x, jax.ShapeDtypeStruct):
        return x
    words = Words.of(protocol, tuple(x.shape), np.dtype(x.dtype))
    return Share(words.components, protocol, x.dtype)
