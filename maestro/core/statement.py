"""In-toto statements and the trust policy: provenance, rollout authorisation, promotion.

Envelope: DSSE (https://github.com/secure-systems-lab/dsse); statement: in-toto Statement v1.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from maestro.core.model import Digest, Model, Name, Time

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PROVENANCE = "urn:maestro:provenance:v1"
PROMOTION = "urn:maestro:promotion:v1"
ROLLOUT_AUTHORISATION = "urn:maestro:rollout-authorisation:v1"
AUDIT_HEAD = "urn:maestro:audit-head:v1"


KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Hex SHA-256 of a public key's SubjectPublicKeyInfo in DER."""

HexDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 as in-toto writes it: 64 hex digits without prefix."""


class Signature(Model):
    """One DSSE signature; `sig` is base64."""

    keyid: KeyId
    sig: str


class Envelope(Model):
    """A DSSE envelope; `payload` is base64 of the statement's bytes."""

    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: tuple[Signature, ...] = Field(min_length=1)


class StatementSubject(Model):
    """What the statement is about: `model@version` and the hex digest of its manifest."""

    name: str
    digest: dict[Literal["sha256"], HexDigest] = Field(min_length=1)


class Statement(Model):
    """An in-toto Statement v1 with one of our predicates."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(default="https://in-toto.io/Statement/v1", alias="_type")
    subject: tuple[StatementSubject, ...] = Field(min_length=1)
    predicate_type: str = Field(alias="predicateType")
    predicate: dict[str, Any]


class ApprovalRef(Model):
    """One approval as a statement carries it."""

    id: str
    principal: str
    digest: Digest


class AdmissionPredicate(Model):
    """The predicate of a promotion and of a rollout authorisation: why this version may get traffic."""

    decision: Digest
    environment: Name
    policy: Digest
    approvals: tuple[ApprovalRef, ...] = ()
    issued: Time
    expires: Time | None = None


Role = Literal["builder", "decider", "server"]


class TrustedKey(Model):
    """A public key (PEM, Ed25519), what it may sign, and when its signatures count."""

    keyid: KeyId
    role: Role
    public_key: str
    not_before: Time
    not_after: Time | None = None
    revoked: Time | None = Field(default=None, description="from this instant on nothing it signed is accepted")


class TrustPolicy(Model):
    """The public keys by role that verifiers accept."""

    schema_: Literal["maestro.trust/1"] = Field(default="maestro.trust/1", alias="schema")
    keys: tuple[TrustedKey, ...] = ()
