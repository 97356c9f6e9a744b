"""The command `jsmpc serve`: what it refuses, and the owner's shares."""

from __future__ import annotations

import stat
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from services import MODEL

import jsmpc
from jsmpc._src.deployment import identity
from jsmpc.examples import command

NAMES = ("alice", "bob", "carol")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    lines = ['protocol = "replicated"']
    for port, name in enumerate(NAMES, 4001):
        identity.new(name, tmp_path)
        lines += [f"[parties.{name}]", 'host = "127.0.0.1"', f"port = {port}"]
        lines += [f"requests = {port + 1000}", f'certificate = "{name}.cert.pem"']
    identity.new("dave", tmp_path)
    lines += ["[clients.dave]", 'certificate = "dave.cert.pem"']
    file = tmp_path / "parties.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert command.main(["serve", *map(str, arguments)]) == 1
    out, err = capsys.readouterr()
    assert not out and "Traceback" not in err
    return err


def test_one_way_to_run_is_needed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "one of --name, --launch, --share is needed, not none" in refusal(capsys, MODEL)
    told = refusal(capsys, MODEL, "--launch", "--name", "alice")
    assert "not --name and --launch" in told
    assert "--name needs --config" in refusal(capsys, MODEL, "--name", "alice")
    named = (MODEL, "--name", "alice", "--config", config)
    assert "--weights: missing" in refusal(capsys, *named)
    assert "Did you mean 'alice'" in refusal(capsys, MODEL, "--name", "alic", "--config", config)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--largest", "6"), "power of two, not 6"),
        (("--largest", "0"), "power of two, not 0"),
        (("--per-minute", "0"), "--per-minute: must be a positive number"),
        (("--waiting", "-1"), "--waiting: must be a positive number"),
        (("--patience", "nan"), "--patience: must be a positive number"),
        (("--stock", "2"), "no dealer takes part"),
        (("--dealer", "james"), "the replicated protocol has no dealer"),
    ],
    ids=str,
)
def test_what_makes_no_service(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refusal(capsys, MODEL, "--launch", *arguments)


@pytest.mark.parametrize(
    "text, told",
    [
        ("x = 1", "defines no apply"),
        ("def apply(params, x): return x", "INPUT must be the shape and dtype"),
        (
            "import jax, numpy as np\nINPUT = jax.ShapeDtypeStruct((), np.complex64)\n"
            "apply = lambda params, x: x",
            "INPUT is of complex64",
        ),
        (
            "import jax, numpy as np\nINPUT = jax.ShapeDtypeStruct((), np.float32)\n"
            "apply = lambda params, x: x\nparams = 3",
            "params must be a function",
        ),
        (
            "import jax, numpy as np\nINPUT = jax.ShapeDtypeStruct((), np.float32)\n"
            "apply = lambda params, x: x",
            "defines no params(), which gives the weights",
        ),
    ],
    ids=lambda x: x[:20],
)
def test_what_is_no_model(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.py"
    file.write_text(text)
    assert told in refusal(capsys, file, "--launch")
    assert "Name a Python file, or one of: mnist" in refusal(capsys, tmp_path / "none", "--launch")


@pytest.mark.parametrize(
    "change, told",
    [
        (("requests = 5001\n", ""), "[parties.alice]: requests: missing"),
        (("requests = 5001", "requests = 4001"), "the port for the parties too"),
        (("requests = 5002", "requests = 5001"), "'alice' has the same address"),
        (("requests = 5001", "requests = 70000"), "from 1 to 65535"),
        (("[clients.dave]", "[clients.alice]"), "is in [parties] too"),
        (("[clients.dave]", "[clients.erin]"), "is that of 'dave'"),
        (('"replicated"', '"replicated"\nlargest = 0'), "must be 1 MiB or more"),
    ],
    ids=str,
)
def test_what_is_no_file_of_parties(config: Path, change: tuple[str, str], told: str) -> None:
    config.write_text(config.read_text().replace(*change))
    with pytest.raises(jsmpc.JsmpcError) as refused:
        jsmpc.connect(config, name="dave", patience=0)
    assert told in str(refused.value)


def test_parties_that_are_not_there_are_named(config: Path) -> None:
    with pytest.raises(jsmpc.LinkError, match=r"alice|bob|carol"):
        jsmpc.connect(config, name="dave", patience=0)


def test_the_owner_shares_the_weights(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config.with_name("weights")
    assert command.main(["serve", str(MODEL), "--share", str(path), "--config", str(config)]) == 0
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [file.name for file in files] == [f"weights.{name}.share" for name in NAMES]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    shares = jsmpc.load(path, jsmpc.Replicated3(parties=NAMES))
    found = jax.tree.map(
        lambda x: np.asarray(jsmpc.reveal(x)), shares, is_leaf=lambda x: isinstance(x, jsmpc.Share)
    )
    for name, value in tiny.params().items():
        np.testing.assert_allclose(found[name], value, atol=1e-4)
