"""Shares on disk: each party's own rows come back, and nothing else is taken for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jsmpc
from harness import SECRET, protocol

VALUES: dict[str, Any] = {
    "weights": [np.float32([[1.5, -2], [0, 7]]), (np.int32([3, -4]),)],
    "mask": np.array([True, False, True]),
}


def stored(folder: Path, name: str = "x", smpc: jsmpc.Protocol | None = None) -> Any:
    shares = jsmpc.share(jax.random.key(0), VALUES, smpc or protocol("replicated3", 64))
    return shares, jsmpc.save(shares, folder / name)


def is_share(x: Any) -> bool:
    return isinstance(x, jsmpc.Share)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", SECRET)
def test_shares_come_back_word_by_word(name: str, x64: bool, tmp_path: Path) -> None:
    smpc = protocol(name, 64)
    with jax.enable_x64(x64):
        shares, files = stored(tmp_path, smpc=smpc)
        loaded = jsmpc.load(tmp_path / "x", smpc)
        assert jax.tree.structure(loaded, is_leaf=is_share) == jax.tree.structure(
            shares, is_leaf=is_share
        )
        for a, b in zip(
            *(jax.tree.leaves(t, is_leaf=is_share) for t in (shares, loaded)), strict=True
        ):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_array_equal(a.components[0], b.components[0])
        jax.tree.map(np.testing.assert_array_equal, jsmpc.reveal(loaded), VALUES)
    assert [f.name for f in files] == [f"x.{party}.share" for party in smpc.parties]
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}


def test_a_file_has_its_partys_rows_alone(tmp_path: Path) -> None:
    shares, files = stored(tmp_path)
    rows = np.asarray(shares["weights"][0].components[0])
    for rank, file in enumerate(files):
        content = file.read_bytes()
        for row in range(3):
            assert (rows[row].tobytes() in content) == (row in (rank, (rank + 1) % 3))


def damaged(file: Path) -> None:
    """A bit of a row is another one."""
    with np.load(file) as rows:
        row = rows["row0"].tobytes()
    content = bytearray(file.read_bytes())
    content[content.index(row)] ^= 1
    file.write_bytes(content)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def altered(file: Path) -> None:
    """A row of another value, in a file that is whole as an archive."""
    with np.load(file) as content:
        arrays = dict(content)
    arrays["row0"] = arrays["row0"] + 1
    with file.open("wb") as stream:
        np.savez(stream, **arrays)


def of_another_party(file: Path) -> None:
    shutil.copy(file.with_name("x.party1.share"), file)


def of_another_sharing(file: Path) -> None:
    _, files = stored(file.parent, "y")
    shutil.copy(files[0], file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (damaged, "is damaged"),
        (truncated, "is damaged"),
        (altered, "is damaged"),
        (of_another_party, "of another party: 'party1', where 'party0' is wanted"),
        (of_another_sharing, "of different sharings"),
        (Path.unlink, "there is no such file"),
    ],
)
def test_what_is_not_a_partys_own_is_refused(change: Any, reason: str, tmp_path: Path) -> None:
    _, files = stored(tmp_path)
    change(files[0])
    with pytest.raises(jsmpc.ProtocolError, match=reason):
        jsmpc.load(tmp_path / "x", protocol("replicated3", 64))


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (jsmpc.Replicated3(bits=32), "bits"),
        (jsmpc.Replicated3(encoding=jsmpc.FixedPoint(base=10)), "base"),
        (jsmpc.Replicated3(encoding=jsmpc.FixedPoint(precision_fractional=12)), "precision"),
        (jsmpc.Additive(parties=3), "protocol"),
    ],
)
def test_another_encoding_or_protocol_is_refused(
    other: jsmpc.Protocol, what: str, tmp_path: Path
) -> None:
    stored(tmp_path)
    with pytest.raises(jsmpc.ProtocolError, match=f"of another {what}"):
        jsmpc.load(tmp_path / "x", other)


def test_containers_that_have_no_file_form_are_refused(tmp_path: Path) -> None:
    share = jsmpc.share(jax.random.key(0), np.ones(2), protocol("replicated3", 64))
    for tree in ({1: share}, [share, 3.0], {share}):
        with pytest.raises(TypeError, match="to_state_dict"):
            jsmpc.save(tree, tmp_path / "x")
    assert not list(tmp_path.iterdir())
