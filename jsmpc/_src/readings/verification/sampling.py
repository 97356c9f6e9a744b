"""Optimistic sampling: messages that a uniform word hides are uniform words.

Of a program, the body of a loop, or a branch, given are the messages that somebody receives, as
expressions of secrets, of what the receiver knows, and of independent uniform words that it does
not know. Repeat: where such a word r occurs in one place alone, and the operation there is balanced
in r, the result of that operation is uniform and independent of all else: it takes the place of r,
and what else it was made of is no longer needed there. Where nothing is left to do, a lemma may
know of some values that they tell nothing together (`lemmas`), and words of that distribution take
their place. Each step leaves the joint distribution of all messages as it is. When no message
depends on a secret any more, whoever draws the words that are left can make them all: the view is
simulated.

It is the rule `opt` of G. Barthe et al., Verified proofs of higher-order masking, EUROCRYPT 2015,
and of maskVerif (G. Barthe et al., ESORICS 2019), on words and arrays of them. Each value is
replaced once, and each of its uses forgotten once, so that a proof takes time in proportion to the
program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from jsmpc._src.readings.verification.balance import JOINED, is_balanced
from jsmpc._src.readings.verification.graph import Loop, Node, Scope
from jsmpc._src.readings.verification.lemmas import LEMMAS
from jsmpc._src.readings.verification.streams import key_stream


@dataclasses.dataclass(frozen=True)
class Stuck:
    """A message that nothing hides.

    Attributes:
      random: whether any word unknown to the receiver is in it at all.
      reason: why that does not hide it.
    """

    random: bool
    reason: str


class Sampling:
    """The messages of one scope.

    Args:
      scope: the program, body or branch.
      roots: the messages' values, none of which follows from what was seen before it.
      loops: loops and conditions in it, of which there is a view that is proven by itself.
      seen: whether a value follows from what was received or is known.
      independent: whether a draw, or a key, is uniform and independent of all others for them.
      apart: whether the draws in a loop's result are independent of all that is received in the
        loop, and of other results of it.
    """

    def __init__(
        self,
        scope: Scope,
        roots: Iterable[Node],
        loops: Sequence[Loop],
        seen: Callable[[Node], bool],
        independent: Callable[[Node], bool],
        apart: Callable[[Node, Sequence[Node]], bool],
    ) -> None:
        self._scope, self._seen, self._independent, self._apart = scope, seen, independent, apart
        self._roots = set(roots)
        self._loops = {loop.node for loop in loops}
        self._edges: dict[Node, list[Node]] = {}
        self._users: dict[Node, list[Node]] = {}
        self._uses: dict[Node, int] = {}
        self._uniform: set[Node] = set()
        self._secret: set[Node] = set()
        self._ready: list[Node] = []
        self._pending: dict[Node, None] = {}  # of which there is a lemma
        self._simulated: set[Node] = set()
        self._tried: set[tuple[Node, frozenset[Node]]] = set()
        self._expand()
        self._reduce()
        while self._simulate():
            self._reduce()

    # The expressions of all messages.

    def _expand(self) -> None:
        waiting = [*self._roots, *self._loops]
        for node in waiting:
            self._uses[node] = 1
        done = set(waiting)
        while waiting:
            node = waiting.pop()
            self._edges[node] = edges = self._operands(node)
            if node.operation in LEMMAS:
                self._pending[node] = None
            for operand in edges:
                self._uses[operand] = self._uses.get(operand, 0) + 1
                self._users.setdefault(operand, []).append(node)
                if operand not in done:
                    done.add(operand)
                    waiting.append(operand)
        self._ready = [n for n in self._uniform if self._is_mask(n)]
        self._ready += [n for n in self._uses if n.operation == "loop"]

    def _operands(self, node: Node) -> list[Node]:
        """What a node is made of and that is not known; it may be uniform, or secret, itself."""
        if node.scope is not self._scope or node.operation in ("input", "keystream"):
            self._secret.add(node)
            return []
        if node.operation == "draw" or key_stream(node) is not None:
            words = node.operation == "draw" or node in self._roots
            uniform = words and self._independent(node)
            (self._uniform if uniform else self._secret).add(node)
            return []
        if node.operation == "result":
            self._secret.add(node)
        return [x for x in node.operands if x in self._roots or not self._seen(x)]

    # One step after the other.

    def _is_mask(self, node: Node) -> bool:
        return self._uses[node] == 1 and node not in self._roots and node in self._uniform

    def _reduce(self) -> None:
        while self._ready:
            node = self._ready.pop()
            if node.operation == "loop":
                self._release(node)
            elif self._is_mask(node):
                (user,) = [u for u in self._users[node] if node in self._edges[u]]
                if user not in self._uniform and self._is_hidden(user, node):
                    self._replace(user)

    def _is_hidden(self, node: Node, mask: Node) -> bool:
        if node.operation in JOINED:
            alike = all(x.modulus == node.modulus for x in node.operands)
            return alike and all(self._uses.get(x) == 1 and self._is_mask(x) for x in node.operands)
        return is_balanced(node, mask)

    def _replace(self, node: Node) -> None:
        """Puts a uniform word in the place of a node."""
        self._uniform.add(node)
        self._forget(node)
        if self._is_mask(node):
            self._ready.append(node)

    def _forget(self, node: Node) -> None:
        """Removes the uses that a node makes of others."""
        waiting = [node]
        while waiting:
            user = waiting.pop()
            for operand in self._edges.pop(user, []):
                self._uses[operand] -= 1
                left = self._uses[operand]
                if left == 0:
                    waiting.append(operand)
                elif operand.operation == "loop" or self._is_mask(operand):
                    self._ready.append(operand)
            self._edges[user] = []

    def _release(self, loop: Node) -> None:
        """Draws that a loop gives are uniform words, where nothing else that is left of it depends
        on them. Of a loop of which nothing is left the view is proven by itself, whatever it is
        given: nothing else depends on what happens inside."""
        left = frozenset(self.users(loop, seen=loop in self._loops))
        for node in left:
            if self._is_draw(node, left - {node}):
                self._secret.discard(node)
                self._replace(node)
                return  # and comes back
        if self._uses[loop] == 1 and loop in self._loops:
            self._uses[loop] = 0
            self._forget(loop)

    def _is_draw(self, result: Node, others: frozenset[Node]) -> bool:
        if result.row is None or (result, others) in self._tried:
            return False
        self._tried.add((result, others))
        return self._independent(result.row) and self._apart(result, list(others))

    def is_alone(self, root: Node) -> bool:
        """Whether nothing else that is received depends on a message."""
        return self._uses[root] == 1

    # What lemmas say.

    def users(self, node: Node, seen: bool = False) -> Sequence[Node]:
        found = [
            u for u in dict.fromkeys(self._users.get(node, [])) for x in self._edges[u] if x is node
        ]
        return found if self._uses.get(node) == len(found) + seen else ()

    def is_uniform(self, node: Node) -> bool:
        return node in self._uniform and node not in self._roots

    def _simulate(self) -> bool:
        """Puts words that tell nothing in the place of values, by a lemma; false where none can."""
        progress = False
        for node in list(self._pending):
            if self._edges[node]:
                for found in LEMMAS[node.operation](node, self):
                    self._forget(found)
                    self._simulated.add(found)
                    progress = True
            if not self._edges[node]:
                del self._pending[node]
        return progress

    # What is left.

    @property
    def by_lemmas(self) -> int:
        """How many messages tell nothing by a lemma."""
        others = self._roots - self._uniform if self._simulated else ()
        return sum(not self._simulated.isdisjoint(self._inside(root)) for root in others)

    def stuck(self) -> dict[Node, Stuck]:
        """The messages that depend on a secret."""
        found = {}
        for root in self._roots:
            if root in self._uniform:
                continue
            inside = self._inside(root)
            if not self._secret.isdisjoint(inside):
                masks = [n for n in inside if n in self._uniform]
                certain = all(_is_given(n) for n in inside & self._secret)
                found[root] = Stuck(bool(masks) or not certain, self._why(masks, inside))
        return found

    def _inside(self, root: Node) -> set[Node]:
        inside, waiting = {root}, [root]
        while waiting:
            for operand in self._edges[waiting.pop()]:
                if operand not in inside:
                    inside.add(operand)
                    waiting.append(operand)
        return inside

    def _why(self, masks: Sequence[Node], inside: set[Node]) -> str:
        if not masks:
            return "no word that they do not know is in it"
        for mask in masks:
            users = [u for u in self._users.get(mask, []) if mask in self._edges[u]]
            if self._uses[mask] == 1 and users and users[0] in inside:
                return f"a mask goes through {users[0].operation}, which does not keep it uniform"
        return "every mask in it occurs elsewhere too"


def _is_given(node: Node) -> bool:
    """Whether a secret is an input of the whole program."""
    return node.operation == "input" and node.scope.parent is None
