"""Self-signed certificates: how they are made, and what is read from them.

Parties know each other's certificates beforehand, so no authority signs them.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from typing import Any

from jsmpc._src.deployment.errors import ConfigError

# A party whose clock is behind can use a certificate that was made a moment ago.
_EARLIER = datetime.timedelta(days=1)
_LIFE = datetime.timedelta(days=3650)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What a certificate says.

    Attributes:
      name: its common name, the party's.
      fingerprint: the SHA-256 of its DER form, in groups of four hexadecimal digits.
      public_key: the key it vouches for, in DER form.
      starts, ends: when it is valid.
      pem: the certificate itself, without what surrounds it in its file.
    """

    name: str
    fingerprint: str
    public_key: bytes
    starts: datetime.datetime
    ends: datetime.datetime
    pem: bytes

    def check_time(self, where: str) -> None:
        """Raise ConfigError unless the certificate is valid now; `where` says whose it is."""
        now = datetime.datetime.now(datetime.UTC)
        if now >= self.ends:
            raise ConfigError(
                f"{where}: the certificate of {self.name!r} expired on {self.ends:%Y-%m-%d}. Make "
                "a new identity with `jsmpc keys new` in another folder and send everyone its "
                "certificate"
            )
        if now < self.starts:
            raise ConfigError(
                f"{where}: the certificate of {self.name!r} is not valid before "
                f"{self.starts:%Y-%m-%d %H:%M} UTC. Set the clock of this machine"
            )


def create(name: str) -> tuple[bytes, bytes]:
    """A new private key and the certificate of its public key, both as PEM.

    The key is one of P-256: every implementation of TLS 1.3 must have that curve (RFC 8446,
    section 9.1), while Ed25519 is optional.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_signatures(x509), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([Usage.SERVER_AUTH, Usage.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def _signatures(x509: Any) -> Any:
    """The use of a key that signs handshakes and nothing else."""
    others = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(digital_signature=True, **dict.fromkeys(others, False))


def read(pem: bytes, where: str) -> Certificate:
    """The one certificate in a PEM text; `where` says in errors whose it is.

    Raises:
      ConfigError: if there is none, more than one, one without a name, or a private key beside it.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    if b"PRIVATE KEY-----" in pem:
        raise ConfigError(
            f"{where}: holds a private key, which belongs on its owner's machine alone. Put the "
            "certificate (….cert.pem) here, and if the key has left its machine, make a new "
            "identity with `jsmpc keys new`"
        )
    try:
        found = x509.load_pem_x509_certificates(pem)
        certificate, key = found[0], _der(found[0].public_key())
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{where}: no certificate in PEM form. Give the ….cert.pem that `jsmpc keys new` wrote"
        ) from None
    if len(found) != 1:
        raise ConfigError(
            f"{where}: {len(found)} certificates. Give one, the party's own, self-signed"
        )
    if len(names) != 1:
        raise ConfigError(
            f"{where}: the certificate has {len(names)} common names instead of one, the party's. "
            "Make one with `jsmpc keys new`"
        )
    return Certificate(
        str(names[0].value),
        digest(certificate.public_bytes(serialization.Encoding.DER)),
        key,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.public_bytes(serialization.Encoding.PEM),
    )


def public_key(private: bytes, where: str) -> bytes:
    """The public part, in DER form, of a private key in PEM form.

    Raises:
      ConfigError: if it is no key, or an encrypted one.
    """
    from cryptography.hazmat.primitives import serialization

    try:
        return _der(serialization.load_pem_private_key(private, password=None).public_key())
    except TypeError:
        raise ConfigError(
            f"{where}: the key is encrypted. A party starts without anyone to type a password: "
            "keep the key unencrypted, readable by its owner alone"
        ) from None
    except Exception as error:  # cryptography's own kinds are many; their texts may quote the file
        raise ConfigError(
            f"{where}: no private key in PEM form ({type(error).__name__}). Make a new identity "
            "with `jsmpc keys new` in another folder"
        ) from None


def grouped(digits: str) -> str:
    """Hexadecimal digits in groups of four, as fingerprints are shown.

    Example:
      >>> grouped("ab12cd34")
      'ab12 cd34'
    """
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def same(fingerprint: str, other: str) -> bool:
    """Whether two fingerprints are the same, however they are grouped."""
    return _digits(fingerprint) == _digits(other)


def digest(data: bytes) -> str:
    """The SHA-256 of bytes, shown as a fingerprint."""
    return grouped(hashlib.sha256(data).hexdigest())


def _digits(fingerprint: str) -> str:
    return "".join(c for c in fingerprint.lower() if c not in " :-\t\n")


def _der(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
