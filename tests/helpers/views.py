"""What each party sees of a run, and whether that could tell it anything.

The checks: all bits of what a party sees are uniform, whatever the secret, and any two of them,
and any one of them and a bit of the secret, are independent. They are made twice: with all
randomness fresh, and with that of the corrupt parties fixed, as a mask that its receiver can
compute is no mask.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from harness import A, B, key, machine_words, split
from jsmpc._src import kernels
from jsmpc._src.network.network import Network
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import prf, routines
from jsmpc._src.runtime.context import Context
from recording import Recorder

# --- Views ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def nothing_traced_before() -> Iterator[None]:
    """Operations are traced anew, and not kept: for code that is changed meanwhile."""
    routines.forget()
    try:
        yield
    finally:
        routines.forget()


@contextlib.contextmanager
def known_seeds_draw_zero() -> Iterator[None]:
    """A seed of zeros draws zeros: randomness that is known may as well be none."""
    draw, iterate = kernels.draw, prf.iterate

    def masked(result: Any, key: Any) -> Any:
        return jnp.where((key == 0).all(), jnp.zeros_like(result), result)

    def quiet_draw(key: Any, *args: Any) -> Any:
        return masked(draw(key, *args), key)

    def quiet_iterate(key: Any, *args: Any) -> Any:
        return masked(iterate(key, *args), key)

    with (
        nothing_traced_before(),
        mock.patch.object(kernels, "draw", quiet_draw),
        mock.patch.object(prf, "iterate", quiet_iterate),
    ):
        yield


class Observed:
    """A protocol step, compiled to return its messages and the shares of its results.

    Args:
      smpc: the protocol.
      f: a function of a context and shares that returns a list of shares.
    """

    def __init__(self, smpc: Protocol, f: Callable[..., Sequence[Any]]):
        self.smpc, self.f = smpc, f
        self.routes: list[tuple[int, int, int]] = []  # a dealer comes after the parties
        self._compiled = jax.jit(kernels.optimize(self._program))

    def _direct(self, seeds: Any, *stacked: Any) -> Any:
        net = Network(self.smpc.size)
        ctx = Context(net, self.smpc.unpack_seeds(net, (seeds,)))
        with known_seeds_draw_zero():
            out = self.f(ctx, *(self.smpc.unpack(net, (s,)) for s in stacked))
        return [jnp.stack(net.pack(machine_words(x))[0]) for x in out]

    def _program(self, seeds: Any, *stacked: Any) -> Any:
        closed = jax.make_jaxpr(self._direct)(seeds, *stacked)
        recorder = Recorder()
        out = recorder.run(closed, (seeds, *stacked))
        ends = {"dealer": self.smpc.size}
        self.routes = [
            (ends.get(m.source, m.source), ends.get(m.target, m.target), m.origin)
            for m in recorder.messages
        ]
        return [m.value for m in recorder.messages], out

    def __call__(self, seeds: np.ndarray, *stacked: np.ndarray) -> tuple[list[Any], list[Any]]:
        """The messages, in the order of `routes`, and the stacked results."""
        with jax.enable_x64(True):
            messages, out = self._compiled(seeds, *stacked)
            return [np.asarray(m) for m in messages], [np.asarray(x) for x in out]


def seeds_of(smpc: Protocol, seed: int, known: Sequence[int] = ()) -> np.ndarray:
    """Fresh seeds; zeros for those that are known."""
    count = len(seeds_at(smpc, range(len(smpc.endpoints))))
    seeds = np.stack([key(seed * 16 + i) for i in range(count)])
    seeds[list(known)] = 0
    return seeds


def seeds_at(smpc: Protocol, endpoints: Iterable[int]) -> list[int]:
    """The rows of seeds that endpoints compute with."""
    return sorted({row for e in endpoints for row in smpc.keys_of(e)})


# --- Statistics ----------------------------------------------------------------------------------

WORDS = 20_000
PAIRED = 10_000  # words in which pairs of bits are compared
THRESHOLD = 6.0  # standard deviations; a leak of one bit is at sqrt(PAIRED) = 100
BITS_OF_BYTES = np.arange(256)[:, None] >> np.arange(8) & 1


def bit_rows(value: np.ndarray) -> np.ndarray:
    """Every bit of an array of words as a row of zeros and ones."""
    octets = value.reshape(-1, 1).view(np.uint8).T
    return np.unpackbits(np.ascontiguousarray(octets), axis=0, bitorder="little")


def uniformity(arrays: Sequence[np.ndarray], what: str) -> list[str]:
    """Complaints about single bits and bytes. A byte may be a bit with zeros above it."""
    found = []
    for number, value in enumerate(arrays):
        if is_residues(value):
            found += _uniform_residues(value, f"{what}: array {number}")
            continue
        flat = value.reshape(-1)
        n = flat.size
        assert n >= WORDS, "too few words for statistics"
        for byte in range(value.dtype.itemsize):
            counts = np.bincount(flat.view(np.uint8)[byte :: value.dtype.itemsize], minlength=256)
            is_bit = value.dtype == np.uint8 and not counts[2:].any()
            bias = (n - 2 * counts @ BITS_OF_BYTES)[: 1 if is_bit else 8] / np.sqrt(n)
            worst = 8 * byte + np.abs(bias).argmax()
            if np.abs(bias).max() > THRESHOLD:
                z = np.abs(bias).max()
                found.append(f"{what}: bit {worst} of array {number}: z {z:.1f}")
            chi2 = ((counts - n / 256) ** 2).sum() / (n / 256)
            z = (chi2 - 255) / np.sqrt(2 * 255)
            if not is_bit and abs(z) > THRESHOLD:
                found.append(f"{what}: byte {byte} of array {number}: chi-square z {z:.1f}")
    return found


RESIDUES = 67  # of shares of bits, one position of a word a row


def is_residues(value: np.ndarray) -> bool:
    return value.dtype == np.uint8 and value.ndim > 1 and len(value) in (32, 64)


def _uniform_residues(rows: np.ndarray, what: str) -> list[str]:
    """Complaints about the residues in each row, and in all together."""
    found = []
    for place, row in [*enumerate(rows), ("all", rows)]:
        counts = np.bincount(row.reshape(-1), minlength=RESIDUES)
        mean = row.size / RESIDUES
        z = (((counts - mean) ** 2).sum() / mean - RESIDUES + 1) / np.sqrt(2 * RESIDUES)
        if counts.size > RESIDUES or abs(z) > THRESHOLD:
            found.append(f"{what}, position {place}: chi-square z {z:.1f}")
    return found


def _coins(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Of some positions, bits that are nearly uniform where residues are."""
    for row in (0, 1, len(rows) // 2, -1):
        doubled = [rows[row] * np.uint16(m) % RESIDUES for m in (1, 2)]
        coins = [(x < RESIDUES // 2 + 1).astype(np.uint8) << i for i, x in enumerate(doubled)]
        yield np.bitwise_or.reduce(coins)


def dependence(
    arrays: Sequence[np.ndarray], what: str, secrets: Sequence[np.ndarray] = ()
) -> list[str]:
    """Complaints about pairs of bits: of two arrays, or of an array and a secret."""
    seen = _varying(arrays)
    found = disclosure(seen, what, secrets)
    z = correlation(seen)
    if z > THRESHOLD + 1:  # there are a million pairs
        found.append(f"{what}: two bits that were seen: z {z:.1f}")
    return found


def disclosure(
    seen: np.ndarray | Sequence[np.ndarray], what: str, secrets: Sequence[np.ndarray]
) -> list[str]:
    """Complaints about pairs of a bit that was seen and one of a secret."""
    if not len(secrets):
        return []
    rows = seen if isinstance(seen, np.ndarray) else _varying(seen)
    z = correlation(rows, _varying(secrets))
    if z > THRESHOLD + 1:
        return [f"{what}: a bit that was seen and one of the secret: z {z:.1f}"]
    return []


TILE = 64  # rows that are compared with one another while they are in the cache


def correlation(rows: np.ndarray, others: np.ndarray | None = None) -> float:
    """The largest correlation of two rows, or of a row and one of the others.

    In standard deviations, of rows of `PAIRED` bits packed in words.
    """
    sizes = len(rows), len(rows if others is None else others)
    if not min(sizes):
        return 0.0
    left = _tiled(rows)
    right = left if others is None else _tiled(others)
    with jax.enable_x64(True):
        return int(_most_alike(left, right, sizes, within=others is None)) / np.sqrt(PAIRED)


def _tiled(rows: np.ndarray) -> np.ndarray:
    """Rows of zeros below, for few shapes to compile."""
    return np.pad(rows, ((0, -len(rows) % (16 * TILE)), (0, 0)))


@functools.partial(
    jax.jit,
    static_argnames="within",
    compiler_options={"xla_backend_optimization_level": 3},  # most of the tests' time otherwise
)
def _most_alike(left: Any, right: Any, sizes: tuple[Any, Any], within: bool) -> Any:
    """The largest |agreements - differences| of two rows; `within` one array, of different ones."""
    tiles = [-(-size // TILE) for size in sizes]

    def compare(i: Any, j: Any, most: Any) -> Any:
        x, y = (lax.dynamic_slice_in_dim(v, k * TILE, TILE) for v, k in ((left, i), (right, j)))
        different = lax.population_count(x[:, None] ^ y[None]).sum(-1).astype(jnp.int32)
        row, other = i * TILE + jnp.arange(TILE)[:, None], j * TILE + jnp.arange(TILE)
        counted = (row < sizes[0]) & (other < sizes[1]) & ((row < other) | (not within))
        return jnp.maximum(most, jnp.where(counted, abs(PAIRED - 2 * different), 0).max())

    def compare_row(i: Any, most: Any) -> Any:
        first = i if within else 0
        return lax.fori_loop(first, tiles[1], lambda j, m: compare(i, j, m), most)

    return lax.fori_loop(0, tiles[0], compare_row, jnp.int32(0))


def _varying(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The bits that are not constant, a row each, packed; for those that are, see `uniformity`."""
    words = -(-PAIRED // 64)
    found = [np.zeros((0, words), np.uint64)]
    for x in itertools.chain.from_iterable(_coins(x) if is_residues(x) else [x] for x in arrays):
        rows = bit_rows(x.reshape(-1)[:PAIRED])
        ones = rows.sum(1, np.int64)
        octets = np.packbits(rows[np.abs(PAIRED - 2 * ones) < 0.9 * PAIRED], axis=1)
        found.append(np.pad(octets, ((0, 0), (0, 8 * words - octets.shape[1]))).view(np.uint64))
    return np.concatenate(found)


# --- The check -----------------------------------------------------------------------------------


def secrets_for(kinds: Sequence[type], bits: int, pattern: str, seed: int) -> list[Any]:
    """Operands of the given kinds (`A` words, `B` bits in bytes) with a pattern of bits."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(f"uint{bits}")
    fills = {"zeros": 0, "ones": 2**bits - 1}
    operands = []
    for kind in kinds:
        if pattern == "random":
            x = rng.integers(0, 2**bits, WORDS, dtype)
        else:
            x = np.full(WORDS, fills[pattern], dtype)
        operands.append(A(x) if kind is A else B((x & dtype.type(1)).astype(np.uint8)))
    return operands


PATTERNS = ("zeros", "ones", "random")


def leaks(
    observed: Observed, kinds: Sequence[type], bits: int, coalition: Sequence[int] | None = None
) -> list[str]:
    """All that is wrong with what corrupt parties see together; nothing, if it is private.

    Args:
      observed: the step.
      kinds: of its operands, `A` or `B`.
      bits: the ring's width.
      coalition: the corrupt endpoints; by default every largest set of them that is allowed.
    """
    smpc = observed.smpc
    found: list[str] = []
    coalitions = largest_coalitions(smpc) if coalition is None else [tuple(coalition)]
    for number, pattern in enumerate(PATTERNS):
        operands = secrets_for(kinds, bits, pattern, number)
        hidden = [np.asarray(x.value) for x in operands] if pattern == "random" else []
        shares = split(smpc, 50 + number, operands)
        messages, results = observed(seeds_of(smpc, 60 + number), *shares)
        for parties in coalitions:
            held = sorted({c for p in parties if p < smpc.size for c in smpc.holds(p)})
            what = f"parties {parties}, secret {pattern}"
            own = [s[c] for s in shares for c in held]
            seen = [*own, *_received(observed, messages, parties)]
            found += uniformity(seen, what)
            if pattern in ("zeros", "random"):
                found += dependence(seen, what, hidden)
            output = [x[c] for x in results for c in held]
            found += uniformity([x for x in output if x.dtype != np.uint8], f"{what}, results")
            found += disclosure(output, f"{what}, results", hidden)
            if pattern in ("ones", "random"):  # only the others' randomness may hide anything
                fixed = [_moved(s, held, x) for s, x in zip(shares, operands, strict=True)]
                known = seeds_at(smpc, parties)
                told, _ = observed(seeds_of(smpc, 70 + number, known), *fixed)
                seen = _received(observed, told, parties)
                what += ", their randomness known"
                found += uniformity(seen, what) + dependence(seen, what, hidden)
    return found


def _received(
    observed: Observed, messages: Sequence[np.ndarray], colluding: Sequence[int]
) -> list[np.ndarray]:
    """Messages to the colluding endpoints from others, the dealer among them, each value once."""
    received = {
        origin: message
        for message, (source, target, origin) in zip(messages, observed.routes, strict=True)
        if target in colluding and source not in colluding
    }
    return list(received.values())


def _moved(stacked: np.ndarray, held: Sequence[int], operand: A | B) -> np.ndarray:
    """Shares of the same secret of which the held components are zero."""
    others = [i for i in range(len(stacked)) if i not in held]
    result = stacked.copy()
    result[list(held)] = 0
    if isinstance(operand, A):
        result[others[0]] += operand.value - np.add.reduce(result, dtype=stacked.dtype)
    else:
        result[others[0]] ^= operand.value ^ np.bitwise_xor.reduce(result)
    return result


def largest_coalitions(smpc: Protocol) -> list[tuple[int, ...]]:
    """The allowed sets of corrupt parties, or of a helper too, that are part of no other."""
    return list(itertools.combinations(range(len(smpc.computing)), smpc.corruptions))
