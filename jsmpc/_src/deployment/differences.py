"""Public arguments that endpoints do not have in common, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def explained(found: Mapping[str, Mapping[str, str]], dealer: str | None) -> str:
    """What differs, and at whom.

    Args:
      found: of each endpoint that tells, the digests of its public arguments by name.
      dealer: who else has some of them; it differs where the others do not.
    """
    names = next(iter(found.values()))
    differing = []
    for name in names:
        having: dict[str, list[str]] = {}
        for endpoint, digests in found.items():
            having.setdefault(digests[name], []).append(endpoint)
        if len(having) > 1:
            values = sorted(map(sorted, having.values()))
            differing.append(f"{name} ({'; '.join(f'one at {_all(x)}' for x in values)})")
    if not differing:
        differing = [f"what {dealer} deals by ({' or '.join(names)})"]
    return (
        f"public arguments are not the same everywhere: {', '.join(differing)}. All must pass the "
        "same; what one party alone has is an input of its own (jsmpc.input). Nothing was revealed"
    )


def _all(names: Sequence[str]) -> str:
    return " and ".join(names)
