"""The command `serve`: one endpoint, all of them on this machine, or the owner's shares."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsmpc._src.api import sharing, storage
from jsmpc._src.deployment import launch, running
from jsmpc._src.deployment.commands import command
from jsmpc._src.deployment.config import Config
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.party import Membership
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import prf
from jsmpc._src.service import model, party
from jsmpc._src.service.limits import Limits
from jsmpc._src.service.metrics import READY
from jsmpc._src.service.party import Serving
from jsmpc._src.service.prediction import sizes

CLIENT = "client"  # of a service that is launched for trying it out


def add_parser(subparsers: Any) -> None:
    """Add the command; see `jsmpc._src.deployment.commands.add_parsers`."""
    known = " or ".join(model.names())
    text = "answer clients' queries to a model that stays shared"
    add = command(subparsers, "serve", serve, text)
    add("model", metavar="MODEL", help=f"a Python file that defines apply and INPUT, or {known}")
    add("--name", help="be this party, or the dealer")
    add("--config", type=Path, metavar="FILE", help="the file parties.toml")
    add("--weights", type=Path, metavar="PATH", help="the parties' shares, PATH.NAME.share")
    add("--share", type=Path, metavar="PATH", help="be the owner: share params() of MODEL, and end")
    add("--launch", action="store_true", help="run all parties on this machine, and a client's key")
    add("--largest", type=int, default=64, metavar="N", help="inputs of a batch, default: 64")
    limits = Limits()
    add(
        "--per-minute",
        type=float,
        default=limits.per_minute,
        metavar="N",
        help=f"inputs that a client may send a minute, default: {limits.per_minute:g}",
    )
    add(
        "--waiting",
        type=int,
        default=limits.waiting,
        metavar="N",
        help=f"queries of a client that may wait at once, default: {limits.waiting}",
    )
    add(
        "--patience",
        type=float,
        default=limits.patience,
        metavar="S",
        help=f"seconds in which a query has to reach all parties, default: {limits.patience:g}",
    )
    add("--metrics", type=int, metavar="PORT", help="/healthz and /metrics there, on this machine")
    add("--by-client", action="store_true", help="name clients in these")
    add("--folder", type=Path, help="where this party's identity is, default: beside FILE")
    add("--policy", type=Path, metavar="FILE", help="what this party permits, default: anything")
    add("--log", type=Path, metavar="FILE", help="of batches, default: NAME.log in FOLDER")
    add("--listener", type=int, help=argparse.SUPPRESS)
    running.add_protocol(add)


def serve(options: argparse.Namespace) -> int:
    """`jsmpc serve`: 0 after an orderly stop, 1 for an error."""
    ways = {"--name": options.name, "--launch": options.launch, "--share": options.share}
    given = [way for way, value in ways.items() if value]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ConfigError(f"one of {', '.join(ways)} is needed, not {found}")
    if (way := given[0]) == "--launch":
        return _launch(options)
    if options.config is None:
        raise ConfigError(f"{way} needs --config, the file of the parties")
    return _share(options) if way == "--share" else _party(options)


def _party(options: argparse.Namespace) -> int:
    limits = Limits(options.per_minute, options.waiting, options.patience)
    sizes(options.largest)
    config = Config.load(options.config)
    if config.rank(options.name) < config.protocol.size and options.weights is None:
        raise ConfigError("--weights: missing: the path that jsmpc.save was told")
    membership = Membership(
        options.name,
        options.config,
        options.folder,
        options.policy,
        options.log,
        listener=options.listener,
    )
    serving = Serving(
        options.model,
        options.weights,
        options.largest,
        limits,
        options.metrics,
        options.by_client,
    )
    return party.run(membership, serving)


def _share(options: argparse.Namespace) -> int:
    protocol = Config.load(options.config).protocol
    for file in _shared(options.model, protocol, options.share):
        print(file)
    return 0


def _shared(name: str, protocol: Protocol, path: Path) -> Sequence[Path]:
    """Shares a model's parameters; each party's file is for that party alone."""
    from flax.serialization import to_state_dict

    params = model.load(name).require_params()()
    shares = sharing.share(prf.random_key(), to_state_dict(params), protocol)
    return storage.save(shares, path)


def _launch(options: argparse.Namespace) -> int:
    Limits(options.per_minute, options.waiting, options.patience)
    sizes(options.largest)
    if options.weights is None:
        model.load(options.model).require_params()
    protocol = running.protocol_of(options)
    running.check_stock(options, protocol)
    numbers = {"largest": options.largest, "waiting": options.waiting}
    numbers |= {"per-minute": options.per_minute, "patience": options.patience}
    arguments = [f"--{name}={value}" for name, value in numbers.items()]
    arguments += ["--by-client"] if options.by_client else []
    started = launch.Launch(
        protocol,
        options.protocol,
        options.model,
        arguments,
        stock=options.stock,
        command="serve",
        clients=(CLIENT,),
        orderly=True,
    )
    ready: set[str] = set()

    def prepare(config: Path) -> Sequence[str]:
        weights = options.weights
        if weights is None:
            weights = config.with_name("weights")
            _shared(options.model, Config.load(config).protocol, weights)
        announcement[:] = [f'jsmpc.connect("{config}", name="{CLIENT}")']
        return [f"--weights={weights}"]

    def heard(name: str, line: str) -> None:
        if line == READY:
            ready.add(name)
            if len(ready) == len(started.names):
                print(f"all are ready; ask with {announcement[0]}", flush=True)

    announcement: list[str] = []
    return launch.run(started, prepare, heard)
