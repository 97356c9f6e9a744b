"""`jsmpc federated`: MNIST learnt by many clients who keep their images, beside plain averages."""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jsmpc import BudgetError, Protocol, federated
from jsmpc.examples import cli
from jsmpc.examples.datasets.mnist import Mnist, normalize

MODEL = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(10)])
AGGREGATIONS = ("mean", "median", "trimmed")
_TRIMMED = 10  # of each side, a hundred clients of a round
_EVERY = 10  # rounds from one test to the next, at most
_POINTS = 5  # of a curve, at least


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="jsmpc federated",
        description="Train 784-128-10 on MNIST by federated averaging: clients keep their images, "
        "and their updates are shared among aggregators, who reveal the aggregate alone; the same "
        "in the clear beside it.",
    )
    cli.add_protocol(parser)
    add = parser.add_argument_group("federation").add_argument
    add("--clients", type=cli.integer(2), default=100, metavar="N", help="default: 100")
    add("--per-round", type=cli.integer(1), default=10, metavar="N", help="default: 10")
    add("--rounds", type=cli.integer(1), default=30, metavar="N", help="default: 30")
    add("--alpha", type=cli.positive, metavar="A", help="of a Dirichlet split by label")
    add("--steps", type=cli.integer(1), default=20, metavar="N", help="of a client, default: 20")
    add("--epochs", type=cli.integer(1), metavar="N", help="of a client, in the place of steps")
    add("--batch-size", type=cli.integer(1), default=20, metavar="N", help="default: 20")
    add("--learning-rate", type=cli.positive, default=0.1, metavar="RATE", help="default: 0.1")
    add(
        "--aggregate",
        choices=("secure", *AGGREGATIONS, *(f"secure-{name}" for name in AGGREGATIONS[1:])),
        default="secure",
        help="secure (the mean of shares, the default), in the clear mean, median or trimmed, or "
        "these on shares",
    )
    private = parser.add_argument_group(
        "differential privacy of clients", "of secure or mean, with either of the first two"
    ).add_argument
    private("--noise", type=cli.positive, metavar="Z", help="its deviation over the clip")
    private(
        "--epsilon",
        type=cli.positive,
        metavar="E",
        help="the budget: it stops the run; without --noise, the noise is what the rounds cost it",
    )
    private("--delta", type=cli.positive, default=1e-5, metavar="D", help="default: 1e-5")
    private("--clip", type=cli.positive, default=1.0, metavar="C", help="of updates, default: 1")
    add("--plot", type=Path, metavar="FILE", help="save the test accuracies as a picture")
    cli.add_seed(add)
    cli.add_data(parser)
    return parser


def loss(params: Any, batch: Any) -> Any:
    """The cross-entropy of each image."""
    logits = MODEL.apply(params, batch["x"])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments of `jsmpc federated` ask for; the exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        protocol = cli.make_protocol(options)
        data = cli.load_mnist(options.data, download=options.download)
        learning = federation(options, protocol)
        clients = split(options, data)
        learning.require(clients)
        if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
            raise ValueError("--plot takes Matplotlib, which is missing: pip install matplotlib")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    kept = f"{options.clients} clients, {options.per_round} a round"
    print(f"{len(data.x_train):,} images at {kept}; aggregate: {options.aggregate}")
    curves = {}
    ways = {options.aggregate: learning}
    if options.aggregate != "mean" or learning.privacy is not None:
        plain = {"aggregate": "mean", "noise": None, "epsilon": None}
        clear = argparse.Namespace(**{**vars(options), **plain})
        ways["in the clear"] = federation(clear, protocol)
    for name, chosen in ways.items():
        start = time.perf_counter()
        curves[name], state = learn(chosen, clients, data, options)
        seconds = time.perf_counter() - start
        print(f"{name:<14} {curves[name][-1][1]:6.1%} of test images right, {seconds:.1f} s")
        if chosen.privacy is not None and state.privacy is not None:
            tell_cost(chosen.privacy, state.privacy)
    if options.plot is not None:
        plot(curves, options.plot)
    return 0


