"""Files of parties: what is read, what all must agree on, and every mistake with its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import jsmpc
from certified import certified
from jsmpc._src.deployment import identity
from jsmpc._src.deployment.config import Config
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.identity import Identity

NAMES = ("alice", "bob", "carol")
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("identities")
    return {name: identity.new(name, folder) for name in (*NAMES, "james")}


@pytest.fixture
def write(identities: dict[str, Identity]) -> Write:
    """Write a file beside the identities: lines on top, lines of each party, lines below."""

    def write(top: str, names: tuple[str, ...] = NAMES, below: str = "", **changed: str) -> Path:
        lines = [top]
        for port, name in enumerate(names, 4001):
            row = f'host = "192.0.2.1"\nport = {port}\ncertificate = "{name}.cert.pem"'
            lines.append(f"[parties.{name}]\n{changed.get(name, row)}")
        file = identities["alice"].key_path.parent / "parties.toml"
        file.write_text("\n".join((*lines, below)))
        return file

    return write


REPLICATED = 'protocol = "replicated"'
ADDITIVE = 'protocol = "additive"\ndealer = "james"'
SECURENN = 'protocol = "securenn"\ndealer = "carol"'


def test_defaults(write: Write, identities: dict[str, Identity]) -> None:
    config = Config.load(write(REPLICATED))
    assert config.protocol == jsmpc.Replicated3(parties=NAMES)
    assert (config.patience, config.silence) == (60, 10)
    assert [(p.name, p.host, p.port) for p in config.peers] == [
        (name, "192.0.2.1", 4001 + rank) for rank, name in enumerate(NAMES)
    ]
    for peer in config.peers:
        found = identities[peer.name]
        assert peer.certificate == found.certificate_path.read_bytes()
        assert peer.fingerprint == found.fingerprint
    assert [config.rank(name) for name in NAMES] == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"no party 'carl'\. Did you mean 'carol'\?"):
        config.rank("carl")


def test_everything_that_can_be_said(write: Write) -> None:
    top = f"{REPLICATED}\nbits = 32\nbase = 10\nprecision_fractional = 2\npatience = 5"
    config = Config.load(write(f"{top}\nsilence = 2.5"))
    assert config.protocol == jsmpc.Replicated3(
        parties=NAMES, bits=32, encoding=jsmpc.FixedPoint(10, 2)
    )
    assert (config.patience, config.silence) == (5.0, 2.5)
    kept = Config.load(write(f"{ADDITIVE}\nstock = 3\nstock_memory = 7", ("james", "bob", "alice")))
    assert (kept.stock, kept.stock_memory) == (3, 7)


def test_the_dealer_is_the_last_endpoint_and_no_party(write: Write) -> None:
    config = Config.load(write(ADDITIVE, ("james", "bob", "alice")))
    assert config.protocol == jsmpc.Additive(parties=("bob", "alice"), dealer="james")
    assert [peer.name for peer in config.peers] == ["bob", "alice", "james"]
    assert config.rank("james") == 2


def test_a_certificate_in_the_file_itself(write: Write, identities: dict[str, Identity]) -> None:
    pem = identities["bob"].certificate_path.read_text()
    row = f'host = "::1"\nport = 1\ncertificate = """\nfrom bob\n{pem}"""'
    digits = identities["bob"].fingerprint.upper().replace(" ", ":")
    config = Config.load(write(REPLICATED, bob=f'{row}\nfingerprint = "{digits}"'))
    assert (config.peers[1].host, config.peers[1].certificate) == ("::1", pem.encode())


def test_all_must_agree_on_all_but_addresses_and_times(
    write: Write, identities: dict[str, Identity]
) -> None:
    first = Config.load(write(REPLICATED)).fingerprint
    elsewhere = 'host = "example.org"\nport = 9\ncertificate = "bob.cert.pem"'
    written = f"{REPLICATED}\nbits = 64\nbase = 2\nprecision_fractional = 18\npatience = 3"
    assert Config.load(write(written, bob=elsewhere)).fingerprint == first
    (folder := identities["alice"].key_path.parent / "other").mkdir(exist_ok=True)
    other = identity.new("bob", folder).certificate_path
    renewed = elsewhere.replace("bob.cert.pem", str(other))
    variants = (
        (f"{REPLICATED}\nbits = 32", NAMES, {}),
        (f"{REPLICATED}\nbits = 64\nprecision_fractional = 10", NAMES, {}),
        (f"{REPLICATED}\nbase = 10", NAMES, {}),
        (f"{REPLICATED}\nbase = 2\nprecision_fractional = 3", NAMES, {}),
        (f"{REPLICATED}\nprecision_fractional = 17", NAMES, {}),
        (REPLICATED, ("bob", "alice", "carol"), {}),
        (REPLICATED, NAMES, {"bob": renewed}),
        (ADDITIVE, ("alice", "bob", "james"), {}),
        (ADDITIVE, ("bob", "alice", "james"), {}),
        (ADDITIVE.replace("james", "bob"), ("alice", "bob", "james"), {}),
        (f"{ADDITIVE}\nstock = 2", ("alice", "bob", "james"), {}),
        (REPLICATED, ("alice", "bob", "james"), {}),
        ('protocol = "insecure-plain"', ("alice",), {}),
    )
    found = [Config.load(write(top, names, **rows)).fingerprint for top, names, rows in variants]
    assert len({first, *found}) == 1 + len(variants)


def test_the_identity_is_the_one_that_the_others_know(
    write: Write, identities: dict[str, Identity], tmp_path: Path
) -> None:
    config = Config.load(write(REPLICATED))
    assert config.identity("alice") == identities["alice"]
    identity.new("alice", tmp_path)
    with pytest.raises(ConfigError, match=r"\[parties\.alice\]: certificate: .*refuse alice"):
        config.identity("alice", tmp_path)


ROW = 'host = "h"\nport = 4001\ncertificate = "alice.cert.pem"'
ALICE = r"parties\.toml: \[parties\.alice\]: "


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ("", r"protocol: missing\. Write for example: protocol = \"replicated\""),
        ('protocol = "replicated3"', r"protocol: none .*'replicated3'.*mean 'replicated'"),
        ("protocol = 3", "protocol: must be a string, not an integer"),
        ("protocol = replicated", r"no TOML: .*line 1.*quotation marks"),
        (f"{REPLICATED}\npatence = 60", r"patence: unknown key\. Did you mean 'patience'\?"),
        (f"{REPLICATED}\nx = 1", r"x: unknown key\. There are: protocol, bits"),
        (f"{REPLICATED}\nbits = 16", "bits: must be 32 or 64, not 16"),
        (f"{REPLICATED}\nbits = true", "bits: must be an integer, not a boolean"),
        (f"{REPLICATED}\nbase = 3", "base: must be 2 or 10, not 3"),
        (f"{REPLICATED}\nprecision_fractional = 31", "precision_fractional: .*Take fewer"),
        (
            f"{REPLICATED}\nprecision_fractional = -1",
            "precision_fractional: must be 0 or more",
        ),
        (f"{REPLICATED}\npatience = 0", "patience: must be a positive, finite number"),
        (f"{REPLICATED}\nsilence = inf", "silence: must be a positive, finite number"),
        (f"{REPLICATED}\nsilence = nan", "silence: must be a positive, finite number"),
        (f'{REPLICATED}\nsilence = "10"', "silence: must be a number, not a string"),
        (f'{REPLICATED}\ndealer = "bob"', "dealer: the replicated protocol has none"),
        ('protocol = "additive"', "dealer: missing: the additive protocol has one"),
        ('protocol = "additive"\ndealer = "bop"', r"dealer: no such party\. .*mean 'bob'"),
        (
            'protocol = "additive"\ndealer = "bob"\ndealt_before = true',
            r"dealt_before: bob is in \[parties\]",
        ),
        (f"{REPLICATED}\nstock = 2", "stock: no dealer takes part"),
        (f"{SECURENN}\nstock = 2", "stock: no dealer takes part"),
        (f"{SECURENN}\ndealt_before = true", "dealt_before: carol computes with the parties"),
        (f"{ADDITIVE}\ndealt_before = true\nstock = 2", "stock: no dealer takes part"),
        (f"{ADDITIVE.replace('james', 'bob')}\nstock = -1", "stock: must be 0 sets or more"),
        (f"{ADDITIVE.replace('james', 'bob')}\nstock_memory = 9", "stock_memory: there is no s"),
        (f"{ADDITIVE.replace('james', 'bob')}\nstock = 1\nstock_memory = 0", "stock_memory: must"),
        (
            'protocol = "insecure-plain"',
            "parties: InsecurePlain runs among .*not 3. Change the parties",
        ),
    ],
)
def test_mistakes_on_top(write: Write, top: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"parties\.toml: {message}"):
        Config.load(write(top))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("port = 4001", "", r"port: missing\. Write for example: port = 4001"),
        ("port = 4001", "port = 0", "port: must be from 1 to 65535, not 0"),
        ("port = 4001", "port = 65536", "port: must be from 1 to 65535, not 65536"),
        ("port = 4001", 'port = "1"', "port: must be an integer, not a string"),
        ("port = 4001", "prot = 4001", r"prot: unknown key\. Did you mean 'port'\?"),
        ("port = 4001", "port = 1\nsilence = 3", "silence: .*Move it above the first table"),
        ('"h"', '""', "host: '' is no name or address"),
        ('"h"', '"https://h"', "host: 'https://h' is no name or address"),
        ('"h"', '"h:4001"', "host: 'h:4001' is no name or address"),
        ('"h"', '"0.0.0.0"', "host: '0.0.0.0' is no name or address"),
        ('"alice.cert.pem"', '"none.pem"', r"certificate: .*none\.pem: there is no such file"),
        ('"alice.cert.pem"', '"alice.key.pem"', "certificate: .*holds a private key"),
        ('"alice.cert.pem"', '"bob.cert.pem"', "certificate: is that of 'bob'.*keys new alice"),
        ('"alice.cert.pem"', '"-----BEGIN"', "certificate: the text: no certificate"),
        (ROW, f'{ROW}\nfingerprint = "ab12 cd34"', "fingerprint: .*not 'ab12 cd34'. Ask alice"),
    ],
)
def test_mistakes_about_a_party(write: Write, old: str, new: str, message: str) -> None:
    row = ROW.replace(old, new)
    assert row != ROW
    with pytest.raises(ConfigError, match=ALICE + message):
        Config.load(write(REPLICATED, alice=row))


def test_parties_share_neither_address_nor_key(
    write: Write, identities: dict[str, Identity]
) -> None:
    same = 'host = "192.0.2.1"\nport = 4001\ncertificate = "bob.cert.pem"'
    with pytest.raises(ConfigError, match=r"\[parties\.bob\]: port: 'alice' has the same address"):
        Config.load(write(REPLICATED, bob=same))
    row = f'host = "h"\nport = 1\ncertificate = """{certified(identities["alice"], "bob")}"""'
    with pytest.raises(ConfigError, match=r"\[parties\.bob\]: certificate: 'alice' has the same k"):
        Config.load(write(REPLICATED, bob=row))


def test_expired_certificates(write: Write, identities: dict[str, Identity]) -> None:
    pem = certified(identities["bob"], "bob", timedelta(days=-1))
    row = f'host = "h"\nport = 1\ncertificate = """{pem}"""'
    with pytest.raises(ConfigError, match=r"\[parties\.bob\]: certificate: .*'bob' expired on 20"):
        Config.load(write(REPLICATED, bob=row))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REPLICATED, "parties: missing"),
        (f"{REPLICATED}\nparties = 3", "parties: must be a table, not an integer"),
        (f"{REPLICATED}\nparties = {{}}", "parties: Replicated3 runs among exactly 3 parties"),
        (f"{REPLICATED}\n[parties]\nalice = 1", r"\[parties\.alice\]: must be a table"),
        (f'{REPLICATED}\n[parties."a b"]', r"\[parties\.a b\]: 'a b' is no name of a party"),
        (f"{REPLICATED}\n[parties.everyone]", r"'everyone' means all parties"),
    ],
)
def test_mistakes_about_the_table_of_parties(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "parties.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"parties\.toml: (\[.*\]: )?{message}"):
        Config.load(file)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such file\. Name the file"):
        Config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path} cannot be read: Is a directory")):
        Config.load(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"x\.toml: no TOML, byte 5 is not UTF-8"):
        Config.load(tmp_path / "x.toml")
