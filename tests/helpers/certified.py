"""Certificates that `jsmpc keys new` would not make."""

from __future__ import annotations

import datetime
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jsmpc._src.deployment.identity import Identity


def certified(
    party: Identity, name: str, life: timedelta = timedelta(days=1), authority: bool = False
) -> str:
    """Another certificate for a party's key, with a name, which expires after its life from now.

    That of an authority may sign others.
    """
    key = serialization.load_pem_private_key(party.key_path.read_bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1)
    start = min(now, now + life) - timedelta(minutes=1)
    builder = builder.not_valid_before(start).not_valid_after(now + life)
    basics = x509.BasicConstraints(ca=authority, path_length=None)
    builder = builder.add_extension(basics, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def signed_by(authority: Identity, name: str) -> tuple[bytes, bytes]:
    """A new key with a certificate that somebody else has signed, as PEM."""
    issuer = x509.load_pem_x509_certificate(authority.certificate_path.read_bytes())
    key = serialization.load_pem_private_key(authority.key_path.read_bytes(), None)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    private = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(issuer.subject, subject, private.public_key(), 7)
    builder = builder.not_valid_before(issuer.not_valid_before_utc)
    builder = builder.not_valid_after(issuer.not_valid_after_utc)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return (
        private.private_bytes(pem, pkcs8, serialization.NoEncryption()),
        builder.sign(key, hashes.SHA256()).public_bytes(pem),
    )
