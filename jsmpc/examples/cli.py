"""What the command `jsmpc` does in one process.

By default it trains on MNIST in the clear and evaluates in secret; `jsmpc train` does both in
secret; `jsmpc federated` learns at clients who keep their images; `jsmpc sentences` searches by
meaning; `jsmpc supported` lists what of JAX can be computed on secrets, `jsmpc protocols` what the
protocols cost.
"""

from __future__ import annotations

import argparse
import math
import platform
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import optax

import jsmpc
from jsmpc import extend
from jsmpc._src.api import protocol_costs
from jsmpc._src.interpreter import support
from jsmpc._src.kernels import native
from jsmpc.examples import mnist, training
from jsmpc.examples.datasets.mnist import Mnist, load_mnist

# Epochs of private training on the packaged sample.
EPOCHS = {"mlp": 5, "lenet": 2}


def run_command(arguments: Sequence[str]) -> int:
    """Do what the arguments of `jsmpc` ask for in this process; the exit code."""
    if arguments[:1] == ["supported"]:
        return list_supported(arguments[1:])
    if arguments[:1] == ["protocols"]:
        return list_protocols(arguments[1:])
    if arguments[:1] == ["train"]:
        return on_mnist(make_training_parser(), run_training, arguments[1:])
    if arguments[:1] == ["sentences"]:
        from jsmpc.examples.sentences import command  # which prints as this module does

        return command.run(arguments[1:])
    if arguments[:1] == ["federated"]:
        from jsmpc.examples import federated  # which takes its arguments from this module

        return federated.run(arguments[1:])
    return on_mnist(make_parser(), run, arguments)


def list_supported(arguments: Sequence[str]) -> int:
    """`jsmpc supported`: print what of JAX can be computed on secrets, or write it into a file."""
    parser = make_support_parser()
    return print_or_write(parser, arguments, jsmpc.supported, support.written)


def list_protocols(arguments: Sequence[str]) -> int:
    """`jsmpc protocols`: print what the protocols cost, or write it into a file."""
    parser = make_protocols_parser()
    return print_or_write(parser, arguments, protocol_costs.table, protocol_costs.written)


def print_or_write(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    table: Callable[[], object],
    written: Callable[[str], str],
) -> int:
    """Print a table, or put it between its markers in the file that `--write` names."""
    options = parser.parse_args(arguments)
    if options.write is None:
        print(table())
        return 0
    try:
        text = options.write.read_text()
        options.write.write_text(written(text))
    except (OSError, ValueError) as error:
        parser.error(f"--write: {error}")
    return 0


def on_mnist(
    parser: argparse.ArgumentParser, job: Callable[..., None], arguments: Sequence[str]
) -> int:
    """Run a job with the protocol and the images that the arguments name."""
    options = parser.parse_args(arguments)
    try:
        protocol = make_protocol(options)
        data = load_mnist(options.data, download=options.download)
        count = image_count(options.images, data)
        check_batch_size(options.batch_size, data)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        job(options, protocol, data, count)
    except jsmpc.EncodingError as error:
        parser.error(str(error))
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="jsmpc",
        description="Train a 784-500-10 network on MNIST in the clear, then count its correct "
        "answers with weights, images, labels and predictions secret-shared.",
        epilog="`jsmpc train` trains in secret as well, `jsmpc federated` learns at clients who "
        "keep their images, `jsmpc sentences` searches by meaning, `jsmpc supported` lists what of "
        "JAX can be computed on secrets; see their --help.",
    )
    parser.add_argument("--version", action="version", version=version())
    add_protocol(parser)
    add = parser.add_argument_group("private evaluation").add_argument
    add("--batch-size", type=integer(1), default=50, metavar="N", help="images, default: 50")
    add("--images", type=integer(1), metavar="N", help="test images to classify, default: all")
    add = parser.add_argument_group("training in the clear").add_argument
    add("--epochs", type=integer(0), default=10, metavar="N", help="default: 10")
    add(
        "--optimizer",
        choices=tuple(mnist.OPTIMIZERS),
        default="adam",
        help="adam (learning rate 0.001, the default) or sgd (0.01)",
    )
    add_seed(add)
    add_data(parser)
    return parser


