"""Registration: numbers, digests, provenance, records; the same result whenever it was interrupted."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from maestro.clients.database.schema.core import outbox
from maestro.clients.database.schema.governance import model_versions
from maestro.core.canonical import digest_bytes
from maestro.core.errors import MaestroError, NotFound, Unreachable
from maestro.governance.versions import ModelVersion, Registration
from maestro.security.quarantine import read_manifest, take_in
from maestro.security.signing import verify
from maestro.security.statements import read_envelope
from maestro.security.trust import load_trust
from tests.governance.conftest import Kit, contract


@pytest.mark.shows("D6", "D16", env="laptop")
def test_a_version_is_measured_numbered_signed_and_recorded(kit_on_each: Kit) -> None:
    kit = kit_on_each
    version = kit.register(content=b"weights", f1=0.8)
    folder = kit.home.version(kit.model, version.version)
    assert version.version == "1.0.0"
    assert {entry.path for entry in version.manifest.files} == {"files/model.bin", "files/contract.json"}
    weights = next(entry for entry in version.manifest.files if entry.path == "files/model.bin")
    assert weights.digest == digest_bytes(b"weights")
    assert take_in(folder, kit.home.root / "private", version.digest) == read_manifest(folder)
    said = verify(
        read_envelope(folder, "provenance.json"), load_trust(kit.home.trust_policy), "builder", kit.clock.now()
    )
    assert said.subject[0].digest["sha256"] == version.digest.removeprefix("sha256:")
    assert said.predicate["run_id"] == version.run_id
    assert said.predicate["materials"] == {"data/visits@0123456789ab": "sha256:" + "1" * 64}
    registered = kit.store.registry.ensure_version(kit.model, run_id=version.run_id, model_uri="", tags={})
    assert registered == version.registry_version == "1"
    assert kit.governance.versions.get(kit.model, "1") == kit.governance.versions.get(kit.model, "1.0.0") == version


def test_the_number_says_what_changed(kit: Kit) -> None:
    numbers = [
        kit.register(f1=0.80).version,
        kit.register(f1=0.80, agreed=contract(high=2.0)).version,  # ranges change with every training
        kit.register(f1=0.85).version,
        kit.register(f1=0.70).version,
        kit.register(f1=0.70, agreed=contract("a", "b", "c")).version,
    ]
    assert numbers == ["1.0.0", "1.0.1", "1.1.0", "1.1.1", "2.0.0"]


def test_registering_a_run_again_gives_the_same_version_and_one_event(kit: Kit) -> None:
    first = kit.register(f1=0.8)
    again = kit.governance.registrar.register(kit.registration(first.run_id, f1=0.9))
    assert again == first
    assert _events(kit, "version.registered") == 1


@pytest.mark.parametrize("survives", ["nothing", "staging", "folder", "folder and registry"])
def test_an_interrupted_registration_ends_as_if_it_had_not_been(kit: Kit, survives: str) -> None:
    whole = kit.register(f1=0.8, content=b"one")
    folder = kit.home.version(kit.model, whole.version)
    with kit.database.begin() as connection:
        connection.execute(model_versions.delete())
        connection.execute(outbox.delete())
    if survives in {"nothing", "staging"}:
        shutil.rmtree(folder)
    if survives == "staging":
        left = folder.parent / f".staging-{whole.run_id}" / "files"
        left.mkdir(parents=True)
        (left / "half").write_bytes(b"half")
    again = kit.governance.registrar.register(kit.registration(whole.run_id, f1=0.8))
    assert (again.version, again.digest, again.registry_version) == (
        whole.version,
        whole.digest,
        whole.registry_version,
    )
    assert _events(kit, "version.registered") == 1
    assert not list(folder.parent.glob(".staging-*"))


def test_a_number_that_an_unfinished_registration_claimed_is_not_given_to_another(kit: Kit) -> None:
    claimed = kit.register(f1=0.8)
    with kit.database.begin() as connection:
        connection.execute(model_versions.delete())
    other = kit.register(f1=0.9)
    assert other.version != claimed.version
    assert kit.governance.registrar.register(kit.registration(claimed.run_id)).version == claimed.version


def test_concurrent_registrations_get_numbers_of_their_own(kit_on_each: Kit) -> None:
    kit = kit_on_each
    runs = [kit.store.log(kit.home.root / "built", {"m": bytes([index])}, agreed=contract()) for index in range(4)]
    found: list[ModelVersion] = []

    def register(run: tuple[str, str]) -> None:
        found.append(kit.governance.registrar.register(kit.registration(*run)))

    kit.governance.registrar  # noqa: B018 - built before the threads
    threads = [threading.Thread(target=register, args=(run,)) for run in [*runs, runs[0]]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len({version.version for version in found}) == len({version.run_id for version in found}) == 4
    # each is told of once
    assert _events(kit, "version.registered") == 4


def test_what_is_missing_is_named(kit: Kit) -> None:
    with pytest.raises(NotFound, match="run 0000"):
        kit.governance.registrar.register(kit.registration("0000"))
    run_id, uri = kit.store.log(kit.home.root / "built", {"m": b"x"})
    with pytest.raises(NotFound, match=r"contract\.json") as failure:
        kit.governance.registrar.register(kit.registration(run_id, uri))
    assert failure.value.field == "contract"
    assert not list(kit.home.versions.glob("*/1.*"))


def test_a_link_among_the_files_is_refused(kit: Kit, tmp_path: Path) -> None:
    run_id, uri = kit.store.log(kit.home.root / "built", {"m": b"x"}, agreed=contract())
    artifacts = next((Path(str(kit.store.tracking._artifacts)) / "models").glob(uri.removeprefix("models:/")))
    os.symlink("/etc/hostname", artifacts / "artifacts" / "link")
    with pytest.raises(MaestroError):
        kit.governance.registrar.register(kit.registration(run_id, uri))
    assert not kit.home.version(kit.model, "1.0.0").exists()
    with kit.database.read() as connection:
        assert kit.governance.versions.all_of(connection, kit.model) == []


def test_mlflow_gone_is_said_and_nothing_is_half_registered(kit: Kit) -> None:
    from maestro.clients.registry import ModelRegistry

    registry = ModelRegistry("http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="MLflow") as failure:
        registry.download("models:/m-1", kit.home.root / "x")
    assert failure.value.extra["component"] == "mlflow"


def test_the_event_of_a_job_says_what_to_register() -> None:
    data: dict[str, Any] = {
        "job_id": "j1", "run_id": "r1", "model_uri": "models:/m-1", "register_as": "m", "submitted_by": "human:ada",
        "cost_usd_micros": 5, "metrics": {"f1": 0.5, "note": "x"},
    }  # fmt: skip
    asked = Registration.of_job(json.loads(json.dumps(data)))
    assert asked is not None
    assert (asked.model, asked.submitted_by, asked.metrics) == ("m", "human:ada", {"f1": 0.5})
    assert Registration.of_job(data | {"register_as": None}) is None


def _events(kit: Kit, kind: str) -> int:
    with kit.database.read() as connection:
        return len(connection.execute(select(outbox.c.seq).where(outbox.c.kind == kind)).all())
