"""What others see of a party: what it sends, and what lies on its disk."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from faults import run
from parties import Deployment
from proxy import Proxied

import jsmpc

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, jsmpc
MARKER, SIZE = {marker}, {size}
def own():
    return {{"a": np.full(SIZE, MARKER, np.int32), "b": np.full(SIZE, MARKER / 2**10, np.float32)}}
like = {{k: jax.ShapeDtypeStruct((SIZE,), t) for k, t in (("a", jnp.int32), ("b", jnp.float32))}}
x = jsmpc.input(own, owner="party0", like=like)
f = jsmpc.secure(lambda x: {{"a": jax.nn.relu(x["a"]), "b": x["b"] * x["b"]}})
y = f(jsmpc.random_key(), x)
jsmpc.save(y, "{folder}/out")
found = jsmpc.secure(lambda y: jsmpc.reveal((y["a"] == MARKER).sum()))(jsmpc.random_key(), y)
print("found", found)
"""
MARKER, SIZE = 0x5EC2E7, 3000


def encodings(marker: int) -> list[bytes]:
    """The marker as it stands in the inputs, and in words of the ring."""
    real = np.float32(marker / 2**10)
    words = [np.uint64(marker), np.uint64(int(real * 2**18)), np.uint64(int(real**2 * 2**18))]
    return [x.tobytes() for x in (np.int32(marker), real, *words)]


def deviation(data: bytes) -> float:
    """How far counts of bytes are from uniform: chi-squared in standard deviations."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    expected = counts.sum() / 256
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return (statistic - 255) / np.sqrt(2 * 255)


@pytest.mark.parametrize("options", [(), ("--plain",)], ids=["encrypted", "plain"])
def test_wire_and_disk_tell_nothing_about_inputs(options: tuple[str, ...], tmp_path: Path) -> None:
    """Without encryption too: all that a party is sent is masked."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(marker=MARKER, size=SIZE, folder=tmp_path))
    names = ("party0", "party1", "party2")
    with (
        Proxied(3) as place,
        Deployment(place, tmp_path, program, options=dict.fromkeys(names, options)) as parties,
    ):
        ended = parties.ended(90)
    assert [e.code for e in ended] == [0, 0, 0], ended
    assert all(f"found {SIZE}" in e.out for e in ended)
    assert len(place.record) == 6  # three connections, both ways
    for record in map(bytes, place.record):
        assert len(record) > 4 * SIZE
        assert not any(mark in record for mark in encodings(MARKER))
        assert abs(deviation(_payload(record))) < 6
        assert (b"choreography" in record) == bool(options)  # the talk before the run
    stored = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file() and p != program}
    assert len([p for p in stored if p.suffix == ".share"]) == 3
    for data in stored.values():
        assert not any(mark in data for mark in encodings(MARKER))


def _payload(record: bytes) -> bytes:
    """The largest pieces of a record between headers: of TLS records, and of frames."""
    if b"choreography" not in record:
        return b"".join(p for p in re.split(rb"\x17\x03\x03..", record, flags=re.S) if len(p) > 999)
    frames = re.split(rb".\x6a\x73\x6d.{12}", record, flags=re.S)
    return b"".join(p for p in frames if len(p) > 999 and b"choreography" not in p)


def test_the_tests_of_the_wire_notice_what_is_not_masked() -> None:
    rng = np.random.default_rng(0)
    masked = rng.integers(0, 2**64, SIZE, np.uint64)
    assert abs(deviation(masked.tobytes())) < 6
    assert deviation((masked >> np.uint64(4)).tobytes()) > 6
    assert encodings(MARKER)[2] in (np.zeros(9, np.uint64) + np.uint64(MARKER)).tobytes()
    assert jsmpc.FixedPoint().precision_fractional in (None, 18)


@pytest.mark.parametrize("kind", ("stop", "cut", "garbage"))
def test_a_fault_in_the_middle_ends_the_run_of_all(kind: str, tmp_path: Path) -> None:
    outcome = run(kind, random.Random(1), tmp_path)
    assert not outcome.problem, outcome
    assert outcome.seconds < 10
