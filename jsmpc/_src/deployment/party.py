"""One party of a deployment, or its dealer: joins the others and runs a program with them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import runpy
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from jsmpc._src.api.session import active
from jsmpc._src.deployment import log
from jsmpc._src.deployment.config import Config
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.policy import Policy
from jsmpc._src.deployment.session import Deployed
from jsmpc._src.deployment.stock import Stock
from jsmpc._src.errors import JsmpcError
from jsmpc._src.links import links


@dataclasses.dataclass(frozen=True)
class Membership:
    """Who one is in a deployment.

    Attributes:
      name: of the party or of the dealer.
      config: the file that names all of them.
      folder: where one's identity is; beside the file by default.
      policy: a file that says what is permitted; without one everything is.
      log: where runs and reveals are written down; `NAME.log` beside the identity by default.
      plain: whether to do without encryption, which is refused but on one machine.
      listener: a bound socket's descriptor to be reached at, in place of the configured address.
    """

    name: str
    config: Path
    folder: Path | None = None
    policy: Path | None = None
    log: Path | None = None
    plain: bool = False
    listener: int | None = None


@contextlib.contextmanager
def joined(membership: Membership) -> Iterator[Deployed]:
    """The session with all others, for as long as the context lasts.

    What goes wrong inside ends the run of the others too; they are told the kind of the error and
    nothing of its text.

    Raises:
      ConfigError, LinkError, AgreementError: if there is nothing to join.
    """
    config = Config.load(membership.config)
    endpoint = config.rank(membership.name)
    folder = membership.folder or membership.config.parent
    identity = None
    if not membership.plain:
        own = config.identity(membership.name, folder)
        identity = str(own.certificate_path), str(own.key_path)
    policy = Policy.load(membership.policy)
    with log.opened(membership.log or folder / f"{membership.name}.log") as book:
        with _listener(config, endpoint, membership.listener) as listener:
            connected = links.connect(
                endpoint,
                config.peers,
                listener=listener,
                identity=identity,
                patience=config.patience,
                silence=config.silence,
                stall=config.stall,
            )
        try:
            with _stock(config, endpoint) as stock:
                session = Deployed(config, endpoint, connected, policy, book, stock)
                with active(session):
                    yield session
        except BaseException as error:
            connected.abort(f"it met {type(error).__name__}")
            raise
        connected.close()


@contextlib.contextmanager
def _stock(config: Config, endpoint: int) -> Iterator[Stock | None]:
    """The stock of a dealer that is told to keep one."""
    if not config.stock or endpoint < config.protocol.size:
        yield None
        return
    with contextlib.closing(Stock(config.stock, config.stock_memory << 20)) as stock:
        yield stock


def _listener(config: Config, endpoint: int, descriptor: int | None) -> socket.socket:
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    peer = config.peers[endpoint]
    try:
        return socket.create_server((peer.host, peer.port), backlog=len(config.peers))
    except OSError as error:
        raise ConfigError(
            f"{peer.name} cannot listen at {peer.host}:{peer.port}: {error.strerror}. Is another "
            "run under way, or is it the address of another machine?"
        ) from None


def run(membership: Membership, program: str, arguments: Sequence[str]) -> int:
    """Runs a Python file, or a job of the package's, as one party; the exit code."""
    try:
        with joined(membership):
            _execute(program, arguments)
    except JsmpcError as error:
        print(f"{membership.name}: {error}", file=sys.stderr)
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _execute(program: str, arguments: Sequence[str]) -> None:
    before = sys.argv, list(sys.path)
    sys.argv = [program, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(program)))
    try:
        runpy.run_path(program, run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before
