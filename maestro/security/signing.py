"""Signing and verifying: Ed25519 over DSSE's pre-authentication encoding, the payload an in-toto Statement v1 in canonical JSON.

Sources: DSSE protocol 1.0 (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md), RFC 8032, RFC 8785.

What makes an envelope acceptable:

1. Every signature in it verifies, is by a key of the required role, and no key signs twice. An unknown or foreign key's signature makes
   the whole envelope unacceptable, so that nothing unverified travels inside.
2. The statement says when it was issued (`predicate.issued`). That instant lies in the key's validity and not in the future: a retired key's
   statements therefore stay good, and nothing it would sign later is.
3. The key is not revoked at the instant of verification. Revocation takes back what was signed before too, since whoever holds a stolen key
   can write any date into a statement: what should stay is signed again by the new key.
4. The bytes that were signed are the canonical form of what they say, so that two readers cannot read them differently.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import TypeAdapter, ValidationError

from maestro.core.canonical import canonical_bytes
from maestro.core.errors import Conflict, Malformed, Untrusted
from maestro.core.model import Time, format_time
from maestro.core.statement import PAYLOAD_TYPE, Envelope, Role, Signature, Statement, TrustedKey, TrustPolicy
from maestro.security.private_file import read_private, write_atomically

CLOCK_SKEW = timedelta(seconds=60)
"""How far another machine's clock may be ahead of ours."""

MAX_PAYLOAD = 2**20
_INSTANT: TypeAdapter[datetime] = TypeAdapter(Time)


class PrivateKey:
    """An Ed25519 private key. Its text form never shows the key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.keyid = keyid(key.public_key())
        self.public_pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def __repr__(self) -> str:
        return f"PrivateKey(keyid={self.keyid!r})"

    @classmethod
    def generate(cls) -> Self:
        """A new key from the system's random source."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file (PKCS #8, PEM).

        Raises:
            NotFound: there is none.
            Refused: others may read it, or it is a link.
            Malformed: it holds no Ed25519 private key.
        """
        content = read_private(path, "private key")
        try:
            key = load_pem_private_key(content, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Malformed(f"private key {path} is not an unencrypted PKCS #8 PEM file") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise Malformed(f"private key {path} is not an Ed25519 key", remedy="maestro keys rotate-signing")
        return cls(key)

    def save(self, path: Path, *, replace: bool = False) -> None:
        """Write the key file with mode 0600.

        Raises:
            Conflict: there is a key already and `replace` is false.
            Unreachable: it cannot be written.
        """
        if not replace and path.exists():
            raise Conflict(f"private key {path} exists", remedy="maestro keys rotate-signing")
        write_atomically(path, self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def sign(self, statement: Statement) -> Envelope:
        """The statement in an envelope with one signature."""
        payload = canonical_bytes(statement.document())
        signature = self._key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
        return Envelope(
            payload=base64.b64encode(payload).decode(),
            payload_type=PAYLOAD_TYPE,
            signatures=(Signature(keyid=self.keyid, sig=base64.b64encode(signature).decode()),),
        )


def load_public_key(pem: str) -> Ed25519PublicKey:
    """A public key from PEM.

    Raises:
        Malformed: it is no Ed25519 public key.
    """
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Malformed("the public key is not PEM (SubjectPublicKeyInfo)", field="public_key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise Malformed("the public key is not an Ed25519 key", field="public_key")
    return key


def keyid(key: Ed25519PublicKey) -> str:
    """Hex SHA-256 of the key's SubjectPublicKeyInfo in DER."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """DSSE's PAE: the bytes that are signed.

    >>> pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def verify(envelope: Envelope, policy: TrustPolicy, role: Role, at: datetime) -> Statement:
    """The statement of an envelope that is acceptable at `at` (rules: the module's text).

    Raises:
        Untrusted: it is not; the message says which rule it breaks.
    """
    statement, keys = _verify_signatures(envelope, policy, role)
    issued = _issued(statement)
    if issued > at + CLOCK_SKEW:
        raise Untrusted(f"the statement was issued in the future ({format_time(issued)})", remedy="correct the clocks")
    for key in keys:
        if key.revoked is not None and at >= key.revoked:
            raise Untrusted(
                f"{role} key {key.keyid[:12]} was revoked at {format_time(key.revoked)}",
                remedy="sign again with the current key",
            )
        if issued < key.not_before or (key.not_after is not None and issued > key.not_after):
            raise Untrusted(
                f"the statement was issued at {format_time(issued)}, outside the validity of {role} key {key.keyid[:12]}",
                remedy="sign again with the current key",
            )
    return statement


def verify_whoever_was_trusted(envelope: Envelope, policy: TrustPolicy, role: Role) -> Statement:
    """The statement of an envelope whose signatures are by keys of `role`, valid or retired or revoked.

    It shows what was once signed; it admits nothing.

    Raises:
        Untrusted: a signature does not verify.
    """
    return _verify_signatures(envelope, policy, role)[0]


def _verify_signatures(envelope: Envelope, policy: TrustPolicy, role: Role) -> tuple[Statement, list[TrustedKey]]:
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Untrusted(f"the payload type is {envelope.payload_type!r}, not {PAYLOAD_TYPE!r}")
    payload = _decode(envelope.payload, "payload")
    if len(payload) > MAX_PAYLOAD:
        raise Untrusted(f"the payload is larger than {MAX_PAYLOAD} bytes")
    signed = pre_authentication_encoding(envelope.payload_type, payload)
    known = {key.keyid: key for key in policy.keys}
    keys: dict[str, TrustedKey] = {}
    for signature in envelope.signatures:
        if signature.keyid in keys:
            raise Untrusted(f"key {signature.keyid[:12]} signs twice")
        key = known.get(signature.keyid)
        if key is None:
            raise Untrusted(
                f"key {signature.keyid[:12]} is not in the trust policy",
                remedy="sign with a trusted key, or add the key to the trust policy",
            )
        if key.role != role:
            raise Untrusted(f"key {signature.keyid[:12]} has the role {key.role}, the statement needs {role}")
        public = load_public_key(key.public_key)
        if keyid(public) != key.keyid:
            raise Untrusted(f"the trust policy names key {key.keyid[:12]} with another key's bytes")
        try:
            public.verify(_decode(signature.sig, "signature"), signed)
        except InvalidSignature:
            raise Untrusted(f"the signature by {role} key {key.keyid[:12]} does not verify") from None
        keys[key.keyid] = key
    if not keys:
        raise Untrusted("the envelope has no signature")
    return _parse(payload), list(keys.values())


def _decode(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Untrusted(f"the {what} is not base64") from None
    # Padding bits and other alphabets would let one signature have several spellings.
    if base64.b64encode(raw).decode() != text:
        raise Untrusted(f"the {what} is not in base64's one standard form")
    return raw


def _parse(payload: bytes) -> Statement:
    try:
        document: Any = json.loads(payload)
        if canonical_bytes(document) != payload:
            raise Untrusted("the payload is not canonical JSON")
        return Statement.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Untrusted(f"the payload is not an in-toto statement: {where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise Untrusted("the payload is not canonical JSON") from None


def _issued(statement: Statement) -> datetime:
    try:
        return _INSTANT.validate_python(statement.predicate.get("issued"))
    except ValidationError:
        raise Untrusted("the statement does not say when it was issued") from None
