"""Training with everything secret: its functions on small networks, and `python -m jsmpc train`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jsmpc
from jsmpc._src.api.share import is_share
from jsmpc.examples import command, mnist, training
from jsmpc.examples.datasets.mnist import Mnist, load_mnist

KEY = jax.random.key(5)
REPLICATED = jsmpc.Replicated3()
SGD = optax.sgd(0.1)


class Small(nn.Module):
    """784-4-10."""

    @nn.compact
    def __call__(self, images: Any) -> Any:
        hidden = nn.relu(nn.Dense(4)(images))
        return nn.Dense(10)(hidden)


MODEL = Small()


@pytest.fixture(scope="module")
def data() -> Mnist:
    return load_mnist()


def agree(ours: Any, theirs: Any, tolerance: float) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


def both(data: Mnist, protocol: jsmpc.Protocol, optimizer: Any = SGD, **options: Any) -> Any:
    """Four steps in the clear and in secret, of eight images each."""
    params, order = training.initial_params(MODEL), training.schedule(40, 8, 4)
    setting = MODEL, optimizer, params, data, order
    return training.train(*setting), training.train(*setting, protocol, key=KEY, **options)


# --- the functions ----------------------------------------------------------------------------


def test_a_schedule_takes_every_image_once_an_epoch() -> None:
    order = training.schedule(10, 5, 4, seed=1)
    assert order.shape == (4, 5)
    for epoch in (order[:2], order[2:]):
        assert sorted(epoch.ravel()) == list(range(10))
    assert (order[:2] != order[2:]).any()
    np.testing.assert_array_equal(order[:3], training.schedule(10, 5, 3, seed=1))
    assert (order != training.schedule(10, 5, 4, seed=2)).any()


def test_a_schedule_of_few_images() -> None:
    assert training.schedule(10, 4, 5).shape == (5, 4)  # two of ten are left out
    assert training.schedule(3, 128, 2).shape == (2, 3)
    for sizes in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match="at least one image"):
            training.schedule(*sizes)


def test_training_in_the_clear_learns(data: Mnist) -> None:
    model, order = training.MODELS["mlp"], training.schedule(4000, 128, 60)
    trained = training.train(model, SGD, training.initial_params(model), data, order)
    assert trained.losses.shape == (60,)
    assert trained.losses[-10:].mean() < 0.6 < 2 < trained.losses[0]
    assert trained.seconds > trained.first_call > trained.per_step > 0 <= trained.sharing
    assert mnist.evaluate_plain(trained.params, data.x_test, data.y_test, model) > 800


@pytest.mark.parametrize("protocol", [REPLICATED, jsmpc.SecureNN()], ids=repr)
def test_private_training_is_plain_training(data: Mnist, protocol: jsmpc.Protocol) -> None:
    plain, private = both(data, protocol, reveal_losses=True, call_steps=3)  # 2 calls of 2
    agree(private.losses, plain.losses, 1e-3)
    assert all(map(is_share, jax.tree.leaves(private.params, is_leaf=is_share)))
    agree(jsmpc.reveal(private.params), plain.params, 1e-3)
    assert private.seconds > private.first_call > private.per_step > 0 < private.sharing


def test_the_first_call_is_no_step(data: Mnist) -> None:
    params = training.initial_params(MODEL)

    def trained(steps: int) -> training.Training:
        return training.train(MODEL, SGD, params, data, training.schedule(40, 2, steps))

    assert trained(1).per_step is None
    some = trained(4)
    assert some.per_step is not None and some.per_step < some.first_call / 2


def test_losses_are_revealed_on_demand_only(data: Mnist, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something is revealed")

    monkeypatch.setattr(jsmpc, "reveal", refuse)
    order = training.schedule(8, 4, 1)
    params = training.initial_params(MODEL)
    assert (
        training.train(MODEL, SGD, params, data, order, jsmpc.testing.InsecurePlain()).losses
        is None
    )
    with pytest.raises(AssertionError, match="something is revealed"):
        training.train(
            MODEL, SGD, params, data, order, jsmpc.testing.InsecurePlain(), reveal_losses=True
        )


def test_an_optimizer_with_a_state(data: Mnist) -> None:
    finer = jsmpc.testing.InsecurePlain(encoding=jsmpc.FixedPoint(precision_fractional=24))
    plain, private = both(data, finer, optax.adam(0.01, b2=0.9, eps=1e-2), call_steps=2)
    agree(jsmpc.reveal(private.params), plain.params, 1e-3)


def test_one_step_of_lenet(data: Mnist) -> None:
    model, order = training.MODELS["lenet"], training.schedule(40, 2, 1)
    setting = model, SGD, training.initial_params(model), data, order
    plain = training.train(*setting)
    private = training.train(*setting, REPLICATED, reveal_losses=True, key=KEY)
    assert jax.tree.map(jnp.shape, plain.params["params"])["Conv_1"]["kernel"] == (5, 5, 20, 50)
    agree(private.losses, plain.losses, 1e-3)
    agree(jsmpc.reveal(private.params), plain.params, 1e-3)


def test_every_sharing_and_call_has_its_own_key(
    data: Mnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[bytes] = []
    share = jsmpc.share

    def spy_share(key: jax.Array, *args: object) -> object:
        keys.append(np.asarray(key).tobytes())
        return share(key, *args)

    def skip_run(_: object, key: jax.Array, state: object, __: object) -> object:
        keys.append(np.asarray(key).tobytes())
        return state, None

    monkeypatch.setattr(jsmpc, "share", spy_share)
    monkeypatch.setattr(jsmpc.SecureFunction, "__call__", skip_run)

    def used(key: jax.Array | None) -> list[bytes]:
        keys.clear()
        params, order = training.initial_params(MODEL), training.schedule(8, 2, 4)
        training.train(
            MODEL, SGD, params, data, order, jsmpc.testing.InsecurePlain(), call_steps=2, key=key
        )
        return list(keys)

    fresh = used(None)
    assert len(fresh) == len(set(fresh)) == 1 + 2 + 2
    assert not set(fresh) & set(used(None))
    assert used(KEY) == used(KEY)


def test_shares_of_a_model_are_evaluated(data: Mnist) -> None:
    params, images, labels = training.initial_params(MODEL), data.x_test[:20], data.y_test[:20]
    shares = jsmpc.share(jsmpc.random_key(), params, REPLICATED)
    found = mnist.evaluate_private(shares, images, labels, REPLICATED, model=MODEL)
    assert abs(found.correct - mnist.evaluate_plain(params, images, labels, MODEL)) <= 1
    with pytest.raises(jsmpc.ProtocolError, match="two protocols"):
        mnist.evaluate_private(shares, images, labels, jsmpc.testing.InsecurePlain(), model=MODEL)


# --- the command ------------------------------------------------------------------------------


def test_the_command_prints_both_accuracies() -> None:
    arguments = (
        "train --protocol insecure-plain --steps 60 --batch-size 32 --images 40 --reveal-losses"
    )
    run = subprocess.run(
        [sys.executable, "-m", "jsmpc", *arguments.split()],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert run.returncode == 0, run.stderr
    text = " ".join(run.stdout.split())
    plain, private = map(int, re.findall(r"(\d+) of 40 correct, [\d.]+%; trained in", text))
    assert abs(plain - private) <= 1 and private >= 25
    losses = re.search(r"loss plain ([\d.]+), private ([\d.]+); mean of the last 20 steps", text)
    assert losses and float(losses[1]) == pytest.approx(float(losses[2]), rel=0.03)
    assert "network mlp; 60 steps of SGD with 32 images each" in text
    assert re.search(r"a step [\d.]+ ms", text)
    assert "the number of correct answers in all, once, at the end; the loss of each step" in text
    assert "computes in the clear and hides nothing" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--model resnet", "invalid choice: 'resnet'"),
        ("--epochs 0", "argument --epochs: must be at least 1, not 0"),
        ("--steps few", "argument --steps: 'few' is not an integer"),
        ("--epochs 1 --steps 1", "not allowed with argument"),
        ("--batch-size 0", "argument --batch-size: must be at least 1, not 0"),
        ("--batch-size 4001", "--batch-size: 4,001 wanted, the training set has 4,000"),
        ("--learning-rate 0", "argument --learning-rate: must be positive and finite, not 0"),
        ("--learning-rate nan", "must be positive and finite, not nan"),
        ("--learning-rate fast", "argument --learning-rate: 'fast' is not a number"),
        ("--images 5000", "--images: 5,000 wanted, the test set has 1,000"),
        ("--parties 2", "exactly 3 parties"),
        ("--data missing.npz", "missing.npz does not exist"),
        ("--optimizer adam", "unrecognized arguments: --optimizer"),
    ],
)
def test_wrong_arguments(
    arguments: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ending:
        command.main(["train", *arguments.split()])
    assert ending.value.code == 2
    assert message in capsys.readouterr().err
