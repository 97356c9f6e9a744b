"""Programs as text that is the same in every process."""

from __future__ import annotations

import re
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def stable(text: Any) -> str:
    """How something prints, without the addresses of functions."""
    return _ADDRESS.sub("", str(text))
