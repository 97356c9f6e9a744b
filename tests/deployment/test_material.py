"""Material in files: made by a dealer alone or in a session, used once, whatever happens."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from dealt import network, types
from parties import Deployment, Ended, Loopback

import jsmpc
from jsmpc._src.api import material as materials

KEY = jax.random.key(1)
DEALER = jsmpc.Additive(dealer="james")
PROGRAM = Path(__file__).with_name("dealt.py")
X = np.arange(3, dtype=np.float32)
SQUARE = jsmpc.secure(lambda x: x * x)


@pytest.fixture
def x() -> jsmpc.Share:
    return jsmpc.share(jax.random.key(0), X, DEALER)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own, which does not know what others used."""
    monkeypatch.setattr(materials, "_SPENT", {})


def load(path: Path, smpc: jsmpc.Protocol = DEALER) -> jsmpc.Material:
    return jsmpc.Material.load(path, smpc)


@pytest.mark.usefixtures("forgetful")
def test_files_hold_what_was_dealt_and_are_used_once(x: jsmpc.Share, tmp_path: Path) -> None:
    material = SQUARE.offline(KEY, x)
    files = material.save(tmp_path / "m")
    assert [f.stat().st_mode & 0o777 for f in files] == [0o600, 0o600]
    copied = [shutil.copy(f, tmp_path / f.name.replace("m.", "copy.")) for f in files]
    loaded, twin = load(tmp_path / "m"), load(tmp_path / "m")
    for rank, arrays in material.parts.items():
        for mine, read in zip(arrays, loaded.parts.get(rank, ()), strict=True):
            np.testing.assert_array_equal(mine, read)
    got, wanted = SQUARE.online(loaded, x), SQUARE(KEY, x)
    np.testing.assert_array_equal(got.components[0], wanted.components[0])
    for again in (material, loaded, twin, load(Path(copied[0]).with_name("copy"))):
        with pytest.raises(jsmpc.MaterialError, match="has been used"):
            SQUARE.online(again, x)
    materials._SPENT.clear()  # another process finds the mark
    with pytest.raises(jsmpc.MaterialError, match=r"m\.party0\.material: .* has been used"):
        load(tmp_path / "m")
    with pytest.raises(jsmpc.MaterialError, match=r"m\.party0\.material: .* has been used"):
        SQUARE.online(twin, x)  # read before it was marked


def test_what_is_used_in_memory_is_used_on_disk(x: jsmpc.Share, tmp_path: Path) -> None:
    material = SQUARE.offline(KEY, x)
    material.save(tmp_path / "m")
    SQUARE.online(material, x)
    with pytest.raises(jsmpc.MaterialError, match="has been used"):
        load(tmp_path / "m")
    with pytest.raises(jsmpc.MaterialError, match="has been used"):
        material.save(tmp_path / "again")


def test_foreign_material_is_refused(x: jsmpc.Share, tmp_path: Path) -> None:
    for name in "mn":
        SQUARE.offline(KEY, x).save(tmp_path / name)
    other = jsmpc.secure(lambda x: x * x + 1)  # the same material would do, for another program
    with pytest.raises(jsmpc.MaterialError, match="another function"):
        other.online(load(tmp_path / "m"), x)
    whole = SQUARE.offline(KEY, x)
    part = jsmpc.Material({1: whole.parts[1]}, DEALER, whole.choreography)
    with pytest.raises(jsmpc.MaterialError, match="one party's part alone"):
        SQUARE.online(part, x)
    for smpc, what in (
        (jsmpc.Additive(bits=32, dealer="james"), "bits"),
        (jsmpc.Additive(encoding=jsmpc.FixedPoint(10, 3), dealer="james"), "base"),
        (jsmpc.Additive(parties=3, dealer="james"), "parties"),
        (jsmpc.Replicated3(parties=("party0", "party1", "c")), "protocol"),
    ):
        with pytest.raises(jsmpc.MaterialError, match=f"of another {what}"):
            load(tmp_path / "m", smpc)
    first, second = (tmp_path / f"m.party{i}.material" for i in range(2))
    shutil.copy(tmp_path / "n.party1.material", second)
    with pytest.raises(jsmpc.MaterialError, match="dealt in different runs"):
        load(tmp_path / "m")
    shutil.copy(first, second)
    with pytest.raises(jsmpc.MaterialError, match="of another party: 'party0'"):
        load(tmp_path / "m")
    second.unlink()
    with pytest.raises(jsmpc.MaterialError, match=r"party1\.material: there is no such file"):
        load(tmp_path / "m")


