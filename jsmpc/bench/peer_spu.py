"""One workload on SPU, its parties threads or processes; see `peers`, which runs it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import serving  # beside `peers`, which is run by its path
from peer_files import load, save

_WAIT = 600.0  # seconds, the longest for a party


class Spu:
    """SPU: the program, and the shares of its inputs by party; how parties run is a subclass's."""

    def __init__(self, workload: str, directory: Path, protocol: str, parties: int):
        import spu
        import workloads

        self._lib = spu.libspu
        self._directory = directory
        if workload not in workloads.WORKLOADS:
            raise serving.Unsupported(f"{workload} is written with Flax, for jsmpc alone")
        self._function = workloads.WORKLOADS[workload].function
        self._inputs = load(directory)
        self._config = self._lib.RuntimeConfig(
            protocol=getattr(self._lib.ProtocolKind, protocol), field=self._lib.FieldType.FM64
        )
        self._io = spu.Io(parties, self._config)
        secret = self._lib.Visibility.VIS_SECRET
        shares = [self._io.make_shares(x, secret) for x in self._inputs]
        self._names = [f"in{i}" for i in range(len(shares))]
        self._variables = [
            {name: share[rank] for name, share in zip(self._names, shares)}  # noqa: B905
            for rank in range(parties)
        ]

    def _compile(self) -> Any:
        from spu.utils import frontend

        executable, _ = frontend.compile(
            frontend.Kind.JAX,
            self._function,
            self._inputs,
            {},
            self._names,
            [self._lib.Visibility.VIS_SECRET] * len(self._names),
            lambda out: [f"out{i}" for i in range(len(out))],
        )
        return executable

    def _save(self, outputs: list[list[Any]]) -> None:
        """Opens the outputs, given by party, and leaves them in the directory."""
        save(self._directory, [self._io.reconstruct(list(x)) for x in zip(*outputs)])  # noqa: B905


class SpuThreads(Spu):
    """SPU with all parties as threads of this process, over a link in memory."""

    def __init__(self, workload: str, directory: Path, protocol: str, parties: int):
        super().__init__(workload, directory, protocol, parties)
        addresses = [f"thread_{rank}" for rank in range(parties)]
        self._parties = in_threads(
            parties,
            lambda rank: _SpuParty("mem", addresses, rank, self._config, self._variables[rank]),
        )

    def first(self) -> float:
        start = time.perf_counter()
        executable = self._compile()
        for party in self._parties:
            party.executable = executable
        compiled = time.perf_counter()
        return compiled - start + self.again()

    def again(self) -> float:
        start = time.perf_counter()
        in_threads(len(self._parties), lambda rank: self._parties[rank].run())
        return time.perf_counter() - start

    def finish(self) -> dict[str, Any]:
        peak = serving.peak_bytes()
        self._save([party.outputs() for party in self._parties])
        return {"peak_bytes": peak}


class SpuProcesses(Spu):
    """SPU with this process as party 0 and each other party in a child, over loopback."""

    def __init__(self, workload: str, directory: Path, protocol: str, parties: int):
        self._pipes = []
        context = multiprocessing.get_context("fork")  # before there are threads
        for _ in range(1, parties):
            pipe, end = multiprocessing.Pipe()
            context.Process(target=_follow_spu, args=(end,), daemon=True).start()
            end.close()
            self._pipes.append(pipe)
        super().__init__(workload, directory, protocol, parties)

    def first(self) -> float:
        addresses = free_addresses(len(self._variables))
        own, *others = [
            ("brpc", addresses, rank, self._config, variables)
            for rank, variables in enumerate(self._variables)
        ]
        for pipe, arguments in zip(self._pipes, others):  # noqa: B905
            pipe.send(arguments)
        self._party = _SpuParty(*own)
        self._replies()
        start = time.perf_counter()
        self._party.executable = self._compile()
        self._ask("load", self._party.executable)
        self._replies()
        compiled = time.perf_counter()
        return compiled - start + self.again()

    def again(self) -> float:
        start = time.perf_counter()
        self._ask("run")
        self._party.run()
        self._replies()
        return time.perf_counter() - start

    def finish(self) -> dict[str, Any]:
        peak = serving.peak_bytes()
        self._ask("outputs")
        self._save([self._party.outputs(), *self._replies()])
        return {"peak_bytes": peak}

    def _ask(self, *request: Any) -> None:
        for pipe in self._pipes:
            pipe.send(request)

    def _replies(self) -> list[Any]:
        return [serving.result(_received(pipe)) for pipe in self._pipes]


class _SpuParty:
    """One party of SPU over a link that is made by `create_KIND`."""

    def __init__(
        self, kind: str, addresses: list[str], rank: int, config: Any, variables: dict[str, Any]
    ):
        import spu

        description = spu.libspu.link.Desc()
        description.recv_timeout_ms = int(_WAIT * 1000)
        description.connect_retry_times = 100  # a second each
        for i, address in enumerate(addresses):
            description.add_party(f"id_{i}", address)
        link = getattr(spu.libspu.link, f"create_{kind}")(description, rank)
        self._runtime = spu.Runtime(link, config)
        for name, share in variables.items():
            self._runtime.set_var(name, share)
        self.executable: Any = None

    def load(self, executable: Any) -> None:
        self.executable = executable

    def run(self) -> None:
        self._runtime.run(self.executable)

    def outputs(self) -> list[Any]:
        return [self._runtime.get_var(name) for name in self.executable.output_names]


def _follow_spu(pipe: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    arguments = pipe.recv()
    made = serving.attempt(lambda: _SpuParty(*arguments))
    pipe.send({**made, "result": None} if "result" in made else made)
    while True:
        request, *rest = pipe.recv()
        pipe.send(serving.attempt(lambda: getattr(made["result"], request)(*rest)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _received(pipe: Any) -> Any:
    if not pipe.poll(_WAIT):
        raise serving.Failed(f"a party did not reply within {_WAIT:g} s")
    try:
        return pipe.recv()
    except EOFError:
        raise serving.Failed("a party's process ended") from None


def free_addresses(count: int) -> list[str]:
    """Addresses of this machine at which nobody listens."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.socket()) for _ in range(count)]
        for server in servers:
            server.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]


def in_threads(count: int, f: Callable[[int], Any]) -> list[Any]:
    """The results of f(0), f(1), … run at once."""
    results: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = f(rank)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
