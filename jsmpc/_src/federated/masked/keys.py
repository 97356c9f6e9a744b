"""Keys of a round: agreement, encryption of shares, seeds of masks, commitments and signatures.

X25519 (RFC 7748), HKDF with SHA-256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439) and Ed25519 (RFC
8032), all from `cryptography`. Every derivation names its purpose and the context of its round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PUBLIC, COMMITMENT, SIGNATURE = 32, 32, 64  # bytes
TAG = 16  # bytes that encryption adds

_NONCE = bytes(12)  # a key encrypts one message


def new_identity() -> tuple[bytes, bytes]:
    """A client's long-term key of signatures: the private and the public one, 32 bytes each.

    The private key is kept by the client; everyone knows the public keys of all.

    Example:
      >>> from jsmpc import federated
      >>> private, public = federated.new_identity()
      >>> len(private), len(public)
      (32, 32)
    """
    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def public_of(private: bytes) -> bytes:
    """The public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreement(private: bytes) -> Callable[[bytes], bytes | None]:
    """From public keys to what they have in common with a private one; None if that is nothing."""
    own = X25519PrivateKey.from_private_bytes(private)

    def agreed(public: bytes) -> bytes | None:
        try:
            return own.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            return None

    return agreed


def has_order(public: bytes) -> bool:
    """Whether a public key has anything in common with a private one."""
    return agreement(b"\x40" * 32)(public) is not None


def derived(secret: bytes, context: bytes, purpose: str) -> bytes:
    """32 bytes for a purpose."""
    return HKDF(hashes.SHA256(), 32, context, purpose.encode()).derive(secret)


def commitment(context: bytes, purpose: str, secret: bytes) -> bytes:
    """A hash that binds to a secret, and hides it as it is uniform."""
    return hashlib.sha256(b"jsmpc commitment\0" + context + purpose.encode() + secret).digest()


def sealed(key: bytes, plain: bytes, about: bytes) -> bytes:
    """Encrypted and authenticated, together with what it is about. The key serves once."""
    return ChaCha20Poly1305(key).encrypt(_NONCE, plain, about)


def opened(key: bytes, data: bytes, about: bytes) -> bytes | None:
    """What was sealed; None for anything else."""
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, data, about)
    except InvalidTag:
        return None


def signed(private: bytes, data: bytes) -> bytes:
    """A signature of data."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(data)


def is_signed(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether a signature is one of data."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def identity_of(private: bytes) -> bytes:
    """The public key of signatures of a private one."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
