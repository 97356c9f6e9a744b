"""Identities: what is written, what is refused, and that TLS takes them on both sides."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from jsmpc._src.deployment import certificates, identity
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.identity import Identity


@pytest.fixture
def alice(tmp_path: Path) -> Identity:
    return identity.new("alice", tmp_path)


def test_an_identity_is_loaded_as_it_was_made(alice: Identity, tmp_path: Path) -> None:
    assert identity.load(tmp_path, "alice") == alice
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alice.cert.pem", "alice.key.pem"]
    found = certificates.read(alice.certificate_path.read_bytes(), "alice")
    assert (found.name, found.fingerprint) == ("alice", alice.fingerprint)
    der = ssl.PEM_cert_to_DER_cert(alice.certificate_path.read_text())
    assert alice.fingerprint == certificates.digest(der)
    assert [len(group) for group in alice.fingerprint.split(" ")] == [4] * 16


def test_the_key_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = identity.new("bob", tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.key_path.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" not in made.certificate_path.read_bytes()


@pytest.mark.parametrize("existing", ["alice.key.pem", "alice.cert.pem"])
def test_nothing_is_overwritten_and_nothing_is_left_half_done(
    existing: str, tmp_path: Path
) -> None:
    (tmp_path / existing).write_text("precious")
    with pytest.raises(ConfigError, match=rf"{existing} exists.*another folder"):
        identity.new("alice", tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {existing: "precious"}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "alice.key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists"):
        identity.new("alice", tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "../alice", "älice", "alice\n", "everyone"])
def test_names_that_no_party_may_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name"):
        identity.new(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_longest_name(tmp_path: Path) -> None:
    name = "A-z_0123" * 8
    assert identity.new(name, tmp_path) == identity.load(tmp_path, name)


def test_a_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written: No such file.*folder that exists"):
        identity.new("alice", tmp_path / "none")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_or_change(alice: Identity, mode: int) -> None:
    alice.key_path.chmod(mode)
    with pytest.raises(ConfigError, match=r"`chmod 600 .*alice\.key\.pem`"):
        identity.load(alice.key_path.parent, "alice")


@pytest.mark.parametrize("missing", ["alice.key.pem", "alice.cert.pem"])
def test_a_missing_file(alice: Identity, missing: str, tmp_path: Path) -> None:
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError, match=rf"{missing}: there is no such file.*keys new"):
        identity.load(tmp_path, "alice")


def test_files_that_do_not_belong_together(alice: Identity, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = identity.new("alice", tmp_path / "other")
    alice.certificate_path.write_bytes(other.certificate_path.read_bytes())
    with pytest.raises(ConfigError, match="is not the certificate of the key"):
        identity.load(tmp_path, "alice")
    bob = identity.new("bob", tmp_path)
    alice.certificate_path.write_bytes(bob.certificate_path.read_bytes())
    with pytest.raises(ConfigError, match="certificate of 'bob', not of 'alice'"):
        identity.load(tmp_path, "alice")


def test_errors_never_quote_a_key(alice: Identity, tmp_path: Path) -> None:
    alice.key_path.write_text("swordfish")
    with pytest.raises(ConfigError, match="no private key in PEM form") as error:
        identity.load(tmp_path, "alice")
    assert "swordfish" not in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_encrypted_keys_are_refused(alice: Identity, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s

    key = s.load_pem_private_key(alice.key_path.read_bytes(), None)
    secret = s.BestAvailableEncryption(b"swordfish")
    alice.key_path.write_bytes(
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, secret)
    )
    with pytest.raises(ConfigError, match="key is encrypted"):
        identity.load(tmp_path, "alice")


def test_what_is_no_certificate(alice: Identity) -> None:
    pem = alice.certificate_path.read_bytes()
    for text, message in (
        (b"", "no certificate in PEM form"),
        (pem.replace(b"M", b"A", 20), "no certificate in PEM form"),
        (pem + pem, "2 certificates"),
        (pem + alice.key_path.read_bytes(), r"private key.*keys new"),
    ):
        with pytest.raises(ConfigError, match=rf"^here: .*{message}"):
            certificates.read(text, "here")


def test_certificates_have_their_time(alice: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    found = certificates.read(alice.certificate_path.read_bytes(), "here")
    found.check_time("here")

    class Clock(certificates.datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    monkeypatch.setattr(certificates.datetime, "datetime", Clock)
    moment = found.ends
    with pytest.raises(ConfigError, match=r"here: .*'alice' expired on .*keys new"):
        found.check_time("here")
    with pytest.raises(ConfigError, match=r"alice\.cert\.pem: .*expired"):
        identity.load(alice.key_path.parent, "alice")
    moment = found.starts - certificates._EARLIER
    with pytest.raises(ConfigError, match=r"not valid before .*clock"):
        found.check_time("here")


def side(party: Identity, other: Identity, server: bool) -> ssl.SSLContext:
    """TLS 1.3 that trusts one certificate and no authority, as strictly as OpenSSL can."""
    kind = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(other.certificate_path)
    context.load_cert_chain(party.certificate_path, party.key_path)
    return context


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> bytes:
    """What the server gets from a client that expects a name."""
    near, far = socket.socketpair()
    near.settimeout(5)
    far.settimeout(5)
    got: list[bytes] = []

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as link:
                got.append(link.recv(5))
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name) as link:
            link.sendall(b"hello")
    finally:
        near.close()
        thread.join()
    return b"".join(got)


def test_tls_takes_identities_on_both_sides(alice: Identity, tmp_path: Path) -> None:
    bob = identity.new("bob", tmp_path)
    assert handshake(side(alice, bob, False), side(bob, alice, True), "bob") == b"hello"


def test_tls_refuses_another_identity_of_the_same_name(alice: Identity, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    bob, mallory = identity.new("bob", tmp_path), identity.new("bob", tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(side(alice, bob, False), side(mallory, alice, True), "bob")
