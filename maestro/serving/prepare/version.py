"""A version by its name, taken in and checked as far as what is to be done with it needs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maestro.clients.home import Home
from maestro.core.clock import Clock, SystemClock
from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, NotFound, Untrusted
from maestro.core.graph import ModelNode
from maestro.core.manifest import VersionManifest
from maestro.core.settings import Settings
from maestro.core.statement import TrustPolicy
from maestro.core.versions import parse_version
from maestro.security.quarantine import read_manifest, take_in
from maestro.security.statements import check_provenance, read_envelopes
from maestro.security.trust import load_trust
from maestro.serving.admission import check_version, is_unsigned
from maestro.serving.loading import CONTRACT, read_contract

Need = Literal["provenance", "production"]
"""To prepare a version, whoever built it must have signed it; to answer with it, it must hold a promotion."""


@dataclass(frozen=True)
class TakenIn:
    """A version's private copy, every byte of it checked against its manifest."""

    manifest: VersionManifest
    files: Path
    contract: ModelContract

    @property
    def digest(self) -> str:
        """The version's digest."""
        return self.manifest.content_digest()


@dataclass(frozen=True)
class Signature:
    """Whether a version may be deserialised (`built`) and may answer in production (`promoted`), with the reason where not."""

    built: bool
    promoted: bool
    reason: str = ""


def find_version(home: Home, name: str) -> tuple[str, str]:
    """Model and version of `NAME@VERSION`; of `NAME` alone the newest version that lies in the home.

    Raises:
        NotFound: there is none.
    """
    model, _, version = name.partition("@")
    found = (
        [path.name for path in home.versions.glob(f"{model}/*") if (path / "manifest.json").is_file()] if model else []
    )
    if version in found:
        return model, version
    if version or not found:
        known = ", ".join(sorted(found)[:8]) or "none is registered"
        raise NotFound(f"no version {name[:200]} in {home.versions}", field="model", remedy=f"its versions: {known}")
    return model, max(found, key=_order)


def signature(
    home: Home, options: Settings, model: str, version: str, environment: str, clock: Clock | None = None
) -> Signature:
    """What the trust policy says about a version; reads nothing of its files."""
    folder = home.version(model, version)
    manifest = read_manifest(folder)
    try:
        _check(home, options, manifest, "provenance", environment, clock or SystemClock())
    except Untrusted as error:
        return Signature(False, False, error.detail)
    try:
        _check(home, options, manifest, "production", environment, clock or SystemClock())
    except Untrusted as error:
        return Signature(True, False, error.detail)
    return Signature(True, True)


@contextmanager
def taken_in(
    home: Home, options: Settings, name: str, *, need: Need, environment: str, clock: Clock | None = None
) -> Iterator[TakenIn]:
    """Quarantine, digests, signature, statement, in that order; the copy is removed when the block is left.

    Raises:
        NotFound: there is no such version.
        Untrusted: its bytes, its signature or its statements are not what they must be.
        BadInput: it has no contract, or a malformed one.
    """
    model, version = find_version(home, name)
    folder = home.version(model, version)
    root = Path(tempfile.mkdtemp(prefix="maestro-version-"))
    try:
        manifest = take_in(folder, root / "version", read_manifest(folder).content_digest())
        _check(home, options, manifest, need, environment, clock or SystemClock())
        files = root / "version" / "files"
        yield TakenIn(manifest, files, read_contract(files / CONTRACT))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _check(
    home: Home, options: Settings, manifest: VersionManifest, need: Need, environment: str, clock: Clock
) -> None:
    folder = home.version(manifest.model, manifest.version)
    policy = _trust(home, options)
    if need == "production":
        node = ModelNode.model_validate(
            {
                "type": "model", "model": manifest.model, "version": manifest.version, "digest": manifest.content_digest(),
            }
        )  # fmt: skip
        check_version(
            node, folder, policy, purpose="production", environment=environment, at=clock.now(),
            allow_unsigned=options.serving.allow_unsigned,
        )  # fmt: skip
        return
    if options.serving.allow_unsigned and is_unsigned(folder):
        return
    check_provenance(manifest, tuple(read_envelopes(folder).values()), policy, clock.now())


def _trust(home: Home, options: Settings) -> TrustPolicy:
    path = options.trust_policy or home.trust_policy
    try:
        return load_trust(path)
    except Untrusted:
        if options.serving.allow_unsigned and not path.exists():
            return TrustPolicy()
        raise


def _order(version: str) -> tuple[int, tuple[int, int, int], str]:
    try:
        parsed = parse_version(version)
    except BadInput:
        return 0, (0, 0, 0), version
    return 1, (parsed.major, parsed.minor, parsed.patch), version
