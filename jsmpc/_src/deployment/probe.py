"""Ports and addresses: whether others can be reached before a run, and where to be reached."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from jsmpc._src.deployment.endpoints import Endpoint

TIMEOUT = 2.0  # seconds
_LOW, _HIGH = 15_000, 32_000  # ports below those of outgoing connections


def reach(peers: Sequence[Endpoint], timeout: float = TIMEOUT) -> dict[str, str | None]:
    """Why nobody listens at each peer's address, None where somebody does; all at once."""
    if not peers:
        return {}
    with ThreadPoolExecutor(len(peers)) as pool:
        found = pool.map(lambda peer: _problem(peer, timeout), peers)
        return {peer.name: problem for peer, problem in zip(peers, found, strict=True)}


def address(peer: Endpoint) -> str:
    """Host and port, an IPv6 address in brackets."""
    host = f"[{peer.host}]" if ":" in peer.host else peer.host
    return f"{host}:{peer.port}"


def free_port(host: str) -> int:
    """A port of this machine at which nobody listens, for a server that is to be started.

    It is none of those that outgoing connections take, which could be gone before the server is
    there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        found = _LOW + secrets.randbelow(_HIGH - _LOW)
        with socket.socket(family) as tried, contextlib.suppress(OSError):
            tried.bind((host, found))
            return found


def _problem(peer: Endpoint, timeout: float) -> str | None:
    try:
        with socket.create_connection((peer.host, peer.port), timeout):
            return None
    except TimeoutError:
        reason = f"no answer within {timeout:g} s"
    except socket.gaierror as error:
        reason = f"unknown host ({error.strerror})"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    return f"does not listen at {address(peer)}: {reason}"
