"""All that a worker does, put together."""

from __future__ import annotations

from typing import Any

from jsmpc._src.workers.computing import Computing
from jsmpc._src.workers.keeping import Keeping
from jsmpc._src.workers.library import Library
from jsmpc._src.workers.servant import Servant
from jsmpc._src.workers.splitting import Splitting


class Hired(Servant):
    """A servant who keeps, computes and shares.

    Attributes:
      library: the plans at hand; keeping: the objects; computing: what runs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As of `Servant`."""
        super().__init__(*args, **kwargs)
        self.library = Library(self)
        self.keeping = Keeping(self, self.library)
        self.computing = Computing(self, self.library, self.keeping.freed)
        Splitting(self, self.computing)
