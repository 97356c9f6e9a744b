"""Real parties in processes of their own, connected by TLS: against the simulation, and when
something is wrong."""

from __future__ import annotations

import copy
import functools
import pickle
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from joint import network
from parties import Deployment, Loopback

import jsmpc
from jsmpc._src.api.held import Elsewhere, Held
from jsmpc._src.deployment import differences, log
from jsmpc._src.deployment.explain import Observer, explained
from jsmpc._src.readings.pricing import cache
from jsmpc._src.readings.pricing.speeds import Speeds
from jsmpc._src.readings.pricing.work import UNITS
from jsmpc._src.readings.projection.digest import digest
from jsmpc.examples.command import main

JOINT = Path(__file__).with_name("joint.py")


def launch(*arguments: str | Path, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jsmpc", "launch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def program(folder: Path, text: str) -> Path:
    file = folder / "program.py"
    file.write_text(
        "import jax, jax.numpy as jnp, numpy as np, jsmpc, os, sys, time\n"
        "from jsmpc._src.api.session import current\n"
        "me = current().name\n" + textwrap.dedent(text)
    )
    return file


def said(output: str, name: str) -> str:
    lines = (line.split(" | ", 1) for line in output.splitlines())
    return "\n".join(text for party, text in lines if party.strip() == name)


@pytest.mark.parametrize(
    ("smpc", "options"),
    [
        (jsmpc.Replicated3(), ()),
        (jsmpc.SecureNN(helper="james"), ("--protocol", "securenn", "--dealer", "james")),
        (jsmpc.FSS2(dealer="james"), ("--protocol", "fss2", "--dealer", "james")),
    ],
    ids=["replicated3", "securenn2", "fss2"],
)
def test_processes_compute_what_the_simulation_does(
    smpc: jsmpc.Protocol, options: tuple[str, ...], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    values = tuple(rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4, 2)))
    shares = jsmpc.share(jax.random.key(0), values, smpc)
    jsmpc.save(shares, tmp_path / "in")
    done = launch(*options, JOINT, tmp_path)
    assert done.returncode == 0, done.stderr
    out, total, own = jsmpc.secure(network)(jax.random.key(1), *shares)
    found = jsmpc.load(tmp_path / "out", smpc)["out"]
    np.testing.assert_array_equal(found.components[0], out.components[0])
    for name in smpc.parties:
        assert f"total {total!s} equal 40" in said(done.stdout, name)
        markers = re.findall(r"Elsewhere\(.*known to party1\)", said(done.stdout, name))
        assert len(markers) == 2 * (name != "party1")
        assert (f"own {own!s}" in said(done.stdout, name)) == (name == "party1")
        assert "more 40" in said(done.stdout, name)
        assert "differing: public arguments are not the same everywhere: argument [1] (one at" in (
            said(done.stdout, name)
        )
        assert re.search(r"one at party0.*; one at party1\)", said(done.stdout, name))
        assert "revealed 4" not in said(done.stdout, name)
    for name in smpc.endpoints:
        assert re.search("afterwards: .*(ended|closed)", said(done.stdout, name))
        assert "compiled 2\n" in said(done.stdout, name)  # an input and a reveal, once each
        assert "under jit: the programs of a session are compiled by" in said(done.stdout, name)
        assert "in a thread: the programs of a session run one after" in said(done.stdout, name)
    for name in smpc.endpoints[1:]:
        assert "marker seen False" in said(done.stdout, name)
    if smpc.dealer is not None:
        assert "total Elsewhere(float32[], known to the parties)" in said(done.stdout, "james")
        assert "own Elsewhere(float32[2], known to party1)" in said(done.stdout, "james")


