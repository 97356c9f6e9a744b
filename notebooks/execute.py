"""Execute the notebooks from top to bottom: `python notebooks/execute.py [--write] [NAME …]`.

With `--write` their outputs are stored, and with them a digest of the code that made them, by which
`tests/examples/test_notebooks.py` tells whether code and outputs belong together.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SECONDS = 300  # for one cell


def digest(notebook: Any) -> str:
    """Of the code of a notebook, all cells in order."""
    cells = (c for c in notebook["cells"] if c["cell_type"] == "code")
    code = "\0".join("".join(cell["source"]) for cell in cells)
    return hashlib.sha256(code.encode()).hexdigest()


def executed(path: Path) -> Any:
    """The notebook with the outputs of a run in a new kernel; an error in a cell is raised."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(FOLDER)}}
    options = {"timeout": SECONDS, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources=place, **options).execute()
    language = {"name": notebook.metadata.language_info.name}  # not the machine's version of it
    notebook.metadata.language_info = language
    notebook.metadata["jsmpc"] = {"executed": digest(notebook)}
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute the notebooks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--write", action="store_true", help="store the outputs")
    options = parser.parse_args()
    names = options.names or sorted(p.stem for p in FOLDER.glob("*.ipynb"))
    for name in names:
        path, start = (FOLDER / name).with_suffix(".ipynb"), time.perf_counter()
        notebook = executed(path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)
        if options.write:
            import nbformat

            nbformat.write(notebook, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
