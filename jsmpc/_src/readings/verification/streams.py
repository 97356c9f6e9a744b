"""The identity of what is random: a draw is its key and its number, a key is how it was derived.

ChaCha20 under a key that nobody knows gives independent uniform words under each nonce. So two
draws are independent unless both their keys and their numbers are the same, and two keys unless
they are derived from one key under one nonce. In a loop the nonce counts the runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np

from jsmpc._src.readings.verification.graph import Node, Place, Scope

Nonce = tuple[int | Scope, ...]  # words; in the place of one that counts a scope's runs, the scope
Name = Any  # a key, or how it is derived
_DRAWS = 0  # the third word of the nonces of draws


@dataclasses.dataclass(frozen=True)
class Repeat:
    """A stream that is drawn twice: at the second place again what was at the first."""

    what: str
    first: Place
    again: Place


class Streams:
    """All keys and draws of a program.

    Attributes:
      repeats: what is not independent of another one.
    """

    def __init__(self) -> None:
        self.repeats: list[Repeat] = []
        self._unused: set[tuple[Name, int]] = set()
        self._draws: dict[tuple[Name, int], tuple[Node, Place]] = {}
        self._derived: dict[Name, list[tuple[Nonce, Node, Place]]] = {}
        self._nonces: dict[Node, Nonce | None] = {}
        self._counters: dict[Node, Scope] = {}
        self._given: set[Node] = set()
        self._shared: set[Node] = set()
        self._twins: set[Node] = set()
        self._numbers: dict[Scope, Node] = {}

    def key(self, node: Node) -> None:
        """An input is the key of an endpoint, that this drew by itself."""
        self._given.add(node)

    def counter(self, node: Node, scope: Scope, numbers: Node | None = None) -> None:
        """A node counts the runs of a scope, by the elements of an array where there is one."""
        self._counters[node] = scope
        if numbers is not None:
            self._numbers[scope] = numbers

    def name(self, key: Node) -> Name:
        """What a key has in common with those of other loops that are the same, run by run."""
        stream = key_stream(key)
        words = None if stream is None else self._nonces.get(stream)
        if stream is None or words is None:
            return key
        return self.name(stream.operands[0]), self._common(words)

    def counted(self, key: Node) -> Scope | None:
        """The scope whose runs a key is derived by, if it is by those of one."""
        stream = key_stream(key)
        words = (None if stream is None else self._nonces.get(stream)) or ()
        scopes = [w for w in words if isinstance(w, Scope)]
        return scopes[0] if len(scopes) == 1 else None

    def _common(self, words: Nonce) -> tuple[Any, ...]:
        return tuple(self._numbers.get(w, w) if isinstance(w, Scope) else w for w in words)

    def drawn(self, node: Node, scope: Scope, place: Place) -> None:
        """An equation of a scope makes a draw, whether or not another one made it before."""
        (key,) = node.operands
        found, first = self._draws.setdefault((self.name(key), node.number), (node, place))
        if found is not node:
            self._shared |= {found, node}
        if first is not place:
            self.repeats.append(Repeat(f"draw {node.number} of a seed", first, place))
        elif not self.each_run(key, scope):
            what = f"draw {node.number} of a seed, in each run of a loop"
            self.repeats.append(Repeat(what, place, place))

    def unused(self, node: Node) -> None:
        """Nothing is made of a draw: another one of its number tells nothing more."""
        self._unused.add((self.name(node.operands[0]), node.number))

    def derived(self, stream: Node, place: Place) -> None:
        """An equation makes a keystream, of which a key may be taken."""
        key, nonce = stream.operands
        if stream in self._nonces:
            return
        words = self._nonces[stream] = self._words(nonce)
        if words is None:
            return
        known = self._derived.setdefault(self.name(key), [])
        for other, before, first in known:
            if words != other and self._common(words) == self._common(other):
                self._twins |= {before, stream}
            elif _overlap(words, other):
                self._shared |= {before, stream}
                self.repeats.append(Repeat("a key derived from a seed", first, place))
        known.append((words, stream, place))

    @property
    def count(self) -> int:
        """How many draws there are."""
        return len(self._draws.keys() | self._unused)

    def is_fresh(self, node: Node) -> bool:
        """Whether a draw, or a key that is no other loop's, is independent of all others of the
        program."""
        if node.operation == "draw":
            (key,) = node.operands
            own = key.operation != "draw"
            return own and node not in self._shared and self._is_own(key)
        return key_stream(node) not in self._twins and self._is_own(node)

    def _is_own(self, node: Node) -> bool:
        """Whether a key is given, or derived in a way in which no other is."""
        if node in self._given:
            return True
        stream = key_stream(node)
        if stream is None or stream in self._shared or self._nonces.get(stream) is None:
            return False
        return self._is_own(stream.operands[0])

    def follows(self, key: Node, seen: Collection[Node]) -> bool:
        """Whether a key is among what was seen, or is derived from one that is."""
        if key in seen:
            return True
        stream = key_stream(key)
        return stream is not None and self.follows(stream.operands[0], seen)

    def each_run(self, key: Node, scope: Scope) -> bool:
        """Whether each run of a scope, and of all around it, has a key of its own."""
        varies = self._varies(key)
        around: Scope | None = scope
        while around is not None:
            if around.repeats and around not in varies:
                return False
            around = around.parent
        return True

    def _varies(self, key: Node) -> set[Scope]:
        """The scopes whose runs have different keys."""
        stream = key_stream(key)
        words = None if stream is None else self._nonces.get(stream)
        if stream is None or words is None:
            return set()
        return {w for w in words if isinstance(w, Scope)} | self._varies(stream.operands[0])

    def _words(self, nonce: Node) -> Nonce | None:
        """The words of a nonce that no draw has; None for others."""
        words: list[int | Scope] = []
        if nonce.content is not None and np.shape(nonce.content) == (3,):
            words = [int(w) for w in nonce.content]
        elif nonce.operation in ("stack", "concatenate") and len(nonce.operands) == 3:
            for word in map(_scalar, nonce.operands):
                if word.content is not None:
                    words.append(int(word.content.item()))
                elif (scope := self._counters.get(word)) is not None:
                    words.append(scope)
        right = len(words) == 3 and isinstance(words[2], int) and words[2] != _DRAWS
        return tuple(words) if right else None


def _scalar(node: Node) -> Node:
    """What an array of one element is made of."""
    while node.operation in ("broadcast_in_dim", "reshape") and node.operands[0].shape == ():
        (node,) = node.operands
    return node


def _overlap(words: Nonce, others: Nonce) -> bool:
    pairs = zip(words, others, strict=True)
    return all(a == b or isinstance(a, Scope) or isinstance(b, Scope) for a, b in pairs)


def key_stream(node: Node) -> Node | None:
    """The keystream of which a node is the first eight words, as keys are; None for others."""
    if node.operation != "squeeze" or node.shape != (8,):
        return None
    (cut,) = node.operands
    if cut.operation != "slice" or cut.shape != (8, 1):
        return None
    (stream,) = cut.operands
    if stream.operation != "keystream" or len(stream.shape) != 2:
        return None
    params: Any = cut.params
    first = tuple(params["start_indices"]) == (0, 0) and params["strides"] in (None, (1, 1))
    return stream if first else None
