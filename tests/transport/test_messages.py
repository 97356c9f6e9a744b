"""Messages: what arrives is what was sent, and nothing else is taken for a message."""

from __future__ import annotations

import math
import random
import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import pytest

from fuzz import encoded, mutated
from jsmpc._src.transport import channels, messages
from jsmpc._src.transport.errors import MessageError
from jsmpc._src.transport.messages import decode, encode

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4, ml_dtypes.uint4),
)
SHAPES = ((), (0,), (3,), (2, 0, 3), (5, 7), (1,) * 9)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit and of the same types."""
    if isinstance(a, np.ndarray):
        return (type(b), a.dtype, a.shape) == (np.ndarray, b.dtype, b.shape) and (
            a.tobytes() == b.tobytes()
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or (a != a and b != b)


def there_and_back(value: Any) -> Any:
    return decode(encoded({"value": value}))["value"]


def values(dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 2 if dtype == "bool" else 8, shape)
    return raw.astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_arrays_of_every_dtype_and_shape(dtype: Any, shape: tuple[int, ...]) -> None:
    array = values(dtype, shape)
    found = there_and_back(array)
    assert same(array, found)
    assert found.flags.writeable and found.flags.aligned and found.flags.c_contiguous


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(4, 6)[:, ::2],
        np.arange(24).reshape(4, 6).T,
        np.arange(5)[::-1],
        np.broadcast_to(np.float32(2.5), (3, 4)),
        np.array([1, 2, 2**40], ">i8"),
        np.float64(1.5),
    ],
    ids=["strided", "transposed", "reversed", "broadcast", "big-endian", "number"],
)
def test_arrays_in_other_orders(array: Any) -> None:
    found = there_and_back(array)
    assert found.dtype == np.asarray(array).dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)


def test_words_of_64_bits_stay_what_they_are_where_jax_has_32() -> None:
    assert not jax.config.jax_enable_x64
    words = np.array([2**64 - 1, 2**63, 0], np.uint64)
    assert same(there_and_back(words), words)
    with jax.enable_x64(True):
        of_jax = jnp.asarray(words)
    assert same(there_and_back(of_jax), words)


def test_arrays_of_jax() -> None:
    for dtype in (jnp.bfloat16, jnp.float32, jnp.int8, jnp.bool_):
        array = jnp.arange(6).reshape(2, 3).astype(dtype)
        assert same(there_and_back(array), np.asarray(array))


def test_everything_else() -> None:
    message = {
        "": None,
        "numbers": [0, -1, 2**64 - 1, -(2**63), 1.5, -0.0, math.inf, math.nan, True, False],
        "text": ["", "naïve", "\0", "𝛼" * 300],
        "bytes": [b"", b"\xff", bytes(255), bytes(256), bytes(1000)],
        "deep": {"a": {"b": [[[]], {}]}},
        "mixed": [np.arange(3), b"x" * 300, {"y": np.zeros((), bool)}],
    }
    assert same(decode(encoded(message)), message)
    assert there_and_back((1, (2,))) == [1, [2]]
    assert there_and_back(bytearray(b"abc")) == b"abc"


def test_a_message_goes_through_pieces() -> None:
    size = channels.CHUNK
    for length in (0, 1, size - 100, size, 3 * size + 5):
        message = {"a": np.arange(length, dtype=np.uint8), "b": b"end"}
        parts = encode(message)
        pieces = list(channels.chunks(parts))
        assert all(len(piece) == size for piece in pieces[:-1]) and 0 < len(pieces[-1]) <= size
        assert b"".join(pieces) == b"".join(parts)
        assert same(decode(channels.joined(iter(pieces), 1 << 10)), message)


def test_large_arrays_are_not_copied_on_the_way_out_and_once_on_the_way_in() -> None:
    array = np.zeros(1 << 23, np.uint8)
    tracemalloc.start()
    parts = encode({"x": array})
    _, peak = tracemalloc.get_traced_memory()
    assert peak < 1 << 20
    data = channels.joined(channels.chunks(parts), 1 << 10)
    found = decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert same(found["x"], array)
    assert peak < 1.3 * array.nbytes


def test_a_small_array_does_not_keep_a_large_message() -> None:
    found = decode(bytearray(encoded({"small": np.arange(3), "large": bytes(1 << 20)})))
    assert found["small"].base is None


class Unknown:
    pass


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (1 << 64, "more than 64 bits"),
        (-(1 << 63) - 1, "more than 64 bits"),
        ("\ud800", "no Unicode text"),
        ({1: 2}, "a key is a string, not a int"),
        ({"a", "b"}, "a set cannot be sent"),
        (1j, "a complex cannot be sent"),
        (Unknown(), "a Unknown cannot be sent"),
        (np.array(["a"]), "an array of <U1 cannot be sent"),
        (np.array([None]), "an array of object cannot be sent"),
        (np.datetime64("2020-01-01"), "an array of datetime64.* cannot be sent"),
        ("x" * (1 << 20), "bytes beside arrays and bytes"),
        ([0.5] * 200_000, "Send long lists as arrays"),
    ],
    ids=lambda v: str(v)[:20] if isinstance(v, str) else type(v).__name__,
)
def test_what_cannot_be_sent(value: Any, problem: str) -> None:
    with pytest.raises(MessageError, match=problem):
        encode({"value": value})


def test_keys_and_tracers_cannot_be_sent() -> None:
    with pytest.raises(MessageError, match="key_data"):
        encode({"value": jax.random.key(1)})
    with pytest.raises(MessageError, match="outside of jit"):
        jax.jit(lambda x: encode({"value": x}))(1.0)
    with pytest.raises(MessageError, match="a message is a dict, not a list"):
        encode([1])  # type: ignore[arg-type]


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_is_bounded_on_both_sides() -> None:
    deepest = {"value": nested(messages.DEPTH - 1)}
    assert decode(encoded(deepest)) == deepest
    with pytest.raises(MessageError, match="more than 32 deep"):
        encode({"value": nested(messages.DEPTH)})
    for depth in (messages.DEPTH, 1000, 100_000):
        with pytest.raises(MessageError, match="no message"):
            decode(written(b"\x81\xa5value" + b"\x91" * (depth - 1) + b"\x90"))


def written(head: bytes, blocks: bytes = b"", size: int | None = None) -> bytes:
    """Bytes with the frame of a message, and any head and blocks."""
    filled = head.ljust(len(head) + -len(head) % 16, b"\0")
    size = messages.START.size + len(filled) + len(blocks) if size is None else size
    return messages.START.pack(b"jsm1", size, len(head)) + filled + blocks


def described(*what: Any, code: int = 1) -> bytes:
    return msgpack.packb({"x": msgpack.ExtType(code, msgpack.packb(*what))})


BLOCK = bytes(16)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"jsm1",
        b"jsm2" + encoded({})[4:],
        encoded({}) + b"\0",
        encoded({})[:-1],
        written(b"\x80", size=2**63),
        messages.START.pack(b"jsm1", 16, 2**32 - 1),
        written(b""),
        written(b"\x90"),
        written(b"\x80\x80"),
        written(b"\xc1"),
        written(b"\x81\x01\x02"),  # a key that is a number
        written(b"\x81\xc4\x01a\x02"),  # a key of bytes
        written(b"\x82\xa1a\x01\xa1a\x02"),  # the same key twice
        written(b"\x81\xa1a\xa1\xff"),  # no UTF-8
        written(b"\x81\xa1a\xd6\xff" + bytes(4)),  # a timestamp
        written(b"\xdf\xff\xff\xff\xff"),  # a map of 2^32 - 1 pairs
        written(b"\x81\xa1a\xdd\xff\xff\xff\xff"),
        written(b"\x81\xa1a\xc6\xff\xff\xff\xff"),
        written(described(16, code=3), BLOCK),
        written(described(-16, code=2)),
        written(described(17, code=2), BLOCK),
        written(described(2**63, code=2), BLOCK),
        written(described(True, code=2), BLOCK),
        written(described("16", code=2), BLOCK),
        written(described(15, code=2), b"\1" * 16),  # padding that is not empty
        written(described(["uint8", [16]]), BLOCK * 2),  # more than the head tells of
        written(described(["uint8", [16]])),
        written(described(["uint8", [-16]]), BLOCK),
        written(described(["uint8", [True]]), BLOCK),
        written(described(["uint8", [2**32, 2**32]]), BLOCK),
        written(described(["uint8", [1] * 65]), BLOCK),
        written(described(["uint8", [0, 2**47, 2**47]])),
        written(described(["object", [2]]), BLOCK),
        written(described(["<U4", [1]]), BLOCK),
        written(described(["uint8"]), BLOCK),
        written(described(["bool", [16]]), b"\2" * 16),
        written(described(["int4", [16]]), b"\x08" * 16),
        written(described({"a": 1}), BLOCK),
        written(msgpack.packb({"x": msgpack.ExtType(1, b"")})),
    ],
)
def test_bytes_that_are_no_message(data: bytes) -> None:
    with pytest.raises(MessageError, match="no message"):
        decode(data)


RECORDED = (
    {"op": "add", "left": "4f2a", "right": "77b0", "number": 17, "shape": [2, 3]},
    {"reply": {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "name": "x"}},
    {"call": "apply", "params": {"w": np.ones((4, 4)), "b": np.zeros(4)}, "text": b"a" * 400},
    {"error": {"kinds": ["ConfigError", "JsmpcError"], "text": "no such worker"}},
    {"nested": [[{"a": [None, True, 1.5]}], nested(20)], "mask": np.ones(9, bool)},
)


def traced(data: bytes) -> tuple[Any, int]:
    """A message, None for what is none, and the most memory that was taken to read it."""
    tracemalloc.start()
    try:
        found = decode(data)
    except MessageError:
        found = None
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return found, peak


@pytest.mark.parametrize("message", RECORDED, ids=lambda m: next(iter(m)))
def test_damaged_messages_are_messages_or_refused_and_take_little_memory(message: Any) -> None:
    recorded, rng = encoded(message), random.Random(7)
    decode(recorded)
    refused, accepted = 0, 0
    for _ in range(2000):
        data = mutated(recorded, rng)
        most = 80 * len(data) + (1 << 16)
        # Threads of other tests may take memory too, but not each time.
        for _ in range(5):
            found, peak = traced(data)
            if peak < most:
                break
        assert peak < most
        if found is None:
            refused += 1
        else:
            accepted += 1
            assert type(found) is dict and same(decode(encoded(found)), found)
    assert refused > 1000 and accepted > 20


def test_the_smallest_values_take_a_bounded_multiple_of_their_bytes() -> None:
    count = 100_000
    data = written(b"\x81\xa1a\xdd" + count.to_bytes(4, "big") + b"\x80" * count)
    tracemalloc.start()
    assert len(decode(data)["a"]) == count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 81 * len(data)
