"""The commands on programs of real parties: `party`, `launch`, `explain` and `profile`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from jsmpc._src.deployment import explain, launch, party
from jsmpc._src.deployment.commands import command
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.registry import PROTOCOLS, make_protocol
from jsmpc._src.readings.pricing.network import LAN, WAN, Network

# Programs that come with the package.
_JOBS = Path(__file__).parents[2] / "examples" / "parties"


def add_parsers(subparsers: Any) -> None:
    """Add the commands; see `jsmpc._src.deployment.commands.add_parsers`."""
    add = command(subparsers, "party", run_party, "run a program as one party of a deployment")
    add("--name", required=True, help="of the party, or of the dealer")
    add("--config", required=True, type=Path, metavar="FILE", help="the file parties.toml")
    add("--folder", type=Path, help="where this party's identity is, default: beside FILE")
    add("--policy", type=Path, metavar="FILE", help="what this party permits, default: anything")
    add("--log", type=Path, metavar="FILE", help="of runs and reveals, default: NAME.log in FOLDER")
    add("--plain", action="store_true", help="without encryption, on one machine alone")
    add("--listener", type=int, help=argparse.SUPPRESS)
    _add_program(add)

    add = command(subparsers, "launch", run_launch, "run all parties of a program on this machine")
    add_protocol(add)
    add("--plain", action="store_true", help="without encryption")
    add("--without-dealer", action="store_true", help="its material is in files of the parties")
    add("--silence", type=float, default=10.0, metavar="S", help="seconds, default: 10")
    _add_program(add)

    add = command(subparsers, "explain", run_explain, "tell what a program would do and reveal")
    add_protocol(add)
    _add_program(add)

    add = command(subparsers, "profile", run_profile, "tell what a program would take, by line")
    add_protocol(add)
    add("--bandwidth", type=float, metavar="B", help="Mbit/s, default: those of LAN and WAN")
    add("--round-trip", type=float, metavar="MS", help="ms, with --bandwidth, default: 1")
    _add_program(add)


def add_protocol(add: Any) -> None:
    """Add the options for a protocol to a command's."""
    add(
        "--parties",
        default=None,
        metavar="N",
        help="how many, or their names with commas between; default: the fewest for the protocol",
    )
    add("--protocol", choices=tuple(PROTOCOLS), default="replicated", help="default: replicated")
    add("--dealer", metavar="NAME", help="the dealer's name, for protocols that have one")
    add("--stock", type=int, default=0, metavar="N", help="sets that the dealer keeps ready")
    add("--bits", type=int, choices=(32, 64), default=64, help="of the ring, default: 64")


def protocol_of(options: argparse.Namespace) -> Protocol:
    """The protocol of a command's options."""
    parties = options.parties
    if parties is not None:
        parties = int(parties) if parties.isdecimal() else tuple(parties.split(","))
    return make_protocol(options.protocol, parties, options.bits, dealer=options.dealer)


def _observer(options: argparse.Namespace) -> explain.Observer:
    protocol = protocol_of(options)
    check_stock(options, protocol)
    return explain.Observer(protocol, options.stock > 0)


def check_stock(options: argparse.Namespace, protocol: Protocol) -> None:
    """Refuse a stock that nobody could keep."""
    dealing = protocol.dealer is not None and not protocol.helped
    dealing = dealing and not getattr(options, "without_dealer", False)
    if options.stock < 0:
        raise ConfigError(f"--stock: must be 0 sets or more, not {options.stock}")
    if options.stock and not dealing:
        raise ConfigError("--stock: no dealer takes part that could keep it. Leave it out")


def _add_program(add: Any) -> None:
    jobs = " or ".join(sorted(p.stem for p in _JOBS.glob("[a-z]*.py")))
    add("program", metavar="PROGRAM", help=f"a Python file, or {jobs}")
    add("arguments", nargs=argparse.REMAINDER, metavar="…", help="its own arguments")


def _file(program: str) -> str:
    job = _JOBS / f"{program}.py"
    if program.isidentifier() and job.exists():
        return str(job)
    if not Path(program).is_file():
        raise ConfigError(f"{program}: there is no such program. Name a Python file")
    return program


def run_party(options: argparse.Namespace) -> int:
    """`jsmpc party`: the program's own exit code, 1 for an error."""
    membership = party.Membership(
        options.name,
        options.config,
        options.folder,
        options.policy,
        options.log,
        options.plain,
        options.listener,
    )
    return party.run(membership, _file(options.program), options.arguments)


def run_launch(options: argparse.Namespace) -> int:
    """`jsmpc launch`: the first exit code that is not 0."""
    protocol = protocol_of(options)
    if options.without_dealer and protocol.dealer is None:
        raise ConfigError(f"--without-dealer: {options.protocol} has none. Leave it out")
    if options.without_dealer and protocol.helped:
        raise ConfigError(
            f"--without-dealer: {protocol.dealer} computes with the parties. Leave it out"
        )
    if not (options.silence > 0 and math.isfinite(options.silence)):
        raise ConfigError(
            f"--silence: must be a positive, finite number of seconds, not {options.silence:g}"
        )
    check_stock(options, protocol)
    return launch.run(
        launch.Launch(
            protocol,
            options.protocol,
            _file(options.program),
            options.arguments,
            options.plain,
            not options.without_dealer,
            options.silence,
            options.stock,
        )
    )


def run_profile(options: argparse.Namespace) -> int:
    """`jsmpc profile`: 0."""
    networks: tuple[Network, ...] = (LAN, WAN)
    if options.bandwidth is not None:
        trip = 1.0 if options.round_trip is None else options.round_trip
        networks = (Network(options.bandwidth * 1e6, trip / 1e3),)
    elif options.round_trip is not None:
        raise ConfigError("--round-trip is that of a network with a --bandwidth")
    program = _file(options.program)
    observer = _observer(options)
    for line in explain.priced(observer, program, options.arguments, networks):
        print(line)
    return 0


def run_explain(options: argparse.Namespace) -> int:
    """`jsmpc explain`: 0."""
    for line in explain.explained(_observer(options), _file(options.program), options.arguments):
        print(line)
    return 0
