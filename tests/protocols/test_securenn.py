"""The steps of SecureNN: each against the integers, at every edge, and what the helper sees."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from harness import BITS, A, Runner, key, protocol
from jsmpc._src import kernels
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.ring import positions
from jsmpc._src.ring.groups import BOOLEAN, Group
from jsmpc._src.runtime.context import Context
from operations import OPERATIONS
from views import Observed, bit_rows, leaks, secrets_for, seeds_of, split

pytestmark = pytest.mark.usefixtures("x64")


def edges(bits: int) -> list[int]:
    """Words that a carry, or the modulus L - 1, may go wrong at."""
    size = 1 << bits
    return [0, 1, 2, 3, size - 1, size - 2, size - 3, size // 2, size // 2 - 1, size // 2 + 1]


def pairs(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of edges, and of random words."""
    ends = np.asarray([*edges(bits), *_random(bits, 6)], f"uint{bits}")
    both = list(itertools.product(ends, ends))
    first, second = (np.asarray(x, f"uint{bits}") for x in zip(*both, strict=True))
    return first, second


def _random(bits: int, count: int) -> list[int]:
    return [int(x) for x in np.random.default_rng(bits).integers(0, 2**bits, count, f"uint{bits}")]


def context(smpc: jsmpc.Protocol, seed: int = 0) -> Context:
    net = Network(smpc.size)
    return Context(net, smpc.setup(net, [jnp.asarray(key(seed))] * 3))