def test_a_party_that_fails_ends_the_others_and_tells_nothing(tmp_path: Path) -> None:
    file = program(
        tmp_path,
        """
        x = jsmpc.input(np.ones(3, np.float32), owner="party0")
        if me == "party2":
            raise ValueError("the secret is 42")
        print("result", jsmpc.secure(lambda x: jsmpc.reveal(x * x))(jsmpc.random_key(), x))
        """,
    )
    done = launch(file)
    assert done.returncode == 1
    assert "result" not in done.stdout
    for name in ("party0", "party1"):
        assert "party2 ended the run: it met ValueError" in said(done.stderr, name)
        assert "42" not in said(done.stderr, name)


@pytest.mark.parametrize(
    ("difference", "what"),
    [
        ("jnp.sum if me == 'party1' else jnp.prod", "program"),
        ("lambda x: x * (2.0 if me == 'party1' else 3.0) * x", "choreography"),
    ],
)
def test_different_programs_are_noticed_before_anything_moves(
    difference: str, what: str, tmp_path: Path
) -> None:
    file = program(
        tmp_path,
        f"""
        x = jsmpc.input(np.ones(3, np.float32), owner="party0")
        f = {difference}
        print("result", jsmpc.reveal(jsmpc.secure(f)(jsmpc.random_key(), x)))
        """,
    )
    done = launch(file)
    assert done.returncode == 1
    assert "result" not in done.stdout
    assert f"do not agree on {what}" in done.stderr


def test_a_process_that_dies_ends_the_others_in_time(tmp_path: Path) -> None:
    file = program(
        tmp_path,
        """
        x = jsmpc.input(np.ones(3, np.float32), owner="party0")
        f = jsmpc.secure(lambda x: jsmpc.reveal(x * x))
        for i in range(1000):
            f(jsmpc.random_key(), x)
            if me == "party1" and i == 2:
                os.kill(os.getpid(), 9)
        print("result")
        """,
    )
    start = time.monotonic()
    done = launch("--silence", "3", file)
    assert done.returncode
    assert "result" not in done.stdout
    for name in ("party0", "party2"):
        error = said(done.stderr, name)
        assert "Traceback" not in error
        assert re.search("party1 closed|to party1 broke|from party1|party. ended the run", error)
    assert time.monotonic() - start < 60


def test_a_policy_is_asked_before_anything_moves(tmp_path: Path) -> None:
    """Two of three parties join by hand, the third with a policy for other reveals."""
    (tmp_path / "policy.toml").write_text(
        'inputs = ["of her own"]\n[[reveals]]\nto = "everyone"\n[[reveals]]\nto = "bob"\n'
    )
    file = program(
        tmp_path,
        """
        x = jsmpc.input(np.ones(3, np.float32), owner="alice", label="not carol's")
        f = jsmpc.secure(lambda x: (jsmpc.reveal(x.sum()), jsmpc.reveal(x, to="alice")))
        print("result", f(jsmpc.random_key(), x))
        """,
    )
    names = ("alice", "bob", "carol")
    options = {"carol": ("--policy", str(tmp_path / "policy.toml"))}
    with Deployment(
        Loopback(3), tmp_path, file, names=names, silence=5.0, options=options
    ) as deployment:
        ended = deployment.ended(90)
    assert [e.code for e in ended] == [1, 1, 1]
    assert "does not permit the reveal of 3 element(s) to alice at program.py" in ended[2].err
    for party in ended[:2]:
        assert "result" not in party.out
        assert "carol ended the run: it met PolicyError" in party.err
    entries = [log.verify(tmp_path / f"{name}.log").entries for name in names]
    assert min(entries) == entries[2] == 1  # the input alone


def test_a_choreography_has_one_digest() -> None:
    def of(f: Any, smpc: jsmpc.Protocol | None = None, size: int = 3) -> str:
        smpc = smpc or jsmpc.Replicated3()
        x = jsmpc.share(jax.random.key(0), np.ones(size, np.float32), smpc)
        return digest(jsmpc.secure(f).project(x))

    base = of(lambda x: x * x)
    assert of(lambda y: y * y) == base
    others = [
        of(lambda x: x * x + 1),
        of(lambda x: x * 0.5),
        of(lambda x: x * 0.25),
        of(lambda x: jsmpc.reveal(x * x)),
        of(lambda x: x * x, size=4),
        of(lambda x: x * x, jsmpc.Replicated3(bits=32)),
        of(lambda x: x * x, jsmpc.Additive()),
    ]
    assert len({base, *others}) == len(others) + 1


