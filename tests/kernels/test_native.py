"""The native kernels against NumPy and the vectors of RFC 8439."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsmpc._src.kernels import native, products, program
from jsmpc._src.kernels.layout import Layout

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.why_unavailable()))

DTYPES = [np.uint32, np.uint64]


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def random(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


# --- ChaCha20 ---------------------------------------------------------------------------------


def chacha20_block(key: np.ndarray, nonce: np.ndarray, counter: int) -> list[int]:
    """RFC 8439, section 2.3, in Python integers."""
    constants = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    state = [*constants, *map(int, key), counter, *map(int, nonce)]
    x = list(state)

    def quarter_round(a: int, b: int, c: int, d: int) -> None:
        for target, source, mixed, bits in (
            (a, b, d, 16),
            (c, d, b, 12),
            (a, b, d, 8),
            (c, d, b, 7),
        ):
            x[target] = (x[target] + x[source]) % 2**32
            x[mixed] ^= x[target]
            x[mixed] = (x[mixed] << bits | x[mixed] >> (32 - bits)) % 2**32

    for _ in range(10):
        for i in range(4):
            quarter_round(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter_round(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(a + b) % 2**32 for a, b in zip(x, state, strict=True)]


def words(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), "<u4")


SECTION_2_3_2 = (
    bytes(range(32)).hex(),
    "00 00 00 09 00 00 00 4a 00 00 00 00",
    1,
    "10 f1 e7 e4 d1 3b 59 15 50 0f dd 1f a3 20 71 c4"
    "c7 d1 f4 c7 33 c0 68 03 04 22 aa 9a c3 d4 6c 4e"
    "d2 82 64 46 07 9f aa 09 14 c2 d7 05 d9 8b 02 a2"
    "b5 12 9c d1 de 16 4e b9 cb d0 83 e8 a2 50 3c 4e",
)
APPENDIX_A_1 = [
    (
        "00" * 32,
        "00" * 12,
        0,
        "76 b8 e0 ad a0 f1 3d 90 40 5d 6a e5 53 86 bd 28"
        "bd d2 19 b8 a0 8d ed 1a a8 36 ef cc 8b 77 0d c7"
        "da 41 59 7c 51 57 48 8d 77 24 e0 3f b8 d8 4a 37"
        "6a 43 b8 f4 15 18 a1 1c c3 87 b6 69 b2 ee 65 86",
    ),
    (
        "00" * 32,
        "00" * 12,
        1,
        "9f 07 e7 be 55 51 38 7a 98 ba 97 7c 73 2d 08 0d"
        "cb 0f 29 a0 48 e3 65 69 12 c6 53 3e 32 ee 7a ed"
        "29 b7 21 76 9c e6 4e 43 d5 71 33 b0 74 d8 39 d5"
        "31 ed 1f 28 51 0a fb 45 ac e1 0a 1f 4b 79 4d 6f",
    ),
    (
        "00" * 31 + "01",
        "00" * 12,
        1,
        "3a eb 52 24 ec f8 49 92 9b 9d 82 8d b1 ce d4 dd"
        "83 20 25 e8 01 8b 81 60 b8 22 84 f3 c9 49 aa 5a"
        "8e ca 00 bb b4 a7 3b da d1 92 b5 c4 2f 73 f2 fd"
        "4e 27 36 44 c8 b3 61 25 a6 4a dd eb 00 6c 13 a0",
    ),
    (
        "00 ff" + "00" * 30,
        "00" * 12,
        2,
        "72 d5 4d fb f1 2e c4 4b 36 26 92 df 94 13 7f 32"
        "8f ea 8d a7 39 90 26 5e c1 bb be a1 ae 9a f0 ca"
        "13 b2 5a a2 6c b4 a6 48 cb 9b 9d 1b e6 5b 2c 09"
        "24 a6 6c 54 d5 45 ec 1b 73 74 f4 87 2e 99 f0 96",
    ),
    (
        "00" * 32,
        "00" * 11 + "02",
        0,
        "c2 c6 4d 37 8c d5 36 37 4a e2 04 b9 ef 93 3f cd"
        "1a 8b 22 88 b3 df a4 96 72 ab 76 5b 54 ee 27 c7"
        "8a 97 0e 0e 95 5c 14 f3 a8 8e 74 1b 97 c2 86 f7"
        "5f 8f c2 99 e8 14 83 62 fa 19 8a 39 53 1b ed 6d",
    ),
]


@pytest.mark.parametrize(("key", "nonce", "counter", "block"), [SECTION_2_3_2, *APPENDIX_A_1])
def test_keystream_is_that_of_rfc_8439(key: str, nonce: str, counter: int, block: str) -> None:
    out = native.keystream(words(key), words(nonce), 3)
    assert out.dtype == jnp.uint32
    np.testing.assert_array_equal(out[:, counter], words(block))


@pytest.mark.parametrize("blocks", [0, 1, 3, 15, 16, 17, 255, 257, 1023, 1025, 4096])
def test_keystream_of_any_length(blocks: int) -> None:
    rng = np.random.default_rng(blocks)
    key, nonce = random(rng, (8,), np.uint32), random(rng, (3,), np.uint32)
    out = native.keystream(key, nonce, blocks)
    assert out.shape == (16, blocks)
    for j in {*range(min(blocks, 4)), blocks // 2, blocks - 1} - {-1}:
        if j < blocks:
            assert out[:, j].tolist() == chacha20_block(key, nonce, j)


def test_a_long_keystream_begins_like_a_short_one() -> None:
    rng = np.random.default_rng(0)
    key, nonce = random(rng, (8,), np.uint32), random(rng, (3,), np.uint32)
    blocks = 200_003
    out = np.asarray(native.keystream(key, nonce, blocks))
    np.testing.assert_array_equal(out[:, :500], native.keystream(key, nonce, 500))
    for j in rng.integers(0, blocks, 50):
        assert out[:, j].tolist() == chacha20_block(key, nonce, int(j))


def test_keystream_under_vmap_jit_and_scan() -> None:
    rng = np.random.default_rng(1)
    keys, nonces = random(rng, (5, 8), np.uint32), random(rng, (5, 3), np.uint32)
    expected = np.stack([native.keystream(k, n, 37) for k, n in zip(keys, nonces, strict=True)])

    def stream(key: jax.Array, nonce: jax.Array) -> jax.Array:
        return native.keystream(key, nonce, 37)

    np.testing.assert_array_equal(jax.jit(jax.vmap(stream))(keys, nonces), expected)
    np.testing.assert_array_equal(stream(jnp.asarray(keys), jnp.asarray(nonces)), expected)
    one_key = jax.vmap(stream, in_axes=(None, 0))(keys[0], nonces)
    np.testing.assert_array_equal(one_key[0], expected[0])

    def step(count: jax.Array, key_and_nonce: jax.Array) -> tuple[jax.Array, jax.Array]:
        return count + 1, stream(*key_and_nonce)

    _, scanned = jax.lax.scan(step, 0, (keys, nonces))
    np.testing.assert_array_equal(scanned, expected)


# --- matrix products --------------------------------------------------------------------------

SHAPES = [
    (1, 1, 1),
    (0, 3, 2),
    (2, 0, 3),
    (3, 2, 0),
    (1, 1, 7),
    (7, 5, 1),
    (1, 300, 45),
    (45, 300, 1),
    (3, 17, 33),
    (5, 9, 31),
    (8, 256, 16),
    (9, 257, 17),
    (16, 511, 48),
    (31, 513, 65),
    (2, 2049, 3),
    (17, 2500, 19),
    (129, 100, 530),
    (300, 70, 40),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "depth", "cols"), SHAPES)
def test_matmul_of_any_shape(dtype: type, rows: int, depth: int, cols: int) -> None:
    rng = np.random.default_rng(rows + depth + cols)
    x, y = random(rng, (2, rows, depth), dtype), random(rng, (2, depth, cols), dtype)
    expected = x @ y
    for left, at_left in placed(x):
        for right, at_right in placed(y):
            out = native.matmul([(left, right)], [at_left, at_right])
            assert out.dtype == dtype
            np.testing.assert_array_equal(out, expected)


def placed(x: np.ndarray) -> list[tuple[np.ndarray, Layout]]:
    """Matrices as they are, transposed, and as every second row inside of a larger array."""
    turned = x.swapaxes(1, 2).copy()
    wide = np.zeros((3, *x.shape[:2], 2, x.shape[2]), x.dtype)
    wide[1, :, :, 1] = x
    every = Layout.of(wide.shape[1:], math.prod(wide.shape[1:])).reshaped(
        (*x.shape[:2], 2 * x.shape[2])
    )
    start, stop = (0, 0, x.shape[2]), every.shape
    return [
        (x, Layout.of(x.shape)),
        (turned, Layout.of(turned.shape).permuted((0, 2, 1))),
        (wide, every.sliced(start, stop, (1, 1, 1))),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 20])
def test_matmul_sums_its_terms(dtype: type, terms: int, rows: int) -> None:
    rng = np.random.default_rng(terms)
    pairs = [
        (random(rng, (3, rows, 300), dtype), random(rng, (3, 300, 21), dtype)) for _ in range(terms)
    ]
    np.testing.assert_array_equal(native.matmul(pairs), sum(x @ y for x, y in pairs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [3, 20])
def test_matmul_sums_terms_that_lie_each_in_a_way_of_its_own(dtype: type, rows: int) -> None:
    rng = np.random.default_rng(rows)
    x, y = random(rng, (2, 1, rows, 21), dtype), random(rng, (2, 1, 21, 5), dtype)
    ways = itertools.product(placed(y[0]), placed(y[1]))
    for (first, at_first), (second, at_second) in ways:
        out = native.matmul(
            [(x[0], first), (x[1], second)],
            [Layout.of(x[0].shape), at_first, Layout.of(x[1].shape), at_second],
        )
        np.testing.assert_array_equal(out, x[0] @ y[0] + x[1] @ y[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_wraps_around(dtype: type) -> None:
    top = np.full((1, 9, 300), np.iinfo(dtype).max, dtype)
    np.testing.assert_array_equal(
        native.matmul([(top, top.swapaxes(1, 2).copy())]), np.full((1, 9, 9), 300, dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_with_one_matrix_for_the_whole_batch(dtype: type) -> None:
    rng = np.random.default_rng(0)
    x, y = random(rng, (6, 4, 50), dtype), random(rng, (6, 50, 11), dtype)
    np.testing.assert_array_equal(native.matmul([(x, y[:1])]), x @ y[:1])
    np.testing.assert_array_equal(native.matmul([(x[:1], y)]), x[:1] @ y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_under_vmap_and_jit(dtype: type) -> None:
    rng = np.random.default_rng(0)
    x, y = random(rng, (5, 2, 6, 40), dtype), random(rng, (3, 2, 40, 9), dtype)

    def product(x: jax.Array, y: jax.Array) -> jax.Array:
        return products.matmul_p.bind(x, y)

    def mapped(x_axis: int | None, y_axis: int | None) -> jax.Array:
        return jax.vmap(product, in_axes=(x_axis, y_axis))

    np.testing.assert_array_equal(jax.jit(mapped(0, None))(x, y[0]), x @ y[0])
    np.testing.assert_array_equal(jax.jit(mapped(None, 0))(x[0], y), x[0] @ y)
    np.testing.assert_array_equal(mapped(0, 0)(x[:3], y), x[:3] @ y)
    every_pair = jax.vmap(mapped(None, 0), in_axes=(0, None))(x, y)
    np.testing.assert_array_equal(every_pair, x[:, None] @ y[None])


def test_matmul_under_scan() -> None:
    rng = np.random.default_rng(0)
    x, ys = random(rng, (1, 7, 7), np.uint64), random(rng, (4, 1, 7, 7), np.uint64)

    def step(x: jax.Array, y: jax.Array) -> tuple[jax.Array, None]:
        return native.matmul([(x, y)]), None

    out, _ = jax.jit(lambda x, ys: jax.lax.scan(step, x, ys))(x, ys)
    np.testing.assert_array_equal(out, x @ ys[0] @ ys[1] @ ys[2] @ ys[3])


def test_under_shard_map() -> None:
    mesh = jax.make_mesh((1,), ("party",), axis_types=(jax.sharding.AxisType.Auto,))
    rng = np.random.default_rng(0)
    x, y = random(rng, (1, 4, 5), np.uint64), random(rng, (1, 5, 6), np.uint64)
    key, nonce = random(rng, (1, 8), np.uint32), random(rng, (3,), np.uint32)

    def party(x: jax.Array, y: jax.Array, key: jax.Array, nonce: jax.Array) -> tuple:
        product = native.matmul([(x, y)])
        words = native.keystream(key[0], nonce, 3)
        return jax.lax.psum(product, "party"), words[None]

    split, same = jax.P("party"), jax.P()
    run = jax.shard_map(
        party, mesh=mesh, in_specs=(split, same, split, same), out_specs=(same, split)
    )
    product, words = jax.jit(run)(x, y, key, nonce)
    np.testing.assert_array_equal(product, x @ y)
    np.testing.assert_array_equal(words[0], native.keystream(key[0], nonce, 3))


def test_calls_at_once_from_several_threads() -> None:
    rng = np.random.default_rng(0)
    x, y = random(rng, (1, 300, 200), np.uint64), random(rng, (1, 200, 300), np.uint64)
    key, nonce = random(rng, (8,), np.uint32), random(rng, (3,), np.uint32)
    product = jax.jit(lambda x, y: native.matmul([(x, y)]))
    stream = jax.jit(lambda key, nonce: native.keystream(key, nonce, 20_000))
    expected, words = x @ y, np.asarray(stream(key, nonce))
    failures = []

    def work() -> None:
        with jax.enable_x64(True):  # a thread's own
            for _ in range(30):
                if not np.array_equal(product(x, y), expected):
                    failures.append("product")
                if not np.array_equal(stream(key, nonce), words):
                    failures.append("keystream")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_many_products_inside_one_program() -> None:
    rng = np.random.default_rng(0)
    x = random(rng, (1, 200, 200), np.uint64)

    @jax.jit
    def products(x: jax.Array) -> list[jax.Array]:
        return [native.matmul([(x, x + i)]) for i in range(8)]

    for i, out in enumerate(products(x)):
        np.testing.assert_array_equal(out, x @ (x + np.uint64(i)))


def test_operands_that_do_not_fit_are_refused() -> None:
    x, y = np.ones((1, 2, 3), np.uint32), np.ones((1, 4, 5), np.uint32)
    with pytest.raises(ValueError, match="do not fit"):
        native.matmul([(x, y)])
    with pytest.raises(Exception, match="do not fit"):
        native.matmul([(x, x)], [Layout.of((1, 2, 3)), Layout.of((1, 3, 2), offset=1)])
    with pytest.raises(Exception, match="uint32 or uint64"):
        native.matmul([(x.astype(np.int32), x.reshape(1, 3, 2).astype(np.int32))])


def _program(
    instructions: list[tuple[int, ...]], registers: list[tuple[int, ...]], elements: int = 8
) -> Any:
    """What such a program makes of eight words and a key, each uint32[8]."""
    call = native.call("jsmpc_program", [jax.ShapeDtypeStruct((8,), np.uint32)])
    x, key = jnp.arange(8, dtype=jnp.uint32), jnp.ones(8, jnp.uint32)
    return call(
        *(x, key),
        instructions=np.asarray(instructions, np.int64).reshape(-1),
        registers=np.asarray(registers, np.int64).reshape(-1),
        elements=np.int64(elements),
    )[0]


ADD, DRAW, CONVERT = (program.OPS.index(op) for op in ("add", "draw", "convert"))
DIVIDE, SHIFT = (program.OPS.index(op) for op in ("div_constant", "shift_left_constant"))
IN, OUT = (program.OPERAND, 0, 0, 2), (program.RESULT, 0, 0, 2)


@pytest.mark.parametrize(
    ("instructions", "registers", "elements"),
    [
        ([(ADD, 2, 1, 0, 0, 0)], [IN, OUT], 9),  # beyond the arrays
        ([(ADD, 2, 1, 0, 0, 0)], [IN, OUT], -1),
        ([(ADD, 2, 1, 0, 0, 0)], [(program.OPERAND, 0, 1, 2), OUT], 8),
        ([(ADD, 2, 1, 0, 0, 0)], [(program.OPERAND, 0, -1, 2), OUT], 7),
        ([(ADD, 2, 1, 0, 0, 0)], [(program.OPERAND, 2, 0, 2), OUT], 8),  # no such array
        ([(ADD, 2, 1, 0, 0, 0)], [IN, (program.RESULT, 1, 0, 2)], 8),
        ([(ADD, 2, 1, 0, 0, 0)], [(program.SCALAR, 0, 8, 2), OUT], 8),
        ([(ADD, 2, 1, 0, 0, 0)], [(9, 0, 0, 2), OUT], 8),  # no such place, type, operation
        ([(ADD, 2, 1, 0, 0, 0)], [(program.SCRATCH, 0, 0, 4), OUT], 8),
        ([(99, 2, 1, 0, 0, 0)], [IN, OUT], 8),
        ([(ADD, 3, 1, 0, 0, 0)], [IN, OUT], 8),  # wider than the registers
        ([(ADD, 2, 1, 0, 5, 0)], [IN, OUT], 8),  # no such register
        ([(ADD, 2, 0, 0, 0, 0)], [IN, OUT], 8),  # into an operand
        ([(DRAW, 2, 1, 1, 1, 0)], [IN, OUT], 8),  # a key that ends beyond its array
        ([(DRAW, 2, 1, 7, 0, 0)], [IN, OUT], 8),
        ([(CONVERT, 2, 1, 0, 0, 3)], [IN, OUT], 8),  # from wider words than there are
        ([(DIVIDE, 2, 1, 0, 0, 1 << 32)], [IN, OUT], 8),  # by 0
        ([(SHIFT, 2, 1, 0, 0, 32)], [IN, OUT], 8),
    ],
)
def test_a_program_that_leaves_its_arrays_is_refused(
    instructions: Any, registers: Any, elements: int
) -> None:
    assert (_program([(ADD, 2, 1, 0, 0, 0)], [IN, OUT]) == 2 * jnp.arange(8)).all()
    with pytest.raises(Exception, match="reads or writes beyond its arrays"):
        jax.block_until_ready(_program(instructions, registers, elements))
