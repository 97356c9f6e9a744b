"""`jsmpc.references`: the papers behind a protocol, or behind what was run."""

from __future__ import annotations

from typing import Any

from jsmpc._src.api.function import SecureFunction
from jsmpc._src.errors import ProtocolError
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime.references import References


def references(of: Protocol | type[Protocol] | SecureFunction[..., Any]) -> References:
    """The papers that a protocol is from, or a secure function: its protocol, and all of the
    library's functions that its program used.

    Args:
      of: a protocol, or what `jsmpc.secure` returned. Of a function those count that its programs
        used so far: of all kinds of arguments that it was called with, or its cost asked for.

    Returns:
      a list of texts that prints one a line; `.bibtex()` gives the same for BibTeX.

    Raises:
      ProtocolError: for a function that was never called.
      TypeError: for anything else.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> print(jsmpc.references(jsmpc.Additive)[0])
      D. Beaver, Efficient multiparty protocols using circuit randomization, CRYPTO 1991
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.ones(3), jsmpc.Replicated3())
      >>> inverse = jsmpc.secure(lambda x: 1 / x)
      >>> _ = inverse.cost(x)
      >>> print(jsmpc.references(inverse)[-1])
      R. Goldschmidt, Applications of division by convergence, MIT 1964
    """
    if isinstance(of, SecureFunction):
        if not of.cited:
            raise ProtocolError(
                f"{of.__name__} has not been run: what its program uses is known once it has been "
                f"traced. Call it, or ask for its cost: {of.__name__}.cost(…)"
            )
        return References(of.cited)
    if isinstance(of, Protocol) or (isinstance(of, type) and issubclass(of, Protocol)):
        return References(of.references)
    raise TypeError(
        "references takes a protocol or what jsmpc.secure returned, not "
        f"{of.__name__ if isinstance(of, type) else type(of).__name__}"
    )
