"""The papers that functions, operations and more than one protocol are from, in this one place.

What is cited while a program is traced, its context collects; what a protocol alone is from stands
with it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

BATCHER = "K. Batcher, Sorting networks and their applications, AFIPS 1968"
BEAVER = "D. Beaver, Efficient multiparty protocols using circuit randomization, CRYPTO 1991"
BRENT_KUNG = "R. Brent, H. Kung, A regular layout for parallel adders, IEEE Trans. Computers 1982"
CHEN = (
    "H. Chen, I. Chillotti, Y. Song, Improved bootstrapping for approximate homomorphic "
    "encryption, EUROCRYPT 2019"
)
GILES = "M. Giles, Approximating the erfinv function, GPU Computing Gems 2011"
GOLDSCHMIDT = "R. Goldschmidt, Applications of division by convergence, MIT 1964"
KOGGE_STONE = (
    "P. Kogge, H. Stone, A parallel algorithm for the efficient solution of a general class of "
    "recurrence equations, IEEE Trans. Computers 1973"
)
CRYPTFLOW2 = "D. Rathee et al., CrypTFlow2: Practical 2-party secure inference, CCS 2020"
PATERSON_STOCKMEYER = (
    "M. Paterson, L. Stockmeyer, On the number of nonscalar multiplications necessary to evaluate "
    "polynomials, SIAM J. Comput. 1973"
)
SPDZ = "I. Damgård et al., Multiparty computation from somewhat homomorphic encryption, CRYPTO 2012"


def cites(*papers: str) -> Callable[[F], F]:
    """f(protocol, context, …) as it is in some papers."""

    def cited(f: F) -> F:
        @functools.wraps(f)
        def called(smpc: Any, ctx: Any, *args: Any, **kwargs: Any) -> Any:
            ctx.cite(papers)
            return f(smpc, ctx, *args, **kwargs)

        return called  # type: ignore[return-value]

    return cited


class References(list[str]):
    """Papers: authors, title, where and when; prints one a line."""

    def __str__(self) -> str:
        return "\n".join(self)

    def bibtex(self) -> str:
        """The same for BibTeX."""
        return "\n\n".join(map(_entry, self))


def _entry(paper: str) -> str:
    author = re.search(r"([^\W\d_]+)(?:,| et al)", paper)
    year = re.search(r"\b(?:19|20)\d\d\b", paper)
    words = [m[1] if m and m.re.groups else m[0] if m else "" for m in (author, year)]
    key = "".join(words).lower()
    return f"@misc{{{key},\n  note = {{{paper}}},\n  year = {{{words[1]}}}\n}}"
