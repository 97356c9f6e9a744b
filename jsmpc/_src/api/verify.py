"""`jsmpc.verify`: the proof that no party's view of a secure function tells anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jsmpc._src.api.function import SecureFunction
from jsmpc._src.readings.verification.report import Verification


def verify(secure_f: SecureFunction[..., Any]) -> Callable[..., Verification]:
    """Prove that each party's view of a secure function can be simulated.

    The program of all parties, in which every message and every draw is an equation, is traced, and
    every message that a set of corrupt parties receives is shown to be a uniform word for them, to
    follow from what they knew, or to be of an opening on purpose (`jsmpc.reveal`). That is so for
    all inputs, and all runs of all loops. Nothing is computed, and no key is needed.

    Args:
      secure_f: what `jsmpc.secure` returned.

    Returns:
      a function of the arguments of `secure_f`, shares or what describes their shapes, to a
      `Verification`: true if the views of all sets that may be corrupt together are proved, of the
      dealer too. It prints as a report, with the line of each message that is not.

    Guarantee: what is proved holds for endpoints that follow the program, as far as ChaCha20 is
      pseudorandom and opened values are those of the function, which the tests of all operations
      show; see `jsmpc._src.readings.verification.verification`. `undecided` says that no proof was
      found, not that there is a leak.

    Raises:
      TypeError: for anything but a secure function.
      ProtocolError: (when called) for a protocol without secrets.

    Source: G. Barthe et al., Verified proofs of higher-order masking, EUROCRYPT 2015; maskVerif:
      G. Barthe et al., maskVerif: Automated verification of higher-order masking in presence of
      physical defaults, ESORICS 2019.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.ones(3), jsmpc.Replicated3())
      >>> print(jsmpc.verify(jsmpc.secure(jnp.square))(x))
      proved
        party0: proved; 1 message: 1 uniform
        party1: proved; 3 messages: 3 uniform
        party2: proved; 5 messages: 5 uniform
        nothing is opened
        no draw of 12 is made twice
    """
    if not isinstance(secure_f, SecureFunction):
        raise TypeError(f"verify takes what jsmpc.secure returned, not {type(secure_f).__name__}")
    return secure_f.verify
