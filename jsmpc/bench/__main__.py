"""`python -m jsmpc.bench`: speed, cost and accuracy of the workloads, a row each."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jsmpc
from jsmpc.bench import comparison, federated, measure, processes, report, rounds, serve
from jsmpc.bench.limits import Limits
from jsmpc.bench.measure import PHASES, Row, Settings
from jsmpc.bench.serving import Candidate
from jsmpc.bench.table import WORKLOADS
from jsmpc.bench.workloads import Workload
from jsmpc.examples import terminal
from jsmpc.extend import PROTOCOLS

_COMMANDS = {"serve": serve.main, "federated": federated.main, "rounds": rounds.main}


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m jsmpc.bench",
        description="Measure secure computations on inputs that are shared already, each workload "
        "in a process of its own. The table goes to standard output, progress to standard error. "
        "As the only workload, `serve` measures a service, `federated` secure aggregation, and "
        "`rounds` simulated federated learning; see the `--help` of each.",
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="which; all by default")
    parser.add_argument("--list", action="store_true", help="name the workloads and stop")
    parser.add_argument("--protocol", choices=list(PROTOCOLS), default="replicated")
    parser.add_argument(
        "--parties",
        type=int,
        metavar="N",
        help="by default the fewest that the protocol runs among",
    )
    parser.add_argument("--bits", type=int, choices=(64, 32), default=64, help="of the ring")
    parser.add_argument(
        "--phase",
        choices=PHASES,
        default="both",
        help="online: time the online phase alone, with material made before",
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs a median is of")
    parser.add_argument(
        "--limits", action="store_true", help="measure this machine's ceilings and compare"
    )
    parser.add_argument(
        "--warm-cache",
        action="store_true",
        help="also the first call with a warm persistent compilation cache",
    )
    parser.add_argument(
        "--peer-python",
        action="append",
        default=[],
        metavar="PATH",
        help="a Python in which SPU or CrypTen is installed, to compare with; may be repeated",
    )
    parser.add_argument(
        "--processes",
        action="store_true",
        help="also with each party in a process of its own on this machine: jsmpc's over TLS, "
        "ABY3 of SPU without encryption",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write all figures there; - instead of the table"
    )
    parser.add_argument(
        "--in-process",
        action="store_true",
        help="run in this process: quicker, but first calls and peak memory are not clean",
    )
    return parser


def _chosen(parser: argparse.ArgumentParser, names: Sequence[str]) -> list[Workload]:
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        known = ", ".join(WORKLOADS)
        parser.error(f"no workload is called {', '.join(unknown)}; there are: {known}")
    return [WORKLOADS[name] for name in names or WORKLOADS]


def _say(text: str, end: str = "\n") -> None:
    print(text, file=sys.stderr, end=end, flush=True)


def _measured(workload: Workload, settings: Settings, options: argparse.Namespace) -> Row:
    row = Row(workload.name)
    with contextlib.ExitStack() as stack:
        if options.in_process:
            own: Candidate = measure.Local(workload, settings)
        else:
            own = stack.enter_context(measure.remote(workload, settings))
        others: list[tuple[Row, Candidate]] = []
        if options.processes:
            parties = stack.enter_context(processes.Processes(workload, settings))
            others.append((Row(processes.NAME), parties))
        for peer in options.peers:
            process = stack.enter_context(comparison.PeerProcess(peer, workload))
            others.append((Row(peer.name), process))
        measure.fill(row, [(row, own), *others], options.repeat)
    if options.warm_cache and row.status == "ok":
        row.warm_first_call = measure.warm_first_call(workload, settings)
    return row


def _limits() -> Limits:
    command = [sys.executable, "-m", "jsmpc.bench.limits"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Limits(**json.loads(done.stdout))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in _COMMANDS:
        return terminal.run(lambda: _COMMANDS[given[0]](given[1:]))
    return terminal.run(lambda: _main(given))


def _main(arguments: Sequence[str] | None) -> int:
    parser = make_parser()
    options = parser.parse_args(arguments)
    workloads = _chosen(parser, options.workloads)
    if options.list:
        width = max(len(w.name) for w in workloads)
        print("\n".join(f"{w.name:<{width}}  {w.about}" for w in workloads))
        return 0
    if options.repeat < 1:
        parser.error("--repeat takes a positive number")
    settings = Settings(options.protocol, options.parties, options.bits, options.phase)
    try:
        values = report.header(settings, options.repeat)
        options.peers = [
            peer
            for path in options.peer_python
            for peer in comparison.find(path, options.processes)
        ]
    except (jsmpc.ProtocolError, comparison.NoPeerError) as error:
        parser.error(str(error))

    limits = None
    if options.limits:
        _say("measuring this machine's ceilings …")
        limits = _limits()
    rows: list[Row] = []
    interrupted = False
    try:
        for i, workload in enumerate(workloads, 1):
            _say(f"[{i}/{len(workloads)}] {workload.name} … ", end="")
            row = _measured(workload, settings, options)
            _say(row.status if row.median is None else f"{row.median * 1e3:.4g} ms")
            rows.append(row)
    except KeyboardInterrupt:
        _say("interrupted; what was measured until then:")
        interrupted = True

    names = [*([processes.NAME] if options.processes else []), *(p.name for p in options.peers)]
    if options.json:
        text = json.dumps(report.as_json(values, rows, settings, limits), indent=2)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n")
    if options.json != "-":
        print(report.header_text(values), end="\n\n")
        if limits is not None:
            print(report.limits_text(limits), end="\n\n")
        print(report.table(rows, settings, limits, names))
    if interrupted:
        return terminal.INTERRUPTED
    own = [*rows, *(row.peers[processes.NAME] for row in rows if processes.NAME in row.peers)]
    return 1 if any(row.status == "failed" for row in own) else 0


if __name__ == "__main__":
    sys.exit(main())