def test_a_program_is_explained_before_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(
        textwrap.dedent(
            """
            import jax.numpy as jnp, numpy as np, jsmpc
            def own():
                raise AssertionError("nobody's data is read")
            x = jsmpc.input(own, "party0", like=np.ones(3, np.float32), label="incomes")
            f = jsmpc.secure(
                lambda x: (x * x, jsmpc.reveal(x.sum()), jsmpc.reveal(x[:2], to="party2"))
            )
            y = f(jsmpc.random_key(), x)
            print("not shown", jsmpc.reveal(y[0], to="party1"))
            if float(y[1]) > 3:
                print("never")
            """
        )
    )
    text = "\n".join(explained(Observer(jsmpc.Replicated3()), str(file), []))
    assert "takes the input 'incomes'" in text
    # Three keys of masks, and the owner's own row to the one other party that holds it.
    assert f"input of party0: 1 round; sent: party0 {3 * 32 + 3 * 8} B, party1 0 B" in text
    assert "reveals 1 number to everyone, at program.py:7" in text
    assert "reveals 2 numbers to party2, at program.py:7" in text
    assert "reveals 3 numbers to party1, at program.py:10" in text
    assert "The explanation ends here" in text and "a Python float" in text
    assert "Revealed in all, where no loop repeats it: everyone: 1; party2: 2; party1: 3." in text
    assert "not shown" not in text


def test_what_a_dealer_is_told_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(
        "import jax, numpy as np, jsmpc\n"
        "x = jsmpc.input(np.ones(3, np.float32), 'party0')\n"
        "f = lambda x: jax.lax.cond(jsmpc.reveal(x[0]) > 0, lambda v: v * v, lambda v: v, x)\n"
        "jsmpc.secure(f)(jsmpc.random_key(), x)\n"
    )
    smpc = jsmpc.Additive(dealer="james")
    told = "reveals 1 number to james, at program.py:3"
    assert told in "\n".join(explained(Observer(smpc), str(file), []))
    stocked = "\n".join(explained(Observer(smpc, stocked=True), str(file), []))
    assert "everyone: 1." in stocked and "to james" not in stocked  # both branches are dealt


def test_a_program_is_priced_before_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "speeds", lambda: Speeds(dict.fromkeys(UNITS, 1e-10), 2))
    file = tmp_path / "program.py"
    file.write_text(
        textwrap.dedent(
            """
            import numpy as np, jsmpc
            x = jsmpc.input(np.ones((4, 1), np.float32), "party0")
            y = jsmpc.secure(lambda x: x @ x.T @ x)(jsmpc.random_key(), x)
            """
        )
    )
    assert main(["profile", "--bandwidth", "50", "--round-trip", "20", str(file)]) == 0
    text = capsys.readouterr().out
    assert "input of party0, Replicated3(3 parties, 64 bits): 1 round," in text
    assert "secure <lambda>, Replicated3(3 parties, 64 bits): 4 rounds," in text
    assert "program.py:4 (<lambda>): dot_general: (A @ B) @ C makes 4×4 numbers" in text
    assert "50 Mbit/s, 20 ms" in text and "program.py:4 (<lambda>)" in text


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["profile", "nofile.py"], "there is no such program"),
        (["profile", "--round-trip", "2", "mnist"], "with a --bandwidth"),
        (["profile", "--bandwidth", "0", "mnist"], "a positive bandwidth"),
        (["launch", "nofile.py"], "there is no such program"),
        (["explain", "nofile.py"], "there is no such program"),
        (["launch", "--parties", "2", "mnist"], "exactly 3 parties, not 2"),
        (["launch", "--dealer", "x", "mnist"], "has no dealer"),
        (["launch", "--without-dealer", "mnist"], "replicated has none"),
        (["launch", "--silence", "0", "mnist"], "jsmpc: --silence: must be a positive, finite"),
        (["launch", "--silence", "nan", "mnist"], "jsmpc: --silence: must be a positive, finite"),
        (["launch", "--stock", "-1", "mnist"], "jsmpc: --stock: must be 0 sets or more"),
        (
            ["launch", "--without-dealer", "--protocol", "securenn", "mnist"],
            "helper computes with the parties",
        ),
        (["launch", "--stock", "2", "mnist"], "jsmpc: --stock: no dealer takes part"),
        (
            ["launch", "--stock", "2", "--protocol", "securenn", "mnist"],
            "jsmpc: --stock: no dealer takes part",
        ),
        (["explain", "--stock", "2", "mnist"], "jsmpc: --stock: no dealer takes part"),
        (["party", "--name", "a", "--config", "none.toml", "mnist"], "there is no such file"),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str], what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    out, error = capfd.readouterr()
    assert not out and error.count("\n") == 1 and what in error