def test_damaged_files_are_refused(x: jsmpc.Share, tmp_path: Path) -> None:
    (file, _) = SQUARE.offline(KEY, x).save(tmp_path / "m")
    whole = file.read_bytes()
    damaged: dict[str, bytes] = {
        f"byte {i}": whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :]
        for i in range(0, len(whole), 37)
        if whole[i : i + 1].strip(b"\0 \n")  # padding does not matter
    }
    damaged |= {f"cut at {i}": whole[:i] for i in range(0, len(whole), 101)}
    damaged |= {"longer": whole + bytes(64), "text": b"seeds", "shares": b"PK\3\4" + whole}
    for what, content in damaged.items():
        file.write_bytes(content)
        with pytest.raises(jsmpc.MaterialError, match=r"damaged|used|of another"):
            print(what, load(tmp_path / "m"))
    file.write_bytes(whole)
    SQUARE.online(load(tmp_path / "m"), x)


def test_words_are_read_as_they_are_used(x: jsmpc.Share, tmp_path: Path) -> None:
    """They stay where the file is mapped: no copy of the material is made in memory."""
    big = jsmpc.share(KEY, np.zeros(1 << 16, np.float32), DEALER)
    SQUARE.offline(KEY, big).save(tmp_path / "m")
    arrays = [a for part in load(tmp_path / "m").parts.values() for a in part if a.size > 1000]
    mapped = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if "m.party" in line
    ]
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in mapped]
    assert arrays
    for array in arrays:
        assert any(a <= array.unsafe_buffer_pointer() < b for a, b in spans)


def run(
    folder: Path, place: str, *arguments: str, dealer: bool = False, protocol: str = "additive"
) -> list[Ended]:
    names = ("party0", "party1", *(("james",) if dealer else ()))
    home = folder / place  # with the identities and the logs of all runs there
    home.mkdir(exist_ok=True)
    with Deployment(
        Loopback(len(names)),
        home,
        PROGRAM,
        folder,
        *arguments,
        names=names,
        protocol=protocol,
        dealer="james",
        silence=3.0,
    ) as deployment:
        return deployment.ended(60)


def test_parties_use_what_a_dealer_wrote_and_nobody_uses_it_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = tuple(rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4, 2)))
    shares = jsmpc.share(jax.random.key(0), values, DEALER)
    jsmpc.save(shares, tmp_path / "in")
    f = jsmpc.secure(network)
    f.offline(KEY, *types(DEALER)).save(tmp_path / "alone")  # the dealer, who is not there later
    backup = {p: p.read_bytes() for p in tmp_path.glob("alone.*")}

    ended = run(tmp_path, "without", "use", "alone")
    assert [e.code for e in ended] == [0, 0], ended
    found = jsmpc.load(tmp_path / "out", DEALER)
    for mine, theirs in zip(found, f(KEY, *shares), strict=True):
        np.testing.assert_array_equal(mine.components[0], theirs.components[0])

    for path, content in backup.items():  # a copy of the files, restored: the logs know
        path.write_bytes(content)
    ended = run(tmp_path, "without", "use", "alone")
    assert [e.code for e in ended] == [1, 1]
    assert any("the log of party" in e.err for e in ended)

    # A dealer's process deals in one session, its material is used in another, once.
    ended = run(tmp_path, "with", "deal", "served", dealer=True)
    assert [e.code for e in ended] == [0, 0, 0], ended
    assert "served.party1.material" in ended[1].out and "dealt []" in ended[2].out
    assert not list(tmp_path.glob("served.james*"))
    ended = run(tmp_path, "without", "crash", "served")
    assert [e.code for e in ended] == [1, 9] and "computed" not in ended[0].out
    ended = run(tmp_path, "without", "use", "served")
    assert [e.code for e in ended] == [1, 1]
    assert all("has been used" in e.err or "ended the run" in e.err for e in ended)
    assert not any("computed" in e.out for e in ended)


def test_a_helper_deals_and_computes_with_its_own_part(tmp_path: Path) -> None:
    smpc = jsmpc.SecureNN(helper="james")
    values = tuple(np.full(s, 0.5, np.float32) for s in ((3, 4), (4, 2)))
    jsmpc.save(jsmpc.share(jax.random.key(0), values, smpc), tmp_path / "in")
    for task, said in (("deal", "dealt ['m."), ("use", "computed")):
        ended = run(tmp_path, "all", task, "m", dealer=True, protocol="securenn")
        assert [e.code for e in ended] == [0, 0, 0], ended
        assert all(said in e.out for e in ended)
    assert (tmp_path / "m.james.material").exists()
    found = jsmpc.reveal(jsmpc.load(tmp_path / "out", smpc))
    for mine, plain in zip(found, network(*values), strict=True):
        np.testing.assert_allclose(mine, plain, atol=1e-4)