def make_training_parser() -> argparse.ArgumentParser:
    """The arguments of `jsmpc train`."""
    parser = argparse.ArgumentParser(
        prog="jsmpc train",
        description="Train a network on MNIST with images, labels, weights and gradients "
        "secret-shared, and beside it in the clear from the same start on the same batches; then "
        "count the correct answers of both.",
    )
    add_protocol(parser)
    group = parser.add_argument_group("training, by SGD")
    add, length = group.add_argument, group.add_mutually_exclusive_group().add_argument
    add(
        "--model",
        choices=tuple(training.MODELS),
        default="mlp",
        help="mlp (784-128-10, the default) or lenet (two convolutions, two dense layers)",
    )
    length(
        "--epochs",
        type=integer(1),
        metavar="N",
        help="default: 1; with the packaged sample "
        + ", ".join(f"{epochs} ({model})" for model, epochs in EPOCHS.items()),
    )
    length("--steps", type=integer(1), metavar="N", help="steps instead of epochs")
    add("--batch-size", type=integer(1), metavar="N", help="images a step, default: 128")
    add("--learning-rate", type=positive, default=0.1, metavar="RATE", help="default: 0.1")
    add("--reveal-losses", action="store_true", help="disclose and compare the loss of each step")
    add_seed(add)
    add = parser.add_argument_group("private evaluation").add_argument
    add("--images", type=integer(1), metavar="N", help="test images to classify, default: all")
    add_data(parser)
    return parser


def make_support_parser() -> argparse.ArgumentParser:
    """The arguments of `jsmpc supported`."""
    parser = argparse.ArgumentParser(
        prog="jsmpc supported",
        description="List the primitives of the installed JAX: what each costs on secrets, how "
        "exact it is, or why it is refused.",
    )
    return add_write(parser)


def make_protocols_parser() -> argparse.ArgumentParser:
    """The arguments of `jsmpc protocols`."""
    parser = argparse.ArgumentParser(
        prog="jsmpc protocols",
        description="List the protocols: who may be corrupt, and what an element of a product, a "
        "comparison, an equality and a ReLU costs.",
    )
    return add_write(parser)


