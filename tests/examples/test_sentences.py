"""Search by meaning: the tokenizer, the encoder and the weights' package, the command."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc.examples import command
from jsmpc.examples.sentences import minilm, search
from jsmpc.examples.sentences.encoder import Encoder, Layers
from jsmpc.examples.sentences.wordpiece import WordPiece

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(minilm.MODULE) is None, reason="the extra `sentences` is not installed"
)

# What the package itself makes of them, with sentence-transformers on PyTorch: the tokens, and the
# first numbers of the embedding.
TEXTS: dict[str, tuple[list[int], list[float]]] = {
    "A man is eating food.": (
        [101, 1037, 2158, 2003, 5983, 2833, 1012, 102],
        [0.0332415625, 0.0044060769, -0.0062770247, 0.0483787358, -0.1387022436],
    ),
    "Wie spät ist es? Ça va, naïve Zürich: 3.5€ — 東京 😀 unbelievably "
    "antidisestablishmentarianism": (
        [
            *(101, 15536, 2063, 14690, 21541, 9686, 1029, 6187, 12436, 1010, 15743, 10204, 1024),
            *(1017, 1012, 1019, 30102, 1517, 1879, 1755, 100, 4895, 8671, 2666, 3567, 6321, 3424),
            *(10521, 4355, 7875, 13602, 3672, 12199, 2964, 102),
        ],
        [0.0870942249, 0.0803860649, 0.1143169627, -0.0193158872, -0.0182667580],
    ),
    "l'état C'EST moi...\tx_y [sep] `a`~^": (
        [
            *(101, 1048, 1005, 17997, 1039, 1005, 9765, 25175, 1012, 1012, 1012, 1060, 1035, 1061),
            *(1031, 19802, 1033, 1036, 1037, 1036, 1066, 1034, 102),
        ],
        [-0.0832525641, 0.0164873376, 0.0450844206, -0.0838092044, 0.0142310271],
    ),
}

SMALL = Encoder(vocabulary=11, positions=8, width=16, layers=Layers(count=1, heads=2, hidden=24))


@needs_weights
def test_tokens_and_embeddings_are_those_of_the_package() -> None:
    read = minilm.tokenizer()
    for text, (numbers, _) in TEXTS.items():
        assert read(text) == numbers
    tokens, mask = zip(*(search.tokens_of(read, text, 35) for text in TEXTS), strict=True)
    found = jax.jit(search.embed)(minilm.params(), jnp.stack(tokens), jnp.stack(mask))
    expected = [first for _, first in TEXTS.values()]
    np.testing.assert_allclose(found[:, :5], expected, atol=2e-6)
    assert minilm.MODULE not in sys.modules


def test_pieces_of_words() -> None:
    read = WordPiece(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##see", "##seen", "see", "!", "東"]
    )
    assert read("UNSEEN!see") == [2, 4, 6, 8, 7, 3]
    assert read("ünsée\n東東") == [2, 4, 5, 9, 9, 3]
    assert read("un-see " + "un" * 60) == [2, 4, 1, 7, 1, 3]
    assert read("") == [2, 3]


def test_a_query_is_padded_or_refused() -> None:
    read = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un"])
    tokens, mask = search.tokens_of(read, "un un", 6, 5)
    assert tokens.argmax(-1).tolist() == [2, 4, 4, 3, 0, 0] and tokens.sum() == 6
    assert mask.tolist() == [1, 1, 1, 1, 0, 0]
    with pytest.raises(ValueError, match="7 tokens, more than 6"):
        search.tokens_of(read, "un un un un un", 6, 5)


def test_an_embedding_does_not_depend_on_padding() -> None:
    numbers = jnp.array([3, 1, 4, 1, 5])
    mask = jnp.array([1.0, 1, 1, 1, 0])
    tokens = jax.nn.one_hot(numbers, 11)
    params = SMALL.init(jax.random.key(0), tokens)
    expected = SMALL.apply(params, tokens[:4])
    np.testing.assert_allclose(SMALL.apply(params, tokens, mask), expected, atol=1e-6)


def test_the_best_match_is_told_to_one_party() -> None:
    documents = np.array([[1.0, 0], [0.6, 0.8], [0, 1]], np.float32)
    query = np.array([0.5, 0.9], np.float32)
    assert int(search.best_match(documents, query)) == 1
    shares = jsmpc.share(jsmpc.random_key(), (documents, query), jsmpc.Replicated3())
    match = jsmpc.secure(search.best_match, static_argnames="to")
    assert int(match(jsmpc.random_key(), *shares, to="party0")) == 1
    learns = match.project(*shares, to="party0").outputs
    assert [port.endpoints for port in learns] == [frozenset({0})]


def test_safetensors(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    header: dict[str, Any] = {
        "__metadata__": {"format": "pt"},
        "number": {"dtype": "I64", "shape": [1], "data_offsets": [24, 32]},
        "x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + x.tobytes() + bytes(8))
    found = minilm.read_safetensors(path)
    assert list(found) == ["x"]
    np.testing.assert_array_equal(found["x"], x)


def test_without_the_package_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(minilm, "MODULE", "no_such_module")
    with pytest.raises(SystemExit) as stopped:
        command.main(["sentences"])
    assert stopped.value.code == 2
    assert "pip install 'jsmpc[sentences]'" in capsys.readouterr().err
