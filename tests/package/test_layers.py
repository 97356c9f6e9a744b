"""The layout is a contract: a layer imports only from those before it, and no file has a circle."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsmpc

PACKAGE = Path(jsmpc.__file__).parent
LAYERS = (
    "errors",
    "jaxprs",
    "kernels",
    "links",
    "ring",
    "network",
    "runtime",
    "protocols",
    "functions",
    "interpreter",
    "readings",
    "api",
    "deployment",
    "transport",
    "plans",
    "workers",
    "service",
    "federated",
    "flower",
)


def modules() -> dict[str, Path]:
    """All modules of the package by their full name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The package's modules that a file imports when it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else str(node.module)


def layer(module: str) -> int:
    """The height of a module; what stands on the public interface is highest."""
    parts = module.split(".")
    if module == "jsmpc._version":
        return -1
    if parts[:2] == ["jsmpc", "_src"] and len(parts) > 2:
        return LAYERS.index(parts[2])
    return len(LAYERS)


def test_every_folder_is_a_layer() -> None:
    inside = {p.stem for p in (PACKAGE / "_src").iterdir() if not p.stem.startswith("__")}
    assert inside == set(LAYERS)


def test_imports_point_downwards() -> None:
    known = modules()
    upward = [
        f"{module} imports {other}"
        for module, path in known.items()
        for other in imports(path, known)
        if layer(other) > layer(module)
    ]
    assert not upward


def test_no_circles() -> None:
    known = modules()
    graph = {m: {o for o in imports(p, known) if o != m} for m, p in known.items()}
    packages = {m for m, p in known.items() if p.name == "__init__.py"}
    waiting = {m: {o for o in others if o not in packages} for m, others in graph.items()}
    while ready := [m for m, others in waiting.items() if not others & set(waiting)]:
        for module in ready:
            del waiting[module]
    assert not waiting, f"circles among {sorted(waiting)}"


def test_each_module_can_be_imported_first() -> None:
    program = "import sys, importlib\nfor m in sys.argv[1:]:\n    importlib.import_module(m)"
    here = [n for n in LAYERS if n != "flower" or importlib.util.find_spec("flwr") is not None]
    layers = [f"jsmpc._src.{name}" for name in reversed(here)]
    subprocess.run([sys.executable, "-c", program, *layers], check=True, cwd=PACKAGE.parent)


def test_the_public_face_shows_public_names_alone() -> None:
    assert dir(jsmpc) == sorted(jsmpc.__all__)
    for name in jsmpc.__all__:
        assert getattr(jsmpc, name) is not None
    assert callable(jsmpc.secure) and callable(jsmpc.diagnose)
    inner = importlib.import_module("jsmpc._src.api.secure")
    assert inner.secure is jsmpc.secure
