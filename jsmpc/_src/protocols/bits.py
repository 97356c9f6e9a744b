"""Boolean shares: words of bits shared by xor.

In the notation of the papers [x]^B, beside the arithmetic shares [x]^A of a ring element (P.
Mohassel, P. Rindal, ABY3, CCS 2018, section 3). All that is linear over xor is local, and here;
what takes messages or a constant is an operation of the protocol: `and_bb`, `or_bb`, `not_b`,
`xor_bp` of Boolean shares, `a2b`, `lsb` and comparisons to them, `b2a` and `mul_ba` from them.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.network.values import PerParty, Public, V
from jsmpc._src.ring import blocks, words


@jax.tree_util.register_pytree_node_class
class Bits(Generic[V]):
    """[x]^B: words of `width` bits shared by xor, over a protocol's kind of per-party value.

    Made by protocols; what they compute with are the machine words, `words_of(x)`. Above the width
    a shared word is zero; the shares of it may be anything that cancels.

    Attributes:
      width: the number of bits of a word; 1 for bits, which are bytes.
    """

    __slots__ = ("_words", "width")

    def __init__(self, words: V, width: int | None = None):
        self._words = words
        self.width = _size(words) if width is None else width

    def __repr__(self) -> str:
        return f"Bits(width={self.width}, shape={self.shape})"

    @property
    def shape(self) -> tuple[int, ...]:
        return self._words.shape

    @property
    def alone(self) -> Bits[V]:
        """These, and nothing that is known besides: see `NumberedBits`."""
        return self

    # Elements.

    def map(self, f: Callable[..., Any], *others: Bits[V]) -> Bits[V]:
        """A movement of elements, or a sum of them by xor, the same at every place."""
        return Bits(self._words.map(f, *map(words_of, others)), self.width)

    def maps(self, f: Callable[..., Sequence[Any]]) -> list[Bits[V]]:
        """Like `map`, with several results."""
        return [Bits(w, self.width) for w in self._words.maps(f)]

    # Words.

    def __xor__(self, other: Bits[V]) -> Bits[V]:
        return together(operator.xor, self, other)

    def __and__(self, mask: Public) -> Bits[V]:
        """[x & m] for public words m; the product of two sharings is `and_bb`."""
        if isinstance(mask, PerParty):
            raise TypeError(f"{self} & {type(mask).__name__}: a mask is public")
        return Bits(self._words & mask, self.width)

    def __lshift__(self, n: int | Public) -> Bits[V]:
        """Towards the highest bit by a public number; zeros come in."""
        return Bits(self._cut(self._words.map(words.left, n), self.width), self.width)

    def __rshift__(self, n: int | Public) -> Bits[V]:
        """Towards the lowest bit by a public number; zeros come in."""
        return Bits(self._words.map(words.right, n), self.width)

    def arithmetic_right(self, n: int | Public) -> Bits[V]:
        """As `>>` of whole machine words, but copies of the highest bit come in."""
        assert self.width == _size(self._words)
        return Bits(self._words.map(words.arithmetic_right, n))

    def low(self, k: int) -> Bits[V]:
        """The lowest k bits."""
        return Bits(self._cut(self._words.astype(blocks.word_type(k)), k), k)

    def high(self, k: int) -> Bits[V]:
        """The highest k bits."""
        return Bits((self >> self.width - k)._words.astype(blocks.word_type(k)), k)

    def bit(self, j: int) -> Bits[V]:
        """Bit j."""
        return (self >> j).low(1)

    def padded(self, k: int) -> Bits[V]:
        """[x ‖ 0^k]: k zeros below."""
        width = self.width + k
        return Bits(self._words.astype(blocks.word_type(width)) << k, width)

    def concat(self, low: Bits[V]) -> Bits[V]:
        """[x ‖ y], with y below."""
        high = self.padded(low.width)
        return Bits(high._words ^ low._words.astype(high._words.dtype), high.width)

    def spread(self, width: int) -> Bits[V]:
        """Words of copies of a bit."""
        if width == 1:
            return self
        bit = words_of(self, 1) & np.uint8(1)
        return Bits(self._cut(-bit.astype(blocks.word_type(width)), width), width)

    def planes(self) -> Bits[V]:
        """The bits of each word on a new last axis, lowest first."""
        return Bits(self._words.map(lambda w: blocks.to_planes(w)[..., : self.width]), 1)

    @staticmethod
    def _cut(words: V, width: int) -> V:
        """Zeros above the width."""
        whole = _size(words) == width
        return words if whole else words & np.asarray((1 << width) - 1, words.dtype)

    # Boolean shares are neither arrays nor arithmetic shares.

    if not TYPE_CHECKING:

        def _refused(self, *_: Any) -> NoReturn:
            raise TypeError(
                f"{self} are Boolean shares, where arithmetic ones or an array are needed: b2a "
                "makes numbers of bits, and_bb is their product"
            )

        __jax_array__ = __neg__ = __add__ = __sub__ = __mul__ = _refused
        values = dtype = example = property(_refused)

    def tree_flatten(self) -> tuple[tuple[V], int]:
        return (self._words,), self.width

    @classmethod
    def tree_unflatten(cls, width: int, children: Any) -> Bits[V]:
        return cls(children[0], width)


@jax.tree_util.register_pytree_node_class
class NumberedBits(Bits[V]):
    """Bits of which the protocol has arithmetic shares as well; what is computed of them has not.

    Attributes:
      number: these.
    """

    __slots__ = ("number",)

    def __init__(self, words: V, number: V):
        super().__init__(words, 1)
        self.number = number

    @property
    def alone(self) -> Bits[V]:
        return Bits(self._words, 1)

    def tree_flatten(self) -> tuple[tuple[V, ...], int]:  # type: ignore[override]
        return (self._words, self.number), 1

    @classmethod
    def tree_unflatten(cls, width: int, children: Any) -> NumberedBits[V]:
        return cls(*children)


def _size(words: PerParty) -> int:
    """The width of machine words."""
    return 8 * words.dtype.itemsize


def words_of(x: Bits[V], width: int | None = None) -> V:
    """The machine words of Boolean shares, of a width if one is asked for.

    Raises:
      TypeError: for arithmetic shares, or words of another width.
    """
    if not isinstance(x, Bits):
        raise TypeError(
            f"{type(x).__name__} where Boolean shares are needed, or with some, which do not mix: "
            "a2b makes these of numbers, b2a makes numbers of bits"
        )
    if width is not None and x.width != width:
        raise TypeError(f"{x} where words of {width} bits are needed")
    return x._words


def together(f: Callable[[V, V], V], x: Bits[V], y: Bits[V]) -> Bits[V]:
    """Bit by bit an operation f on machine words, of words of one width."""
    a = words_of(x)
    return Bits(f(a, words_of(y, x.width)), x.width)


def rows_apart(x: Any, *numbers: Sequence[int]) -> list[Any]:
    """Rows of shares, arithmetic or Boolean, by their numbers, for each list of numbers.

    They are gathered once, as each gathering takes its time to compile.
    """
    index = np.asarray([*itertools.chain(*numbers)], np.int32)[:, None]

    def gathered(a: jax.Array) -> jax.Array:
        form = lax.GatherDimensionNumbers(
            offset_dims=tuple(range(1, a.ndim)), collapsed_slice_dims=(0,), start_index_map=(0,)
        )
        return lax.gather(a, index, form, (1, *a.shape[1:]), mode="promise_in_bounds")

    ends = itertools.accumulate(map(len, numbers), initial=0)
    every = x.map(gathered) if index.tolist() != [[i] for i in range(x.shape[0])] else x
    return [
        every.map(functools.partial(lax.slice_in_dim, start_index=start, limit_index=end))
        for start, end in itertools.pairwise(ends)
    ]


def rows(x: Any, numbers: Any) -> Any:
    """Rows of shares, arithmetic or Boolean, by their numbers on the leading axis."""
    index = jnp.asarray(numbers, np.int32)
    return x.map(lambda a: a.at[index].get(mode="promise_in_bounds"))