def test_shares_of_a_session_stay_in_it() -> None:
    smpc = jsmpc.Replicated3()
    held = Held(Observer(smpc), (3,), np.float32, ())
    share = jsmpc.share(jax.random.key(0), np.ones(3, np.float32), smpc)
    with pytest.raises(jsmpc.ProtocolError, match="of a session and a simulation"):
        jsmpc.secure(lambda x, y: x + y)(jsmpc.random_key(), held, share)
    with pytest.raises(jsmpc.ProtocolError, match=r"jsmpc\.save"):
        pickle.dumps(held)
    for refused in (float, np.asarray, bool, lambda x: x + 1):
        with pytest.raises(jsmpc.SecretError):
            refused(held)
    square = functools.partial(jsmpc.secure(lambda x: x * x), jsmpc.random_key())
    for transformed in (jax.jit, jax.vmap, jax.grad, lambda f: lambda x: jax.lax.map(f, x)):
        for x in (held, Elsewhere((3,), np.float32, "party1")):
            with pytest.raises(jsmpc.ProtocolError, match="outside of jit, vmap, scan and grad"):
                transformed(square)(x)
    assert copy.deepcopy({"x": held})["x"] is copy.copy(held) is held


def test_a_dealer_must_know_what_it_deals_by() -> None:
    """A public argument that the parties alone know: fine where the dealer does not need it."""
    smpc = jsmpc.Additive(dealer="james")
    dealer = Observer(smpc)
    dealer.endpoint = smpc.size
    held = Held(dealer, (3,), np.float32, ((),))
    unknown = Elsewhere((), np.int32, "the parties")
    jsmpc.secure(lambda x, n: x * x + n)(jsmpc.random_key(), held, unknown)
    assert len(dealer.runs) == 1
    branched = jsmpc.secure(lambda x, n: jax.lax.cond(n > 0, lambda v: v * v, lambda v: v, x))
    with pytest.raises(jsmpc.ProtocolError, match="it deals by it"):
        branched(jsmpc.random_key(), held, unknown)


def test_what_one_party_alone_knows_is_no_public_argument() -> None:
    party = Observer(jsmpc.Additive())
    party.endpoint = 1
    held = Held(party, (3,), np.float32, ((jax.numpy.zeros(3, np.uint32),),))
    unknown = Elsewhere((), np.float32, "party0")
    with pytest.raises(jsmpc.ProtocolError, match=r"argument \['n'\] is not known to an observer"):
        jsmpc.secure(lambda x, n: x + n)(jsmpc.random_key(), held, n=unknown)


def test_a_dealer_that_differs_is_told_from_the_parties() -> None:
    parties = {"bob": {"[0]": "1", "[1]": "2"}, "alice": {"[0]": "1", "[1]": "3"}}
    assert r"everywhere: [1] (one at alice; one at bob). All" in differences.explained(
        parties, "james"
    )
    parties["alice"]["[1]"] = "2"
    assert "what james deals by ([0] or [1])" in differences.explained(parties, "james")
