"""A sentence encoder of BERT's architecture in Flax: from one-hot tokens to an embedding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array

# Added to variances. BERT's 1e-12 is lost beside them in float32, and in fixed point altogether.
EPSILON = 0.0
MASKED = 1e4  # taken from the score of what is no token; its exponential is 0


def normalized(name: str) -> nn.LayerNorm:
    """A layer normalization whose variance is that of centred values."""
    return nn.LayerNorm(epsilon=EPSILON, use_fast_variance=False, name=name)


class Layer(nn.Module):
    """Self-attention and an MLP with GELU, each normalized after it is added to its input."""

    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x: Array, bias: Array | None) -> Array:
        """From float[..., tokens, width]; `bias` is added to scores, [..., 1, 1, tokens]."""
        width = x.shape[-1]
        split = self.heads, width // self.heads
        q, k, v = (nn.DenseGeneral(split, name=name)(x) for name in ("query", "key", "value"))
        mixed = nn.dot_product_attention(q, k, v, bias=bias)
        out = nn.DenseGeneral(width, axis=(-2, -1), name="out")(mixed)
        x = normalized("attention_norm")(x + out)
        hidden = nn.gelu(nn.Dense(self.hidden, name="hidden")(x), approximate=False)
        return normalized("output_norm")(x + nn.Dense(width, name="output")(hidden))


class Layers(nn.Module):
    """Layers one after another, the mean of what the last gives, scaled to length 1."""

    count: int = 6
    heads: int = 12
    hidden: int = 1536

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """From float[..., tokens, width] to float[..., width]; `mask` as for the encoder."""
        bias = None if mask is None else MASKED * (mask - 1)[..., None, None, :]
        for i in range(self.count):
            x = Layer(self.heads, self.hidden, name=f"layer{i}")(x, bias)
        tokens = x.shape[-2]
        total = x.sum(-2) if mask is None else jnp.einsum("...t,...tw->...w", mask, x)
        return unit(total / tokens)


class Encoder(nn.Module):
    """A sentence encoder; by default of the sizes of all-MiniLM-L6-v2.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jsmpc.examples.sentences.encoder import Encoder, Layers
      >>> encoder = Encoder(vocabulary=7, width=8, layers=Layers(count=1, heads=2, hidden=16))
      >>> tokens = jax.nn.one_hot(jnp.array([1, 4, 2]), 7)
      >>> encoder.init_with_output(jax.random.key(0), tokens)[0].shape
      (8,)
    """

    vocabulary: int = 30522
    positions: int = 512
    width: int = 384
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, tokens: Array, mask: Array | None = None) -> Array:
        """The embedding, float[..., width], of a sentence.

        Args:
          tokens: float[..., tokens, vocabulary], each 1 where the word is and 0 elsewhere, so that
            a secret word is looked up by one product.
          mask: float[..., tokens], 1 for tokens and 0 for padding; all are tokens by default.
        """
        words = self._table("words", self.vocabulary)
        x = tokens @ words + self._table("positions", self.positions)[: tokens.shape[-2]]
        return self.layers(normalized("embedding_norm")(x), mask)

    def _table(self, name: str, rows: int) -> Array:
        return self.param(name, nn.initializers.normal(0.02), (rows, self.width))


def unit(x: Array) -> Array:
    """Vectors scaled to length 1; the mean over tokens is one up to its length."""
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True))
