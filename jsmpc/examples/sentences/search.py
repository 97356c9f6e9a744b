"""Search by meaning: plain JAX, which runs on secrets too."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import jsmpc
from jsmpc.examples.sentences.encoder import Encoder
from jsmpc.examples.sentences.wordpiece import PADDING, WordPiece

Array = jax.Array
Floats = NDArray[np.float32]

ENCODER = Encoder()
TOKENS = 16  # of every query, so that its length is not seen

DOCUMENTS = (
    "The library opens at nine and closes at six.",
    "To cancel a booking, call us a day before.",
    "Dogs must be kept on a lead in the park.",
    "The museum shows paintings of the nineteenth century.",
    "Take one tablet twice a day, after a meal.",
    "The next train to the coast leaves at noon.",
    "A fever above 39 degrees should be seen by a doctor.",
    "Refunds are paid within two weeks.",
    "Bread is baked here every morning.",
    "The swimming pool is closed for repairs.",
    "Please separate glass, paper and plastic.",
    "Parking is free on Sundays and public holidays.",
    "Students pay half the price for a ticket.",
    "The trail climbs to the summit through a forest.",
    "Change your password if somebody else may know it.",
    "Our soup of the day contains no meat.",
)
QUERY = "I feel hot and ill, what should I do?"


def tokens_of(
    read: WordPiece, text: str, length: int = TOKENS, vocabulary: int = ENCODER.vocabulary
) -> tuple[Floats, Floats]:
    """The tokens of a text, one-hot, (length, vocabulary), and 1 where there is one, (length,).

    Raises:
      ValueError: if there are more than `length`.
    """
    numbers = read(text)
    if len(numbers) > length:
        raise ValueError(f"the text has {len(numbers)} tokens, more than {length}: shorten it")
    mask = (np.arange(length) < len(numbers)).astype(np.float32)
    padded = numbers + [read.numbers[PADDING]] * (length - len(numbers))
    tokens = np.zeros((length, vocabulary), np.float32)
    tokens[np.arange(length), padded] = 1
    return tokens, mask


def embed(params: Any, tokens: Array, mask: Array) -> Array:
    """The embedding, (width,), of one text, or of several, (n, width)."""
    return cast(Array, ENCODER.apply(params, tokens, mask))


def best_match(documents: Array, query: Array, to: str | None = None) -> Array:
    """Which of the documents' embeddings, (n, width), is nearest to the query's, (width,).

    On secrets, party `to` alone learns it, or all do.
    """
    return jsmpc.reveal(jnp.argmax(documents @ query), to=to)
