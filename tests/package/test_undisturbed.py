"""Room on the interpreter's stack, and no garbage collection."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable

import pytest

from jsmpc._src.jaxprs.undisturbed import roomy, undisturbed


def nothing() -> None:
    pass


def loop_at(depth: int) -> None:
    if depth:
        return loop_at(depth - 1)
    for _ in range(2000):
        nothing()


def most_faults(f: Callable[[int], None]) -> int:
    """The pages that were mapped in the worst of many depths."""

    def faults(depth: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        f(depth)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    return max(faults(depth) for depth in range(400))


def test_loops_at_any_depth_map_no_pages() -> None:
    assert most_faults(roomy(loop_at)) < 1000


def test_results_and_errors_are_those_of_the_function() -> None:
    assert roomy(divmod)(7, 2) == (3, 1)
    assert roomy(sorted)([1, 3, 2], reverse=True) == [3, 2, 1]
    with pytest.raises(ZeroDivisionError):
        roomy(divmod)(1, 0)


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_again_afterwards(collects: bool) -> None:
    def fails() -> None:
        assert not gc.isenabled()
        raise KeyError

    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        assert undisturbed(gc.isenabled)() is False
        assert gc.isenabled() == collects
        with pytest.raises(KeyError):
            undisturbed(fails)()
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()
