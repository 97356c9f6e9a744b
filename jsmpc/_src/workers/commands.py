"""The command `jsmpc worker`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jsmpc._src.deployment import log
from jsmpc._src.deployment.commands import command
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.workers import process


def add_parsers(subparsers: Any) -> None:
    """Add the command; see `jsmpc._src.deployment.commands.add_parsers`."""
    add = command(subparsers, "worker", run_worker, "keep values, and compute on them")
    add("--name", help="the worker's")
    add("--config", type=Path, metavar="FILE", help="the file workers.toml")
    add("--folder", type=Path, help="where its identity is, default: beside FILE")
    add("--listen", metavar="HOST:PORT", help="in the place of the address in FILE")
    add("--policy", type=Path, metavar="FILE", help="what it permits, default: anything")
    add("--log", type=Path, metavar="FILE", help="of requests, default: NAME.log in FOLDER")
    add("--data", type=Path, action="append", default=[], metavar="FILE", help="npy or npz")
    add("--tags", default="", help="of the data, with commas between")
    add("--description", default="", help="of the data")
    add("--room", type=int, default=4096, metavar="MIB", help="for all values, default: 4096")
    add("--calls", type=int, default=16, metavar="N", help="worked on at once, default: 16")
    more = subparsers.choices["worker"].add_subparsers(metavar="")
    add = command(more, "log", show_log, "print a worker's log, and verify its chain")
    add("file", type=Path, metavar="FILE", help="the log")
    add("--head", help="a chain that the log is known to have had")


def run_worker(options: argparse.Namespace) -> int:
    """`jsmpc worker`: 0 once it was told to stop."""
    for key, example in (("name", "bob"), ("config", "workers.toml")):
        if getattr(options, key) is None:
            raise ConfigError(f"--{key}: missing. Write for example: --{key} {example}")
    for key in ("room", "calls"):
        if getattr(options, key) < 1:
            raise ConfigError(f"--{key}: must be 1 or more, not {getattr(options, key)}")
    return process.run(
        process.Employment(
            options.name,
            options.config,
            options.folder,
            _address(options.listen),
            options.policy,
            options.log,
            options.data,
            [tag for tag in options.tags.split(",") if tag],
            options.description,
            options.room << 20,
            options.calls,
        )
    )


def show_log(options: argparse.Namespace) -> int:
    """`jsmpc worker log`: prints the entries of a log that is as it was written."""
    head = log.verify(options.file, options.head)
    with log.opened(options.file, write=False) as book:
        for entry in book.read():
            said = ", ".join(
                f"{k} {_short(v)}" for k, v in entry.fields.items() if v not in (None, "")
            )
            print(f"{entry.time}  {entry.event:<8}  {said}")
    print(f"{head.entries} entries, as they were written; chain {head.chain}")
    return 0


def _short(value: Any) -> str:
    text = str(value)
    text = text if len(text) <= 200 else f"{text[:200]}…"
    return "".join(c if c.isprintable() else "?" for c in text)


def _address(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ConfigError(f"--listen: {text!r} is no address. Write for example: 127.0.0.1:5001")
    return host.strip("[]"), int(port)
