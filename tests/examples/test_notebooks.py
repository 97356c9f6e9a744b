"""The notebooks' stored outputs are there, without errors, and of the code beside them.

They are executed by `.ci/run`: `python notebooks/execute.py`. If the second test fails, the code
was changed after it ran: `python notebooks/execute.py --write`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import jsmpc

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in load(path)["cells"] if cell["cell_type"] == "code"]


def imported(tree: ast.AST) -> set[str]:
    """The modules that code imports by their full names."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import))
    return {alias.name for node in imports for alias in node.names}


def is_call(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stored(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    kinds = {output["output_type"] for output in outputs}
    assert {"stream", "display_data"} <= kinds and "error" not in kinds
    assert not [o for o in outputs if o.get("name") == "stderr"], "warnings are stored"
    for cell in cells:
        statements = ast.parse("".join(cell["source"])).body
        calls = [ast.unparse(s.value.func) for s in statements if is_call(s)]
        assert cell["outputs"] or not {"print", "plt.show"} & set(calls)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_those_of_the_code(path: Path) -> None:
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec is not None and spec.loader is not None
    execute = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(execute)
    assert load(path)["metadata"]["jsmpc"]["executed"] == execute.digest(load(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_the_code_imports_exists(path: Path) -> None:
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code_cells(path)))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jsmpc"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                assert hasattr(module, alias.name) or importlib.util.find_spec(inner), inner
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "jsmpc":
            assert node.attr in jsmpc.__all__ or f"jsmpc.{node.attr}" in imported(tree)
