"""The command `jsmpc`, which is `python -m jsmpc`: real parties, or what `cli` does in one process.

Parties start without what only the applications need.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from jsmpc._src.deployment import commands, running
from jsmpc._src.service import commands as service
from jsmpc._src.workers import commands as worker
from jsmpc.examples import terminal

# What makes, joins and looks after a run of real parties, workers, and a service.
DEPLOYMENT = (
    *("keys", "check", "log", "party", "launch", "explain", "profile"),
    *("worker", "serve"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with arguments (by default those of the process); the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # The report says how the kernels run; it need not be said twice.
    logging.getLogger("jsmpc").addHandler(logging.NullHandler())
    if arguments and arguments[0] in DEPLOYMENT:
        options = make_deployment_parser().parse_args(arguments)
        return terminal.run(lambda: options.run(options))
    from jsmpc.examples import cli  # with Flax and Optax

    return terminal.run(lambda: cli.run_command(arguments))


def make_deployment_parser() -> argparse.ArgumentParser:
    """The arguments of the commands of `DEPLOYMENT`."""
    parser = argparse.ArgumentParser(prog="jsmpc", description="Real parties, in processes.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parsers(subparsers)
    running.add_parsers(subparsers)
    worker.add_parsers(subparsers)
    service.add_parser(subparsers)
    return parser