def compiled(f: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(kernels.optimize(f))


# --- Private compare -----------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("beta", [0, 1])
def test_private_compare_tells_the_helper_one_masked_bit(bits: int, beta: int) -> None:
    smpc = protocol("securenn2", bits)
    x, r = pairs(bits)
    share = np.random.default_rng(1).integers(0, 67, (bits, x.size), np.uint8)

    def run(x: Any, r: Any, share: Any) -> Any:
        rest = positions.FIELD.subtract(kernels.bits(x), share)
        bit = jnp.full(r.shape, beta, np.uint8)
        return smpc.private_compare(context(smpc), Local((share, rest)), r, bit)

    np.testing.assert_array_equal(compiled(run)(x, r, share), (x >= r) ^ beta)


# --- Share conversion, and the msb in the odd ring -----------------------------------------------


def odd_sum(smpc: jsmpc.Protocol, x: Local) -> Any:
    return smpc.odd.add(*x.values)


@pytest.mark.parametrize("bits", BITS)
def test_conversion_keeps_every_value_but_its_lowest_bit(bits: int) -> None:
    """Of all pairs of shares, among them L - 1, which is zero in the odd ring."""
    smpc = protocol("securenn2", bits)
    first, second = pairs(bits)

    def run(*shares: Any) -> Any:
        return odd_sum(smpc, smpc.share_convert(context(smpc), Local(shares)))

    a = first + second
    assert (a == 2**bits - 1).sum() > 3
    np.testing.assert_array_equal(compiled(run)(first, second), a - (a & a.dtype.type(1)))


def knowing(*masks: int) -> jsmpc.SecureNN:
    """Parties whose common words are given, one after another, and whose common bits are zero."""
    given = iter(masks)

    class Known(jsmpc.SecureNN):
        def _common(self, ctx: Context, shape: Any, dtype: Any, group: Group) -> Any:
            drawn = super()._common(ctx, shape, dtype, group)
            if np.dtype(dtype) == np.uint8:
                return jnp.zeros_like(drawn) if group == BOOLEAN else drawn
            return jnp.full(shape, next(given), dtype)

    return Known()


LARGEST = (1 << 64) - 1
MASKS = [(0, 0), (0, 5), (LARGEST, 7), (3, LARGEST), (1 << 63, 1 << 63)]


@pytest.mark.parametrize("masks", MASKS)
def test_conversion_under_masks_that_nobody_draws(masks: tuple[int, int]) -> None:
    """r = 0, where r - 1 wraps, and sums of its parts that carry or do not."""
    first, second = pairs(64)

    def run(*shares: Any) -> Any:
        smpc = knowing(*masks)
        return odd_sum(smpc, smpc.share_convert(context(smpc), Local(shares)))

    a = first + second
    np.testing.assert_array_equal(compiled(run)(first, second), a - (a & np.uint64(1)))


@pytest.mark.parametrize("bits", BITS)
def test_the_msb_in_the_odd_ring(bits: int) -> None:
    smpc = protocol("securenn2", bits)
    first, second = pairs(bits)
    modulus = 2**bits - 1
    y = [(int(a) + int(b)) % modulus for a, b in zip(first, second, strict=True)]

    def run(*shares: Any) -> Any:
        y = Local(x % np.asarray(modulus, x.dtype) for x in shares)
        return smpc.b2a(context(smpc, 1), smpc.odd_msb(context(smpc), y))

    out = compiled(run)(first, second)
    np.testing.assert_array_equal(sum(out.values), [v >= 2 ** (bits - 1) for v in y])


@pytest.mark.parametrize("bits", BITS)
def test_signs_of_all_words(bits: int) -> None:
    """Exact on all of Z_L, -1 and the smallest number among them."""
    smpc = protocol("securenn2", bits)
    first, second = pairs(bits)
    run = Runner(smpc, lambda ctx, x: {"relu": A(smpc.relu(ctx, x))})
    a = first + second
    out = run.opened(run.stacked(3, [np.stack([first, second])]))
    np.testing.assert_array_equal(out["relu"], np.where(a >> a.dtype.type(bits - 1), 0, a))


# --- Material ------------------------------------------------------------------------------------


def test_a_helper_has_material_too_and_not_what_the_parties_share(tmp_path: Path) -> None:
    smpc = jsmpc.SecureNN(("bob", "alice"), helper="james")
    x = jsmpc.share(key(1), np.asarray([-2.0, 0.5], np.float32), smpc)
    relu = jsmpc.secure(jax.nn.relu)
    material = relu.offline(key(2), x)
    seeds = {e: {np.asarray(w).tobytes() for w in part[:2]} for e, part in material.parts.items()}
    assert all(len(seeds[a] & seeds[b]) == 1 for a, b in itertools.combinations(range(3), 2))
    assert not seeds[0] & seeds[1] & seeds[2] and len(material.parts[2]) == 2
    files = material.save(tmp_path / "relu")
    assert [file.name for file in files] == [f"relu.{n}.material" for n in smpc.endpoints]
    loaded = jsmpc.Material.load(tmp_path / "relu", smpc)
    together, apart = relu(key(2), x), relu.online(loaded, x)
    np.testing.assert_array_equal(together.components[0], apart.components[0])


# --- What the helper sees ------------------------------------------------------------------------


class Compared:
    """What the helper has of the two comparisons in a sign, by secret."""

    def __init__(self, smpc: jsmpc.Protocol, pattern: str, bits: int = 64):
        f = functools.partial(OPERATIONS["msb"][1], smpc)
        observed = Observed(smpc, f)
        operands = secrets_for((A,), bits, pattern, 3)
        messages, _ = observed(seeds_of(smpc, 9), *split(smpc, 8, operands))
        pairs = [
            m.reshape(bits, -1).astype(int)
            for m, (_, target, _) in zip(messages, observed.routes, strict=True)
            if target == smpc.size and m.ndim > 2
        ]
        self.secret = np.asarray(operands[0].value)
        self.differences = [(a - b) % 67 for a, b in zip(pairs[::2], pairs[1::2], strict=True)]


def complaints(smpc: jsmpc.Protocol, pattern: str) -> list[str]:
    """What is wrong with what the helper learns by comparing what both parties sent."""
    found = []
    seen = Compared(smpc, pattern)
    for number, d in enumerate(seen.differences):
        zeros = (d == 0).sum(0)
        if zeros.max() > 1:
            found.append(f"{number}: two zeros")
        n = zeros.size
        if abs(2 * zeros.sum() - n) > 6 * np.sqrt(n):
            found.append(f"{number}: the bit is not uniform")
        for row in bit_rows(seen.secret):
            if 0 < row.sum() < n and abs((1 - 2 * zeros) @ (1 - 2 * row.astype(int))) > 6 * n**0.5:
                found.append(f"{number}: the bit depends on the secret")
        for what, values, count in (
            ("place", np.argwhere(d == 0)[:, 0], len(d)),
            ("factor", d[d != 0] - 1, 66),
        ):
            mean = values.size / count or 1.0
            chi2 = ((np.bincount(values, minlength=count) - mean) ** 2).sum() / mean
            if abs(chi2 - count + 1) > 6 * np.sqrt(2 * count):
                found.append(f"{number}: the {what} is not uniform")
    return found


@pytest.mark.parametrize("pattern", ["zeros", "ones", "random"])
def test_the_helper_learns_a_uniform_bit_a_comparison(pattern: str) -> None:
    seen = Compared(protocol("securenn2", 64), pattern)
    assert [d.shape[0] for d in seen.differences] == [64, 64]
    assert complaints(protocol("securenn2", 64), pattern) == []


# --- Broken steps --------------------------------------------------------------------------------


class Constant(jsmpc.SecureNN):
    """What the parties draw together, of one kind, is zero."""

    def _zero(self, dtype: np.dtype[Any], group: Group) -> bool:
        raise NotImplementedError

    def _common(self, ctx: Context, shape: Any, dtype: Any, group: Group) -> Any:
        drawn = super()._common(ctx, shape, dtype, group)
        return jnp.zeros_like(drawn) if self._zero(np.dtype(dtype), group) else drawn


class WithoutMasks(Constant):
    def _zero(self, dtype: np.dtype[Any], group: Group) -> bool:
        return group == positions.FIELD


class WithoutFactors(Constant):
    def _zero(self, dtype: np.dtype[Any], group: Group) -> bool:
        return group == positions.FACTORS


class UnmovedAndUnmaskedBits(Constant):
    def _zero(self, dtype: np.dtype[Any], group: Group) -> bool:
        return group == BOOLEAN and dtype == np.uint8


class WithoutR(Constant):
    def _zero(self, dtype: np.dtype[Any], group: Group) -> bool:
        return dtype == np.uint64


class Unmoved(UnmovedAndUnmaskedBits):
    def _common_bit(self, ctx: Context, shape: Any) -> Any:
        return jsmpc.SecureNN._common(self, ctx, shape, np.uint8, BOOLEAN) & np.uint8(1)


class HelperInTheClear(jsmpc.SecureNN):
    """What the helper shares, it sends to party 0 as it is."""

    def _from_helper(self, ctx: Context, value: Any, group: Group) -> Local:
        net = ctx.network
        return net.by_rank(net.deliver(net.only(0, value)), net.hosted([value * 0] * 2))


@pytest.mark.parametrize(
    "broken",
    [WithoutFactors(), UnmovedAndUnmaskedBits(), Unmoved()],
    ids=lambda x: type(x).__name__,
)
def test_a_step_that_hides_nothing_is_found(broken: jsmpc.Protocol) -> None:
    assert complaints(broken, "zeros") + complaints(broken, "random")


@pytest.mark.parametrize(
    "broken", [WithoutMasks(), WithoutR(), HelperInTheClear()], ids=lambda x: type(x).__name__
)
def test_a_message_without_its_mask_is_found(broken: jsmpc.Protocol) -> None:
    observed = Observed(broken, functools.partial(OPERATIONS["msb"][1], broken))
    assert leaks(observed, (A,), 64)
