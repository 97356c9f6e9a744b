"""Shares and material as plain arrays of bytes, for what stores pytrees of arrays.

Such libraries cut words of 64 bits while JAX has no 64-bit types, store no array without bytes, and
know nothing of protocols. A vector of bytes passes through all of them; it begins with a mark and a
header in JSON, with a checksum, and goes on with the words.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jsmpc._src.api import material_file
from jsmpc._src.api.files import checksum, different, of_protocol
from jsmpc._src.api.held import is_held
from jsmpc._src.api.material import Material, is_spent, refuse_transformation
from jsmpc._src.api.share import Share, checked, from_words, is_share
from jsmpc._src.errors import MaterialError, ProtocolError
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols.base import Protocol

_MARK = b"jsmpc: bytes of a secret\n"
_LENGTH = struct.Struct("<Q")
_SHARE, _MATERIAL = "share", "material"


def to_arrays(tree: Any) -> Any:
    """A pytree with a vector of bytes, `uint8`, in the place of each share and material.

    It is what checkpointing libraries such as orbax store and restore bit for bit, whether JAX has
    64-bit types or not. Of shares without contents (`jax.eval_shape`) the vectors are zeros of the
    right lengths, as a target to restore to.

    Args:
      tree: a pytree; its other leaves stay as they are.

    Raises:
      ProtocolError: for one party's rows in a session, which `save` stores.
      MaterialError: for material that was used, and inside of a transformation.

    Guarantee: none: a vector has the rows of all parties, and whoever reads it knows the secret.
    Material is used once in a process, also where it is restored from here; that it was used is not
    written into what is stored. Among parties, and for both, there are the files of `save`.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> smpc = jsmpc.Replicated3()
      >>> weights = {"w": jsmpc.share(jsmpc.random_key(), jnp.arange(3.0), smpc), "step": 7}
      >>> stored = jsmpc.to_arrays(weights)  # checkpointer.save(path, stored)
      >>> stored["w"].dtype, stored["step"]
      (dtype('uint8'), 7)
      >>> jsmpc.reveal(jsmpc.from_arrays(stored, smpc)["w"])
      Array([0., 1., 2.], dtype=float32)
    """
    return jax.tree.map(_stored, tree, is_leaf=lambda x: is_share(x) or isinstance(x, Material))


def from_arrays(tree: Any, protocol: Protocol) -> Any:
    """The inverse of `to_arrays`: what was stored, with its shares and material.

    Args:
      tree: a pytree with vectors of bytes, and other leaves that stay as they are.
      protocol: whose shares and material they are.

    Raises:
      ProtocolError, MaterialError: if a vector is damaged, or of another protocol, other parties,
        another ring or another encoding.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.ones(2), jsmpc.Replicated3())
      >>> jsmpc.from_arrays(jsmpc.to_arrays(x), jsmpc.Replicated3(bits=32))
      Traceback (most recent call last):
          ...
      jsmpc.ProtocolError: a stored share is of another bits: 64, where 32 is wanted
    """
    return jax.tree.map(lambda x: _restored(x, protocol) if _is_stored(x) else x, tree)


def bytes_of_share(x: Share) -> np.ndarray:
    """A share as a vector of bytes."""
    header = {"kind": _SHARE, **of_protocol(x.protocol), "dtype": x.dtype.name, "digits": x.digits}
    if isinstance(x.components[0], jax.ShapeDtypeStruct):
        empty = [np.broadcast_to(np.zeros((), c.dtype), c.shape) for c in x.components]
        return np.zeros_like(_packed(header, empty))
    return _packed(header, [np.asarray(c) for c in checked(x).components])


def share_of_bytes(data: Any, protocol: Protocol) -> Share:
    """The inverse of `bytes_of_share`; ProtocolError unless it is a share of the protocol."""
    found = _restored(data, protocol) if _is_stored(data) else None
    if not isinstance(found, Share):
        raise ProtocolError("what is to be restored holds no share where one is expected")
    return found


def _stored(x: Any) -> Any:
    if is_share(x):
        refuse_transformation("to_arrays")
        return bytes_of_share(x)
    if isinstance(x, Material):
        refuse_transformation("to_arrays")
        if is_spent(x):
            raise material_file.used()
        header = {
            "kind": _MATERIAL,
            **of_protocol(x.protocol),
            "choreography": x.choreography,
            "number": x.number,
            "files": list(map(str, x.files)),
            "endpoints": {str(e): len(arrays) for e, arrays in x.parts.items()},
        }
        return _packed(header, [np.asarray(a) for part in x.parts.values() for a in part])
    if is_held(x):
        raise ProtocolError(
            f"{x!r} is one party's part of a secret, which belongs to its session. Store it with "
            "jsmpc.save, and load it in another session with jsmpc.load"
        )
    return x


def _is_stored(x: Any) -> bool:
    kind, shape = getattr(x, "dtype", None), getattr(x, "shape", ())
    if kind != np.uint8 or len(shape) != 1 or isinstance(x, jax.ShapeDtypeStruct):
        return False
    return bytes(np.asarray(x[: len(_MARK)])) == _MARK


def _restored(x: Any, protocol: Protocol) -> Share | Material:
    header, words = _unpacked(np.asarray(x))
    kind = header.pop("kind")
    problem = different(header, of_protocol(protocol))
    if problem is not None:
        error = ProtocolError if kind == _SHARE else MaterialError
        raise error(f"a stored {kind} {problem}")
    if kind == _SHARE:
        return from_words(tuple(words), protocol, header["dtype"], header["digits"])
    rest = iter(words)
    with compat.protocol_mode():
        parts = {
            int(e): [jax.numpy.asarray(next(rest)) for _ in range(count)]
            for e, count in header["endpoints"].items()
        }
    return Material(parts, protocol, header["choreography"], header["number"], header["files"])


# Bytes.


def _packed(header: dict[str, Any], words: Sequence[np.ndarray]) -> np.ndarray:
    types = [[w.dtype.name, list(w.shape)] for w in words]
    header = {**header, "words": types}
    text = json.dumps({**header, "checksum": checksum(header, words)}).encode()
    own = [np.ascontiguousarray(w).reshape(-1).view(np.uint8) for w in words]
    head = np.frombuffer(_MARK + _LENGTH.pack(len(text)) + text, np.uint8)
    return np.concatenate([head, *own])


def _unpacked(data: np.ndarray) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header and the words; ProtocolError unless they are what was packed."""
    try:
        start = len(_MARK) + _LENGTH.size
        (length,) = _LENGTH.unpack(data[len(_MARK) : start].tobytes())
        header = json.loads(data[start : start + length].tobytes())
        words = list(_words(data[start + length :], header["words"]))
        whole = header.pop("checksum") == checksum(header, words)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, OverflowError):
        whole = False
    if not whole:
        raise ProtocolError("the bytes of a secret are damaged, or cut off")
    return header, words


def _words(data: np.ndarray, types: Sequence[Any]) -> Iterator[np.ndarray]:
    for dtype, shape in types:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        yield data[:size].copy().view(dtype).reshape(shape)
        data = data[size:]
    if data.size:
        raise ValueError("too long")
