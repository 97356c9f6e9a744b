"""Workers in this process and in others: each test of what they do runs on both kinds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pairs import Pair
from processes import Processes


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """bob and alice as processes, with the clients carol and dave; olga is started by tests."""
    folder = tmp_path_factory.mktemp("workers")
    with Processes(folder, ["bob", "alice", "olga"], ["carol", "dave"]) as found:
        found.start("bob", "--room", 64)
        found.start("alice")
        found.wait("bob", "alice")
        yield found


@pytest.fixture(params=["here", "processes"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    remote = request.param == "processes"
    found = Pair(request.getfixturevalue("processes") if remote else None)
    yield found
    found.close()
