"""`python -m maestro.serving.sample`: a first model for a server whose home holds none, so that a fresh installation answers.

Five numbers in, one out: y = 0.5 a − 0.25 b + c + 0.125 d + 2 e + 1. It is signed like any other version, by keys that are made for it and never written:
whoever reads the pod finds nothing to sign with. Readiness says `sample` while it is all that is served. Where anything else lies in the home, nothing is done.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from datetime import timedelta
from pathlib import Path

import yaml

from maestro.clients.home import Home
from maestro.core.canonical import canonical_bytes, digest
from maestro.core.clock import Clock, SystemClock
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.errors import MaestroError
from maestro.core.settings import settings
from maestro.core.statement import AdmissionPredicate, TrustPolicy
from maestro.security.artifact import measure
from maestro.security.signing import PrivateKey
from maestro.security.statements import promotion, provenance, write_envelope
from maestro.security.trust import add_key, load_trust, save_trust
from maestro.serving.fetching import fetch_versions, wanted
from maestro.serving.server import SAMPLE

MODEL, VERSION = SAMPLE, "1.0.0"

ONNX = base64.b64decode(
    "CAgSB21hZXN0cm86yQEKIQoFaW5wdXQKB3dlaWdodHMSB3Byb2R1Y3QiBk1hdE11bAocCgdwcm9kdWN0CgRiaWFzEgZvdXRwdXQiA0FkZBIGc2FtcGxl"
    "KjkIBQgBEAtCB3dlaWdodHNKKAAAAAAAAOA/AAAAAAAA0L8AAAAAAADwPwAAAAAAAMA/AAAAAAAAAEAqFAgBEAtCBGJpYXNKCAAAAAAAAPA/WhUKBWlu"
    "cHV0EgwKCggLEgYKAAoCCAViFgoGb3V0cHV0EgwKCggLEgYKAAoCCAFCBAoAEA8="
)
"""A MatMul and an Add, float64, opset 15; the test makes it again from the formula."""

VALIDITY = timedelta(days=365)


def write_sample(home: Home, clock: Clock, trust_path: Path, *, installed: Path | None = None) -> bool:
    """Put the sample into a home that holds no graph; gives whether it did. The installation's trust policy is taken in first.

    Args:
        home: of the model server.
        clock: dates statements.
        trust_path: the policy that the server reads.
        installed: the installation's policy; the sample's two public keys are added to a copy of it.

    Raises:
        Malformed: the installation's policy cannot be read.
        Unreachable: the home cannot be written.
    """
    home.graphs.mkdir(parents=True, exist_ok=True)
    policy = take_trust(trust_path, installed)
    if any(home.graphs.glob("*.yaml")):
        return False
    now = clock.now()
    builder, decider = PrivateKey.generate(), PrivateKey.generate()
    since = now - timedelta(minutes=5)
    for key, role in ((builder, "builder"), (decider, "decider")):
        # what these keys signed expires with the sample, and nobody holds them any more
        policy = add_key(
            policy,
            key.public_pem,
            "builder" if role == "builder" else "decider",
            not_before=since,
            not_after=now + VALIDITY,
        )
    save_trust(trust_path, policy)
    folder = home.version(MODEL, VERSION)
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "files/model.onnx").write_bytes(ONNX)
    (folder / "files/contract.json").write_bytes(canonical_bytes(contract().document()))
    manifest = measure(folder, model=MODEL, version=VERSION, run_id="sample")
    (folder / "manifest.json").write_bytes(canonical_bytes(manifest.document()))
    said = provenance(manifest, run_id="sample", job_id="sample", builder="service:sample", code="sample", materials={})
    write_envelope(folder, "provenance.json", builder.sign(said))
    predicate = AdmissionPredicate(
        decision=digest("sample"), environment="production", policy=digest("sample"), issued=now, expires=now + VALIDITY
    )
    write_envelope(folder, "promotion.json", decider.sign(promotion(manifest, predicate)))
    graph = {
        "apiVersion": "maestro/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": MODEL, "revision": 1},
        "root": "a",
        "nodes": {
            "a": {
                "type": "model",
                "model": MODEL,
                "version": VERSION,
                "digest": manifest.content_digest(),
                "timeout_ms": 1000,
            }
        },
    }
    temporary = home.graph(MODEL).with_suffix(".new")
    temporary.write_text(yaml.safe_dump(graph, sort_keys=False), encoding="utf-8")
    temporary.replace(home.graph(MODEL))
    return True


def take_graphs(home: Home, folder: Path) -> None:
    """Copy the graphs of a mounted folder, where there are any."""
    home.graphs.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.yaml")):
        (home.graphs / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")


def take_trust(trust_path: Path, installed: Path | None) -> TrustPolicy:
    """The policy that the server reads: the installation's where there is one, else what lies there, else an empty one."""
    source = installed if installed is not None and installed.is_file() else trust_path
    if source.is_file():
        # a mounted file belongs to root and is a link: its content is taken, its owner is not
        policy = (
            TrustPolicy.model_validate_json(source.read_text(encoding="utf-8"))
            if source == installed
            else load_trust(source)
        )
    else:
        policy = TrustPolicy()
    save_trust(trust_path, policy)
    return policy


def link_keys(home: Home, installed: Path) -> None:
    """Let the server read the verifiers of keys where the installation has them, so that a change there is one here."""
    if installed.parent.is_dir() and not home.server_keys.exists() and not home.server_keys.is_symlink():
        home.server_keys.symlink_to(installed)


def contract() -> ModelContract:
    """Five features of any size."""
    features = tuple(Feature(name=f"feature_{number}", min=-1e6, max=1e6) for number in range(1, 6))
    return ModelContract.build(features, Output(kind="regression"), entity_keys=())


def main(arguments: list[str] | None = None) -> int:
    """Write the sample where it is missing; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m maestro.serving.sample", description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="$MAESTRO_HOME")
    parser.add_argument(
        "--installed-trust", type=Path, default=Path("/etc/maestro/trust-policy.json"), help="the installation's policy"
    )
    parser.add_argument(
        "--installed-keys",
        type=Path,
        default=Path("/etc/maestro/server-keys.json"),
        help="the verifiers of the installation's API keys",
    )
    parser.add_argument("--graphs", type=Path, default=None, help="a folder whose graphs are taken in first")
    parser.add_argument(
        "--keys-only", action="store_true", help="take in the installation's policy and write no sample"
    )
    parser.add_argument(
        "--versions-from", default=None, help="the control plane: versions that a graph names are fetched there"
    )
    parser.add_argument(
        "--key", type=Path, default=Path("/etc/maestro-key/token"), help="the API key by which they are fetched"
    )
    given = parser.parse_args(arguments)
    try:
        options = settings()
        if given.home is not None:
            options = options.model_copy(update={"home": given.home})
        home = Home.of(options)
        trust_path = options.trust_policy or home.trust_policy
        home.root.mkdir(parents=True, exist_ok=True)
        link_keys(home, given.installed_keys)
        if given.keys_only:
            take_trust(trust_path, given.installed_trust)
            return 0
        if given.graphs is not None:
            take_graphs(home, given.graphs)
        if given.versions_from is not None and (lacking := wanted(home)):
            token = given.key.read_text(encoding="utf-8").strip() if given.key.is_file() else ""
            print(json.dumps({"fetched": fetch_versions(home, lacking, given.versions_from, token)}))
        written = write_sample(home, SystemClock(), trust_path, installed=given.installed_trust)
        print(json.dumps({"sample": written, "home": str(home.root)}))
    except MaestroError as error:
        print(json.dumps(error.problem()), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
