"""The main job: its functions on small data, and the command from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc.examples import cli, command, mnist
from jsmpc.examples.datasets.mnist import Mnist, load_mnist, normalize

PROTOCOLS = {
    "replicated": jsmpc.Replicated3(),
    "additive": jsmpc.Additive(("bob", "alice"), dealer="james"),
    "securenn": jsmpc.SecureNN(("bob", "alice"), helper="james"),
    "fss2": jsmpc.FSS2(("bob", "alice"), dealer="james"),
    "plain": jsmpc.testing.InsecurePlain(),
}


@pytest.fixture(scope="module")
def data() -> Mnist:
    return load_mnist()


@pytest.fixture(scope="module")
def params(data: Mnist) -> mnist.Params:
    return mnist.train(data, epochs=1)


# --- training ---------------------------------------------------------------------------------


def test_one_epoch_of_adam_classifies_the_sample(data: Mnist, params: mnist.Params) -> None:
    assert mnist.evaluate_plain(params, data.x_test, data.y_test) >= 880


def test_sgd_learns(data: Mnist) -> None:
    params = mnist.train(data, "sgd", epochs=1)
    assert mnist.evaluate_plain(params, data.x_test, data.y_test) >= 750


def test_training_repeats_with_its_seed(data: Mnist) -> None:
    few = Mnist(data.x_train[:100], data.y_train[:100], data.x_test, data.y_test)
    first, same, other = (mnist.train(few, epochs=2, seed=s) for s in (7, 7, 8))
    for a, b, c in zip(*map(jax.tree.leaves, (first, same, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(np.asarray(a) != np.asarray(c))


def test_no_epochs_leave_the_initial_weights(data: Mnist) -> None:
    trained, initial = mnist.train(data, epochs=0, seed=3), mnist.initial_params(3)
    jax.tree.map(np.testing.assert_array_equal, trained, initial)


def test_batches_are_cut_to_the_data(data: Mnist) -> None:
    few = Mnist(data.x_train[:5], data.y_train[:5], data.x_test, data.y_test)
    trained, initial = mnist.train(few, epochs=1), mnist.initial_params(0)
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), trained, initial)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lion"}, "adam, sgd"),
        ({"epochs": -1}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_training_options(data: Mnist, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mnist.train(data, **options)


def test_training_needs_images(data: Mnist) -> None:
    with pytest.raises(ValueError, match="at least one training image"):
        mnist.train(Mnist(data.x_train[:0], data.y_train[:0], data.x_test, data.y_test))


# --- private evaluation -----------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOCOLS)
def test_private_count_is_the_plain_one(name: str, data: Mnist, params: mnist.Params) -> None:
    count = 50 if name == "plain" else 40  # with a remainder, or without another compilation
    images, labels = data.x_test[:count], data.y_test[:count]
    result = mnist.evaluate_private(params, images, labels, PROTOCOLS[name], batch_size=20)
    assert abs(result.correct - mnist.evaluate_plain(params, images, labels)) <= 1
    assert result.total == count
    assert result.accuracy == result.correct / count
    assert result.first_call > result.per_image > 0
    assert result.sharing > 0
    if name == "plain":
        assert result.cost.rounds == 0
    else:
        assert result.cost.rounds > 0
        assert min(result.cost.bytes_sent) > 0
        assert (result.cost.dealer_bytes > 0) == (PROTOCOLS[name].dealer is not None)


def test_a_single_batch_is_counted_once(data: Mnist, params: mnist.Params) -> None:
    images, labels = data.x_test[:7], data.y_test[:7]
    result = mnist.evaluate_private(
        params, images, labels, jsmpc.testing.InsecurePlain(), batch_size=50
    )
    assert result.correct == mnist.evaluate_plain(params, images, labels)
    assert result.first_call > result.per_image > 0


def test_every_sharing_and_run_has_its_own_key(
    data: Mnist, params: mnist.Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[bytes] = []
    share = jsmpc.share

    def spy_share(key: jax.Array, *args: object) -> object:
        keys.append(np.asarray(key).tobytes())
        return share(key, *args)

    def skip_run(_: object, key: jax.Array, total: jsmpc.Share, *__: object) -> jsmpc.Share:
        keys.append(np.asarray(key).tobytes())
        return total

    monkeypatch.setattr(jsmpc, "share", spy_share)
    monkeypatch.setattr(jsmpc.SecureFunction, "__call__", skip_run)
    monkeypatch.setattr(jsmpc.SecureFunction, "cost", lambda *_: None)

    def used(key: jax.Array | None) -> list[bytes]:
        keys.clear()
        images, labels = data.x_test[:4], data.y_test[:4]
        mnist.evaluate_private(
            params, images, labels, jsmpc.testing.InsecurePlain(), batch_size=2, key=key
        )
        return list(keys)

    fresh = used(None)
    assert len(fresh) == len(set(fresh)) == 1 + 2 + 2
    assert not set(fresh) & set(used(None))
    assert used(jax.random.key(1)) == used(jax.random.key(1))


def test_score_runs_in_the_clear_and_in_secret(data: Mnist, params: mnist.Params) -> None:
    images, labels = jnp.asarray(normalize(data.x_test[:10])), data.y_test[:10].astype(np.int32)
    plain = mnist.score(params, images, labels)
    shares = jsmpc.share(jsmpc.random_key(), (params, images, labels), PROTOCOLS["plain"])
    private = jsmpc.secure(mnist.score)(jsmpc.random_key(), *shares)
    assert isinstance(private, jax.Array)
    assert int(private) == int(plain)


def test_evaluation_needs_images_labels_and_batches(data: Mnist, params: mnist.Params) -> None:
    images, labels = data.x_test, data.y_test
    with pytest.raises(ValueError, match="at least one image"):
        mnist.evaluate_private(params, images[:0], labels[:0], jsmpc.testing.InsecurePlain())
    with pytest.raises(ValueError, match="equal lengths"):
        mnist.evaluate_private(params, images[:2], labels[:3], jsmpc.testing.InsecurePlain())
    with pytest.raises(ValueError, match="size must be at least 1"):
        mnist.evaluate_private(params, images, labels, jsmpc.testing.InsecurePlain(), batch_size=0)


def test_weights_that_cannot_be_encoded(data: Mnist, params: mnist.Params) -> None:
    broken = jax.tree.map(lambda w: w.at[0].set(jnp.nan), params)
    with pytest.raises(jsmpc.EncodingError, match="NaN"):
        mnist.evaluate_private(
            broken, data.x_test[:2], data.y_test[:2], jsmpc.testing.InsecurePlain()
        )


# --- the command ------------------------------------------------------------------------------


def test_the_command_prints_both_accuracies() -> None:
    arguments = "--protocol insecure-plain --epochs 1 --images 30 --batch-size 10"
    run = subprocess.run(
        [sys.executable, "-m", "jsmpc", *arguments.split()],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert run.returncode == 0, run.stderr
    plain, private = map(int, re.findall(r"(\d+) of 30 correct", run.stdout))
    assert plain == private >= 20
    assert re.search(r"an image +[\d.]+ ms, in batches of 10", run.stdout)
    assert re.search(r"first call +[\d.]+ s", run.stdout)
    assert "computes in the clear and hides nothing" in run.stdout


def test_the_report_names_parties_costs_and_assumptions(capsys: pytest.CaptureFixture[str]) -> None:
    protocol = PROTOCOLS["additive"]
    cost = jsmpc.Cost(40, (1234, 5678), 91011, {}, protocol.parties)
    cli.report(mnist.Evaluation(9, 10, 1.5, 0.0004, 0.25, cost), protocol, 5)
    text = " ".join(capsys.readouterr().out.split())
    assert "an image 0.400 ms, in batches of 5" in text
    assert "first call 1.5 s" in text
    assert "40 rounds; bytes sent: bob 1,234, alice 5,678" in text
    assert "91,011 bytes from james, beforehand" in text
    assert "revealed the number of correct answers in all" in text
    assert "up to 1 of the 2 parties are corrupt and james colludes with none of them" in text
    assert "hides nothing from this machine" in text
    assert cli.describe(protocol) == (
        "Additive (bob, alice; dealer: james), 64-bit ring, 18 bits behind the point"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--protocol shamir", "invalid choice: 'shamir'"),
        ("--bits 16", "invalid choice: 16"),
        ("--base 3", "invalid choice: 3"),
        ("--optimizer lion", "invalid choice: 'lion'"),
        ("--batch-size 0", "argument --batch-size: must be at least 1, not 0"),
        ("--batch-size few", "argument --batch-size: 'few' is not an integer"),
        ("--images 0", "argument --images: must be at least 1"),
        ("--images 5000", "--images: 5,000 wanted, the test set has 1,000"),
        ("--epochs -1", "argument --epochs: must be at least 0"),
        ("--seed 4294967296", "argument --seed: must be at most 4294967295"),
        ("--precision 40", "too fine for a ring of 64 bits"),
        ("--bits 32 --base 10 --precision 5", "too fine for a ring of 32 bits"),
        ("--parties 2", "exactly 3 parties"),
        ("--parties a b", "exactly 3 parties"),
        ("--protocol additive --parties 1", "at least 2 parties"),
        ("--protocol additive --parties a a", "names must differ"),
        ("--protocol additive --parties a b --dealer a", "must not be one of the parties"),
        ("--dealer james", "the replicated protocol has no dealer"),
        ("--protocol insecure-plain --parties 3", "exactly 1 party"),
        ("--data missing.npz", "missing.npz does not exist"),
        ("--data .", "holds no MNIST"),
        ("surplus", "unrecognized arguments: surplus"),
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
        command.main(arguments.split())
    assert ending.value.code == 2
    assert message in capsys.readouterr().err


def test_data_without_test_images(
    data: Mnist, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "empty.npz"
    empty = data._replace(x_test=data.x_test[:0], y_test=data.y_test[:0])
    np.savez(path, **empty._asdict())
    with pytest.raises(SystemExit):
        command.main(["--data", str(path)])
    assert "at least one training image and one test image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", jsmpc.Replicated3()),
        ("--bits 32 --parties a b c", jsmpc.Replicated3(("a", "b", "c"), 32)),
        ("--protocol additive --parties 3", jsmpc.Additive(("party0", "party1", "party2"))),
        (
            "--protocol additive --base 10 --precision 4",
            jsmpc.Additive(encoding=jsmpc.FixedPoint(10, 4)),
        ),
        ("--protocol insecure-plain", jsmpc.testing.InsecurePlain()),
    ],
)
def test_the_protocol_is_that_of_the_arguments(arguments: str, expected: jsmpc.Protocol) -> None:
    options = cli.make_parser().parse_args(arguments.split())
    assert cli.make_protocol(options) == expected
