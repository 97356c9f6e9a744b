"""Texts of which a part between two markers is generated."""

from __future__ import annotations


def rewritten(text: str, begin: str, end: str, part: str) -> str:
    """A text with another part between its markers.

    Raises:
      ValueError: if it does not hold the markers.
    """
    try:
        before, rest = text.split(begin)
        _, after = rest.split(end)
    except ValueError:
        raise ValueError(f"the text must hold the markers {begin} and {end} once each") from None
    return f"{before}{begin}\n\n{part}\n\n{end}{after}"
