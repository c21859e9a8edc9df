"""Loading a version is running code, so it goes in this order: quarantine, digests, signature, statement, format, deserialise."""

from __future__ import annotations

import io
import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from maestro.clients.home import Home
from maestro.core.clock import Clock
from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError, Untrusted, from_validation
from maestro.core.graph import ModelNode
from maestro.core.statement import TrustPolicy
from maestro.security.quarantine import take_in
from maestro.security.statements import Purpose
from maestro.security.trust import load_trust
from maestro.serving.admission import check_version
from maestro.serving.contract import Validator
from maestro.serving.loaded import LoadedVersion
from maestro.serving.runtimes import RuntimeFactory, detect

CONTRACT = "contract.json"
TRAINED = "trained_entities.npy"


class VersionLoader:
    """Verifies, loads and warms versions.

    Args:
        home: where versions and the trust policy lie.
        private_root: a folder that only this process reads, for its copies.
        trust_path: the trust policy.
        environment: which statements count.
        allow_unsigned: let versions in about which nothing is signed.
        runtimes: makes the runtime of a format.
        out_of_range: called with (model, feature, count).
    """

    def __init__(
        self,
        home: Home,
        private_root: Path,
        *,
        trust_path: Path,
        environment: str,
        clock: Clock,
        allow_unsigned: bool,
        runtimes: RuntimeFactory,
        out_of_range: Callable[[str, str, int], None],
    ) -> None:
        self.home = home
        self.trust_path = trust_path
        self._private_root = private_root
        self._environment = environment
        self._clock = clock
        self._allow_unsigned = allow_unsigned
        self._runtimes = runtimes
        self._out_of_range = out_of_range

    def admit(self, node: ModelNode, purpose: Purpose) -> bool:
        """Signature and statement; whether the version is signed.

        Raises:
            Untrusted: it may not get this traffic.
        """
        return check_version(
            node,
            self.home.version(node.model, node.version),
            self._trust(),
            purpose=purpose,
            environment=self._environment,
            at=self._clock.now(),
            allow_unsigned=self._allow_unsigned,
        )

    def load(self, node: ModelNode, purpose: Purpose) -> LoadedVersion:
        """The version, ready to answer.

        Raises:
            Untrusted: bytes, signature or statement are not what they must be.
            BadInput: its files are not of a known format, or break its contract.
            Unreachable: it cannot be copied, or does not answer.
        """
        private = self._private_root / f"{node.digest.removeprefix('sha256:')[:16]}-{uuid.uuid4().hex[:8]}"
        take_in(self.home.version(node.model, node.version), private, node.digest)
        try:
            signed = self.admit(node, purpose)
            return self._deserialise(node, private, signed)
        except BaseException:
            shutil.rmtree(private, ignore_errors=True)
            raise

    def _trust(self) -> TrustPolicy | None:
        try:
            return load_trust(self.trust_path)
        except Untrusted:
            if self._allow_unsigned and not self.trust_path.exists():
                return None
            raise

    def _deserialise(self, node: ModelNode, private: Path, signed: bool) -> LoadedVersion:
        files = private / "files"
        kind = detect(files)
        contract = read_contract(files / CONTRACT)
        model = node.model
        validator = Validator(contract, lambda feature, count: self._out_of_range(model, feature, count))
        runtime = self._runtimes.make(kind, files, contract)
        try:
            runtime.load()
            # A silent validator: the sample is ours, its values are nobody's traffic.
            runtime.warm_up(Validator(contract).sample())
        except MaestroError:
            runtime.close()
            raise
        return LoadedVersion(
            model=model,
            version=node.version,
            digest=node.digest,
            contract=contract,
            validator=validator,
            runtime=runtime,
            trained=read_trained(files / TRAINED),
            folder=private,
            signed=signed,
        )


def read_contract(path: Path) -> ModelContract:
    """The contract of a version.

    Raises:
        BadInput: there is none, or it is malformed.
    """
    try:
        return ModelContract.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise BadInput(
            f"the version has no {CONTRACT}", field=CONTRACT, remedy="register it with its contract"
        ) from None
    except ValidationError as error:
        raise from_validation(error, CONTRACT) from None
    except (ValueError, RecursionError):
        raise BadInput(f"{CONTRACT} is not JSON", field=CONTRACT, remedy="register the version again") from None


def read_trained(path: Path) -> NDArray[np.uint64] | None:
    """The hashes of the entities that a version was trained on, sorted; None when it does not say.

    Raises:
        BadInput: the file is not a one-dimensional array of uint64.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInput(
            f"{TRAINED} is not a NumPy array: {error}", field=TRAINED, remedy="register the version again"
        ) from None
    if not isinstance(values, np.ndarray) or values.dtype != np.uint64 or values.ndim != 1:
        raise BadInput(
            f"{TRAINED} is not a one-dimensional array of uint64", field=TRAINED, remedy="register the version again"
        )
    return np.sort(values)
