"""The field's models train under a plan of scales as in float32: by how far parameters move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from field_models import EXAMPLES
from jsmpc.testing import InsecurePlain

STEPS = 20
KEY = jax.random.key(1)
pytestmark = pytest.mark.filterwarnings("ignore::jsmpc.EncodingWarning")


def shared(smpc, tree):
    """Shares of all but keys."""
    return jax.tree.map(lambda x: x if x.dtype == jnp.uint32 else jsmpc.share(KEY, x, smpc), tree)


def away(example, smpc):
    """How far trained parameters are from those of float32, relative to how far these moved."""
    args = (example.params, *example.batches)
    plan = jsmpc.calibrate(example.train, args, protocol=smpc)
    found = jsmpc.reveal(jsmpc.secure(example.train, scales=plan)(KEY, *shared(smpc, args)))
    exact = jax.jit(example.train)(*args)

    def distance(x, y):
        pairs = zip(*map(jax.tree.leaves, (x, y)), strict=True)
        return np.sqrt(sum(np.sum((a - b) ** 2) for a, b in pairs))

    return distance(found, exact) / distance(exact, example.params)


@pytest.mark.parametrize("name", ["nnx_mnist", "seq2seq", "transformer", "resnet"])
def test_training_is_that_of_float32(name):
    assert away(EXAMPLES[name](STEPS), InsecurePlain()) < 0.005


def test_training_among_parties_is_that_of_float32():
    assert away(EXAMPLES["vae"](STEPS), jsmpc.Replicated3()) < 0.005