def add_write(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the argument that `print_or_write` reads."""
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="write the table between the markers of a Markdown file instead",
    )
    return parser


def version() -> str:
    """The versions that a report of a fault should name."""
    python = platform.python_version()
    versions = f"jsmpc {jsmpc.__version__}, JAX {jax.__version__}, Python {python}"
    return f"{versions}; kernels: {kernels()}"


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `make_protocol` reads."""
    add = parser.add_argument_group("secret computation").add_argument
    add(
        "--protocol",
        choices=list(extend.PROTOCOLS),
        default="replicated",
        help="default: %(default)s",
    )
    add(
        "--parties",
        nargs="+",
        metavar="PARTY",
        help="how many parties, or their names; by default the fewest that the protocol takes",
    )
    add("--dealer", metavar="NAME", help="name of the dealer, where the protocol has one")
    add("--bits", type=int, choices=(64, 32), default=64, help="width of the ring, default: 64")
    add("--base", type=int, choices=(2, 10), default=2, help="of the encoding, default: 2")
    add(
        "--precision",
        type=integer(0),
        metavar="DIGITS",
        help="digits behind the point, in the base (default: 18 bits in the 64-bit ring, 10 bits "
        "in the 32-bit ring, 3 decimal digits)",
    )


def add_seed(add: Callable[..., object]) -> None:
    add(
        "--seed",
        type=integer(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of the training, default: 0; the shares use fresh entropy",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data").add_argument
    add("--data", metavar="PATH", help="MNIST as an .npz file or a directory of IDX files")
    add(
        "--download",
        action="store_true",
        help="fetch the full set once, into --data or the user's cache directory",
    )


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of integers from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}, not {value}")
        return value

    return parse


def positive(text: str) -> float:
    """A parser of positive, finite numbers."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be positive and finite, not {text}")
    return value


def make_protocol(options: argparse.Namespace) -> jsmpc.Protocol:
    """The protocol that the arguments ask for.

    Raises:
      ValueError: if its parties, dealer or encoding do not fit together.
    """
    encoding = jsmpc.FixedPoint(options.base, options.precision)
    parties = party_names(options.parties) if options.parties else None
    return extend.make_protocol(options.protocol, parties, options.bits, encoding, options.dealer)


def party_names(parties: Sequence[str]) -> tuple[str, ...]:
    """Names from a single number of parties, or the names themselves."""
    if len(parties) == 1 and parties[0].isdecimal():
        return tuple(f"party{i}" for i in range(int(parties[0])))
    return tuple(parties)


def image_count(wanted: int | None, data: Mnist) -> int:
    """How many test images to classify, by default all.

    Raises:
      ValueError: if there are not as many as wanted, or none to train on or to classify.
    """
    available = len(data.x_test)
    if not (available and len(data.x_train)):
        raise ValueError("the data must hold at least one training image and one test image")
    if wanted is not None and wanted > available:
        raise ValueError(f"--images: {wanted:,} wanted, the test set has {available:,}")
    return available if wanted is None else wanted


def check_batch_size(wanted: int | None, data: Mnist) -> None:
    """Raise ValueError for batches larger than the training set."""
    available = len(data.x_train)
    if (wanted or 0) > available:
        raise ValueError(f"--batch-size: {wanted:,} wanted, the training set has {available:,}")


def run(options: argparse.Namespace, protocol: jsmpc.Protocol, data: Mnist, count: int) -> None:
    """Train, evaluate in the clear and in secret, and print both."""
    images, labels = data.x_test[:count], data.y_test[:count]
    show("data", describe_data(options, data, count))
    show("network", f"784-500-10, ReLU; {options.optimizer}, {options.epochs} epochs")
    start = time.perf_counter()
    params = mnist.train(
        data, options.optimizer, epochs=options.epochs, seed=options.seed, progress=True
    )
    show("training", f"{time.perf_counter() - start:.1f} s, in the clear")
    show("protocol", describe(protocol))
    show("kernels", kernels())
    plain = mnist.evaluate_plain(params, images, labels)
    private = mnist.evaluate_private(
        params, images, labels, protocol, batch_size=options.batch_size, progress=True
    )
    print()
    show("plain Flax", answers(plain, count))
    show(type(protocol).__name__, answers(private.correct, count))
    print()
    report(private, protocol, min(options.batch_size, count))


def run_training(
    options: argparse.Namespace, protocol: jsmpc.Protocol, data: Mnist, count: int
) -> None:
    """Train in the clear and in secret, evaluate both, and print what was found."""
    images, labels = data.x_test[:count], data.y_test[:count]
    model, name = training.MODELS[options.model], type(protocol).__name__
    size = min(options.batch_size or 128, len(data.x_train))
    epochs = options.epochs or (EPOCHS[options.model] if is_packaged(options) else 1)
    steps = options.steps or epochs * (len(data.x_train) // size)
    order = training.schedule(len(data.x_train), size, steps, options.seed)
    params = training.initial_params(model, options.seed)
    setting = model, optax.sgd(options.learning_rate), params, data, order

    show("data", describe_data(options, data, count))
    show("network", f"{options.model}; {steps:,} steps of SGD with {size} images each")
    show("protocol", describe(protocol))
    show("kernels", kernels())
    plain = training.train(*setting, progress=True)
    private = training.train(*setting, protocol, reveal_losses=options.reveal_losses, progress=True)
    expected = mnist.evaluate_plain(plain.params, images, labels, model)
    found = mnist.evaluate_private(
        private.params, images, labels, protocol, model=model, progress=True
    )
    print()
    show("plain Flax", f"{answers(expected, count)}; trained in {plain.seconds:.1f} s")
    show(name, f"{answers(found.correct, count)}; trained in {private.seconds:.1f} s")
    print()
    if plain.losses is not None and private.losses is not None:
        last = min(20, steps)
        means = (f"{x.losses[-last:].mean():.4f}" for x in (plain, private) if x.losses is not None)
        show("loss", "plain {}, private {}".format(*means) + f"; mean of the last {last} steps")
    if private.per_step is not None:
        show("a step", f"{private.per_step * 1e3:.1f} ms, after the first call")
    show("first call", f"{private.first_call:.1f} s, tracing and compiling included")
    show("sharing", f"{private.sharing:.1f} s for weights, images and labels")
    revealed = "the number of correct answers in all, once, at the end"
    show("revealed", revealed + ("; the loss of each step" if options.reveal_losses else ""))
    show_trust(protocol, "what was revealed")


def is_packaged(options: argparse.Namespace) -> bool:
    return options.data is None and not options.download


def describe_data(options: argparse.Namespace, data: Mnist, count: int) -> str:
    """One line on the images."""
    source = "the packaged sample of MNIST" if is_packaged(options) else "MNIST"
    return f"{source}: {len(data.x_train):,} training and {count:,} test images"


def show(name: str, text: str) -> None:
    """Print a named line, wrapped under its own start."""
    print(textwrap.fill(f"{name:<12} {text}", 100, subsequent_indent=" " * 13), flush=True)


def describe(protocol: jsmpc.Protocol) -> str:
    """One line on a protocol, its parties, ring and encoding."""
    encoding = protocol.encoding
    digits = "bits" if encoding.base == 2 else "decimal digits"
    parties = ", ".join(protocol.parties)
    if protocol.dealer is not None:
        parties += f"; {protocol.dealt_by}: {protocol.dealer}"
    return (
        f"{type(protocol).__name__} ({parties}), {protocol.bits}-bit ring, "
        f"{encoding.precision_fractional} {digits} behind the point"
    )


def kernels() -> str:
    """One line on what computes: the native kernels, or why not."""
    reason = native.why_unavailable()
    return "native" if reason is None else f"XLA alone, more slowly: {reason}"


def answers(correct: int, total: int) -> str:
    return f"{correct:>6,} of {total:,} correct, {correct / total:.2%}"


def report(result: mnist.Evaluation, protocol: jsmpc.Protocol, batch_size: int) -> None:
    """Print what the private evaluation took, revealed, and relied on."""
    cost = result.cost
    show("an image", f"{result.per_image * 1e3:.3f} ms, in batches of {batch_size}")
    show("first call", f"{result.first_call:.1f} s, tracing and compiling included")
    show("sharing", f"{result.sharing:.1f} s for weights, images and labels, not counted above")
    sent = ", ".join(f"{p} {b:,}" for p, b in zip(cost.parties, cost.bytes_sent, strict=True))
    show("a batch", f"{cost.rounds} rounds; bytes sent: {sent}")
    if protocol.dealer is not None:
        show("", f"{cost.dealer_bytes:,} bytes from {protocol.dealer}, beforehand")
    show("revealed", "the number of correct answers in all, once, at the end")
    show_trust(protocol)


def show_trust(protocol: jsmpc.Protocol, revealed: str = "that number") -> None:
    """Print what secrecy rests on, and where the protocol was published."""
    show("assumptions", assumptions(protocol, revealed))
    if protocol.references:
        show("references", "; ".join(protocol.references))


def assumptions(protocol: jsmpc.Protocol, revealed: str) -> str:
    """What secrecy rests on, in one sentence."""
    if not protocol.corruptions:
        return f"none: {type(protocol).__name__} computes in the clear and hides nothing."
    corrupt = f"up to {protocol.corruptions} of the {protocol.size} parties are corrupt"
    if protocol.dealer is not None:
        corrupt += f" and {protocol.dealer} colludes with none of them"
    return (
        f"with each party on a machine of its own, nothing but {revealed}, the program and all "
        f"shapes would leak, provided that every party follows the protocol (semi-honest) and "
        f"{corrupt}; this run simulates all parties in one process and hides nothing from this "
        "machine."
    )
