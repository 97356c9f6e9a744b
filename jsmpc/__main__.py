"""`python -m jsmpc`: train a network on MNIST in the clear, then evaluate it in secret."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Callable, Sequence

import jsmpc
from jsmpc import mnist
from jsmpc.datasets import Mnist, load_mnist

PROTOCOLS = ("replicated", "additive", "plain")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with arguments (by default those of the process); the exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        protocol = make_protocol(options)
        data = load_mnist(options.data, download=options.download)
        count = image_count(options.images, data)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        run(options, protocol, data, count)
    except jsmpc.EncodingError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m jsmpc",
        description="Train a 784-500-10 network on MNIST in the clear, then count its correct "
        "answers with weights, images, labels and predictions secret-shared.",
    )
    add = parser.add_argument_group("secret computation").add_argument
    add("--protocol", choices=PROTOCOLS, default="replicated", help="default: %(default)s")
    add(
        "--parties",
        nargs="+",
        metavar="PARTY",
        help="how many parties, or their names (additive: 2 or more, replicated: 3)",
    )
    add("--dealer", metavar="NAME", help="name of the dealer (additive only)")
    add("--bits", type=int, choices=(64, 32), default=64, help="width of the ring, default: 64")
    add("--base", type=int, choices=(2, 10), default=2, help="of the encoding, default: 2")
    add(
        "--precision",
        type=integer(0),
        metavar="DIGITS",
        help="digits behind the point, in the base (default: 18 bits in the 64-bit ring, 10 bits "
        "in the 32-bit ring, 3 decimal digits)",
    )
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
    add(
        "--seed",
        type=integer(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of the training, default: 0; the shares use fresh entropy",
    )
    add = parser.add_argument_group("data").add_argument
    add("--data", metavar="PATH", help="MNIST as an .npz file or a directory of IDX files")
    add(
        "--download",
        action="store_true",
        help="fetch the full set once, into --data or the user's cache directory",
    )
    return parser


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


def make_protocol(options: argparse.Namespace) -> jsmpc.Protocol:
    """The protocol that the arguments ask for.

    Raises:
      ValueError: if its parties, dealer or encoding do not fit together.
    """
    encoding = jsmpc.FixedPoint(options.base, options.precision)
    if options.dealer is not None and options.protocol != "additive":
        raise ValueError(f"--dealer: the {options.protocol} protocol has no dealer")
    if options.protocol == "additive":
        parties = party_names(options.parties or ["2"])
        dealer = options.dealer or "dealer"
        return jsmpc.Additive(parties, options.bits, encoding, dealer)
    if options.protocol == "replicated":
        return jsmpc.Replicated3(party_names(options.parties or ["3"]), options.bits, encoding)
    if options.parties:
        raise ValueError("--parties: the plain protocol computes in the clear, by one party")
    return jsmpc.Plain(bits=options.bits, encoding=encoding)


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


def run(options: argparse.Namespace, protocol: jsmpc.Protocol, data: Mnist, count: int) -> None:
    """Train, evaluate in the clear and in secret, and print both."""
    images, labels = data.x_test[:count], data.y_test[:count]
    packaged = options.data is None and not options.download
    source = "the packaged sample of MNIST" if packaged else "MNIST"
    show("data", f"{source}: {len(data.x_train):,} training and {count:,} test images")
    show("network", f"784-500-10, ReLU; {options.optimizer}, {options.epochs} epochs")
    start = time.perf_counter()
    params = mnist.train(
        data, options.optimizer, epochs=options.epochs, seed=options.seed, progress=True
    )
    show("training", f"{time.perf_counter() - start:.1f} s, in the clear")
    show("protocol", describe(protocol))
    plain = mnist.evaluate_plain(params, images, labels)
    private = mnist.evaluate_private(
        params, images, labels, protocol, batch_size=options.batch_size, progress=True
    )
    print()
    show("plain Flax", answers(plain, count))
    show(type(protocol).__name__, answers(private.correct, count))
    print()
    report(private, protocol, min(options.batch_size, count))


def show(name: str, text: str) -> None:
    """Print a named line, wrapped under its own start."""
    print(textwrap.fill(f"{name:<12} {text}", 100, subsequent_indent=" " * 13), flush=True)


def describe(protocol: jsmpc.Protocol) -> str:
    """One line on a protocol, its parties, ring and encoding."""
    encoding = protocol.encoding
    digits = "bits" if encoding.base == 2 else "decimal digits"
    parties = ", ".join(protocol.parties)
    if isinstance(protocol, jsmpc.Additive):
        parties += f"; dealer: {protocol.dealer}"
    return (
        f"{type(protocol).__name__} ({parties}), {protocol.bits}-bit ring, "
        f"{encoding.precision_fractional} {digits} behind the point"
    )


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
    if isinstance(protocol, jsmpc.Additive):
        show("", f"{cost.dealer_bytes:,} bytes from {protocol.dealer}, beforehand")
    show("revealed", "the number of correct answers in all, once, at the end")
    show("assumptions", assumptions(protocol))


def assumptions(protocol: jsmpc.Protocol) -> str:
    """What secrecy rests on, in one sentence."""
    if isinstance(protocol, jsmpc.Plain):
        return "none: the plain protocol computes in the clear and hides nothing."
    if isinstance(protocol, jsmpc.Additive):
        corrupt = (
            f"up to {protocol.size - 1} of the {protocol.size} parties are corrupt and "
            f"{protocol.dealer} colludes with none of them"
        )
    else:
        corrupt = "at most one of the three parties is corrupt"
    return (
        "with each party on a machine of its own, nothing but that number, the program and all "
        f"shapes would leak, provided that every party follows the protocol (semi-honest) and "
        f"{corrupt}; this run simulates all parties in one process and hides nothing from this "
        "machine."
    )


if __name__ == "__main__":
    sys.exit(main())
