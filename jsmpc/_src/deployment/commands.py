"""The commands around a run among real parties: `keys`, `check` and `log`.

Each returns 0 if all is well and 1 otherwise, with one line on what is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsmpc._src.deployment import certificates, identity, log, probe
from jsmpc._src.deployment.config import Config
from jsmpc._src.errors import JsmpcError

Command = Callable[[argparse.Namespace], int]


def add_parsers(subparsers: Any) -> None:
    """Add the commands to what `ArgumentParser.add_subparsers` gave.

    The parsed options have the command itself as `run`: `options.run(options)` is the exit code.
    """
    keys = subparsers.add_parser("keys", help="make or show the identity of a party")
    of_keys = keys.add_subparsers(required=True, metavar="COMMAND")
    add = command(of_keys, "new", new_keys, "make a private key and a certificate")
    add("name", metavar="NAME", help="the party's name: letters, digits, _ and -")
    add("--folder", type=Path, default=Path("."), help="where to, default: here")
    add = command(of_keys, "show", show_certificate, "show whose a certificate is")
    add("file", type=Path, metavar="FILE", help="a certificate, ….cert.pem")

    add = command(subparsers, "check", check, "validate a file of parties, and try to reach them")
    add("file", type=Path, metavar="FILE", help="the file, parties.toml")
    add("--name", help="be this party: load its key and try whether the others listen")
    add("--folder", type=Path, help="where the key is, default: beside FILE")

    logs = subparsers.add_parser("log", help="look at a party's log of runs")
    add = command(
        logs.add_subparsers(required=True, metavar="COMMAND"),
        "verify",
        verify_log,
        "check that no line was changed",
    )
    add("file", type=Path, metavar="FILE", help="the log")
    add("--head", metavar="CHAIN", help="a chain it had before, to notice that its end is missing")


def command(subparsers: Any, name: str, run: Command, text: str) -> Callable[..., Any]:
    parser = subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=lambda options: _reported(run, options))
    return parser.add_argument


def _reported(command: Command, options: argparse.Namespace) -> int:
    """The exit code of a command whose errors are for whoever typed it."""
    try:
        return command(options)
    except JsmpcError as error:
        print("jsmpc:", _printable(" ".join(str(error).split())), file=sys.stderr)
        return 1


def new_keys(options: argparse.Namespace) -> int:
    """`jsmpc keys new`: make an identity."""
    made = identity.new(options.name, options.folder)
    _table(
        ("key", f"{made.key_path}  (never leaves this machine)"),
        ("certificate", f"{made.certificate_path}  (for the other parties)"),
        ("fingerprint", made.fingerprint),
    )
    return 0


def show_certificate(options: argparse.Namespace) -> int:
    """`jsmpc keys show`: what a certificate says."""
    found = certificates.read(identity.read_file(options.file), str(options.file))
    _table(
        ("name", found.name),
        ("valid", f"{found.starts:%Y-%m-%d} to {found.ends:%Y-%m-%d}"),
        ("fingerprint", found.fingerprint),
    )
    return 0


def check(options: argparse.Namespace) -> int:
    """`jsmpc check`: what a file of parties says; with a name, 1 if somebody does not listen."""
    config = Config.load(options.file)
    if options.name is not None:
        config.identity(options.name, options.folder)
    protocol, encoding = config.protocol, config.protocol.encoding
    digits = "bits" if encoding.base == 2 else "decimal digits"
    _table(
        ("protocol", f"{config.protocol_name} ({type(protocol).__name__})"),
        ("ring", f"{protocol.bits} bits"),
        ("encoding", f"{encoding.precision_fractional} {digits} behind the point"),
        ("patience", f"{config.patience:g} s"),
        ("silence", f"{config.silence:g} s"),
        ("agreed on", config.fingerprint),
    )
    print()
    heads = ("rank", "name", "role", "address", "fingerprint of the certificate")
    rows = (
        (
            str(rank),
            peer.name,
            str(protocol.dealt_by) if peer.name == protocol.dealer else "party",
            probe.address(peer),
            peer.fingerprint,
        )
        for rank, peer in enumerate(config.peers)
    )
    _table(heads, *rows)
    if options.name is None:
        return 0
    others = [peer for peer in config.peers if peer.name != options.name]
    problems = probe.reach(others)
    print()
    _table(*((peer.name, problems[peer.name] or "listens") for peer in others))
    return int(any(problems.values()))


def verify_log(options: argparse.Namespace) -> int:
    """`jsmpc log verify`: how many entries a log has, and where it ends."""
    head = log.verify(options.file, options.head)
    _table(("entries", str(head.entries)), ("chain", head.chain))
    return 0


def _table(*rows: tuple[str, ...]) -> None:
    """Print rows with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True))
        print(_printable(line).rstrip())


def _printable(text: str) -> str:
    """Text from a file of somebody else, without what a terminal would take for a command."""
    return "".join(c if c.isprintable() else "?" for c in text)
