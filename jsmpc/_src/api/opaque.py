"""What people try on a share, and what to do instead."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import jax
import numpy as np

from jsmpc._src.errors import SecretError


class SecretAttributeError(SecretError, AttributeError):
    """An attribute that arrays have and secrets do not."""


_UNARY = "neg pos abs invert round trunc floor ceil"
_BINARY = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor"
_COMPARISONS = "lt le gt ge eq ne"
_CONVERSIONS = {
    "bool": "a Python bool: in `if` and `while` use jnp.where or lax.cond",
    "float": "a Python float",
    "int": "a Python int",
    "index": "a Python index",
    "complex": "a Python complex number",
    "len": "a sequence: its length is share.shape[0]",
    "iter": "an iterable",
    "contains": "a container",
    "array": "a NumPy array",
    "jax_array": "a JAX array outside of a secure function",
    "array_ufunc": "an operand of NumPy",
    "array_function": "an operand of NumPy",
}


class Opaque:
    """Refuses to be computed on or looked into; each refusal says what to do instead."""

    __hash__ = object.__hash__
    shape: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def _refuse(self, what: str) -> NoReturn:
        raise SecretError(
            f"a secret cannot be used as {what}: {self!r}. Compute on it inside a function "
            "passed to jsmpc.secure, to which it is passed as an argument, or disclose it with "
            "jsmpc.reveal"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("_") and (hasattr(jax.Array, name) or hasattr(np.ndarray, name)):
            raise SecretAttributeError(
                f"a secret has no .{name} of its own: {self!r}. Use it inside a function passed to "
                "jsmpc.secure, to which the secret is passed as an argument, or disclose it with "
                "jsmpc.reveal"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __format__(self, spec: str) -> str:
        return self._refuse("a number to be formatted") if spec else repr(self)


def _refusal(what: str) -> Any:
    def refused(self: Opaque, *_: Any, **__: Any) -> NoReturn:
        self._refuse(what)

    return refused


_OPERATORS = [f"__{p}{name}__" for name in _BINARY.split() for p in ("", "r", "i")]
_OPERATORS += [f"__{name}__" for name in (*_UNARY.split(), *_COMPARISONS.split())]
for _name in (*_OPERATORS, "__getitem__", "__setitem__"):
    setattr(Opaque, _name, _refusal("an operand outside of a secure function"))
for _name, _what in _CONVERSIONS.items():
    setattr(Opaque, f"__{_name}__", _refusal(_what))