def federation(options: argparse.Namespace, protocol: Protocol) -> federated.Federation:
    """The way of learning that the options name."""
    trimmed = max(1, options.per_round * _TRIMMED // 100)
    name = options.aggregate.removeprefix("secure").removeprefix("-") or "mean"
    aggregate: Any = {
        "mean": federated.mean,
        "median": federated.median,
        "trimmed": federated.trimmed_mean(trimmed),
    }[name]
    if options.aggregate.startswith("secure"):
        aggregate = federated.securely(aggregate, protocol)
    optimizer = optax.sgd(options.learning_rate)
    batch: Any = {"batch": options.batch_size}
    if options.epochs is None:
        work = federated.local_steps(loss, optimizer, steps=options.steps, **batch)
    else:
        work = federated.local_epochs(loss, optimizer, epochs=options.epochs, **batch)
    return federated.Federation(
        work,
        optax.sgd(1.0),
        options.per_round,
        aggregate,
        chunk=math.gcd(options.per_round, 10),
        privacy=privacy(options),
    )


def privacy(options: argparse.Namespace) -> federated.Privacy | None:
    """The differential privacy that the options ask for, if they do."""
    if options.noise is None and options.epsilon is None:
        return None
    if options.aggregate not in ("secure", "mean"):
        raise ValueError(
            f"differential privacy is of secure or mean, not {options.aggregate}: leave out "
            "--noise and --epsilon"
        )
    noise = options.noise or federated.noise_for(
        options.epsilon,
        options.delta,
        options.rounds,
        clients=options.clients,
        per_round=options.per_round,
        chunk=math.gcd(options.per_round, 10),
    )
    return federated.Privacy(noise, options.clip, options.delta, options.epsilon or math.inf)


def tell_cost(privacy: federated.Privacy, spent: federated.Spent) -> None:
    """Prints what a private run has cost, and of what."""
    rounds = sum(uses for _, uses in spent.ledger)
    print(
        f"  ε = {privacy.spent(spent):.2f} at δ = {privacy.delta:g} after {rounds} rounds, "
        f"noise {privacy.noise:.2f} × clip {privacy.clip:g}"
    )


def split(options: argparse.Namespace, data: Mnist) -> federated.Clients:
    """The clients' images and labels."""
    key, labels = jax.random.key(options.seed), data.y_train.astype(np.int32)
    if options.alpha is None:
        parts = federated.equal(key, len(labels), options.clients)
    else:
        parts = federated.dirichlet(key, labels, options.clients, options.alpha)
    return federated.Clients.of({"x": normalize(data.x_train), "y": labels}, parts)


def learn(
    learning: federated.Federation,
    clients: federated.Clients,
    data: Mnist,
    options: argparse.Namespace,
) -> tuple[list[tuple[int, float]], federated.State]:
    """The share of test images that are right, after some rounds each time and after the last, and
    the state then. A run whose privacy budget is spent ends early."""
    key = jax.random.key(options.seed)
    state = learning.init(MODEL.init(key, normalize(data.x_train[:1])))
    images, labels = normalize(data.x_test), jnp.asarray(data.y_test)
    found: list[tuple[int, float]] = []

    @jax.jit
    def right(params: Any) -> Any:
        logits: Any = MODEL.apply(params, images)
        return (logits.argmax(-1) == labels).mean()

    reached, last = 0, state

    def test(number: int, after: federated.State, _: federated.Metrics) -> None:
        nonlocal reached, last
        reached, last = number + 1, after
        if reached % every == 0 or reached == options.rounds:
            found.append((reached, float(right(last.params))))

    every = min(_EVERY, max(1, options.rounds // _POINTS))
    rounds, key = options.rounds, jax.random.fold_in(key, 1)
    try:
        federated.run(learning, key, state, clients, rounds, watch=test, progress=True)
    except BudgetError as error:
        print(f"round {reached + 1} of {rounds}: {error}")
        found.append((reached, float(right(last.params))))
    return found, last


def plot(curves: dict[str, list[tuple[int, float]]], file: Path) -> None:
    """Saves the accuracies of runs as a picture."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    for name, points in curves.items():
        ax.plot(*zip(*points, strict=True), marker=".", label=name)
    ax.set(xlabel="round", ylabel="test images right", ylim=(0, 1))
    ax.legend(frameon=False)
    figure.savefig(file)
    plt.close(figure)
    print(file)
