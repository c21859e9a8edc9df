"""Hot swap: what is served follows the graph file, and whatever must not be served is refused while the old revision stays."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from maestro.core.clock import SystemClock
from maestro.core.contract import ModelContract
from maestro.core.manifest import VersionManifest
from maestro.core.principals import PrincipalRole
from maestro.core.seams import Alert
from maestro.security.trust import load_trust, revoke_key, save_trust
from maestro.serving.runtimes import ModelRuntime, Runtimes
from tests.serving.conftest import Client, Serve, Trained, Workshop, eventually, node, serving, split

pytestmark = pytest.mark.door


@pytest.fixture
def first(workshop: Workshop, trained: Trained) -> VersionManifest:
    """A promoted version, served alone as revision 1."""
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    return version


@pytest.fixture
def admin(workshop: Workshop) -> dict[str, str]:
    """The header of somebody who may look."""
    return {"Authorization": f"Bearer {workshop.key(PrincipalRole.VIEWER)}"}


def served(client: Client) -> int | None:
    revision: int | None = client.get("/healthz").json()["models"].get("m")
    return revision


def refused(client: Client, admin: dict[str, str], says: str, revision: int | None = 2) -> None:
    """The graph file is refused for this reason, the first revision still answers."""

    def told() -> bool:
        document = client.get("/admin/graphs/m", headers=admin).json()
        refusal = document["refusal"]
        return refusal is not None and says in refusal["problem"]["detail"] and refusal["revision"] == revision

    try:
        eventually(told)
    except AssertionError:
        raise AssertionError(client.get("/admin/graphs/m", headers=admin).text) from None
    assert served(client) == 1
    assert client.post("/predict", json={"instances": [[12, 15, 80, 500]]}).headers["x-maestro-revision"] == "1"
    assert 'maestro_model_swaps_total{result="refused"} 1.0' in client.get("/metrics").text


@pytest.mark.shows("F7", "F10", "D9", env="laptop")
def test_swaps_under_requests_fail_none_and_mix_nothing(
    workshop: Workshop, first: VersionManifest, trained: Trained, worse: Trained, serve: Serve
) -> None:
    second = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract)
    client = serve(graph_poll_s=0.01)
    rows = {"instances": trained.rows[:8].tolist()}
    right = {"1.0.0": trained.answers[:8], "1.1.0": worse.answers[:8]}
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            response = client.post("/predict", json=rows)
            version, revision = (
                response.headers.get("x-maestro-version", ""),
                response.headers.get("x-maestro-revision"),
            )
            fits = version == ("1.0.0" if int(revision or 0) % 2 else "1.1.0")
            fine = response.status_code == 200 and fits and response.json()["predictions"] == right[version]
            outcomes["fine" if fine else f"{response.status_code} {version} {revision}"] += 1

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for revision in range(2, 14):
        version = first if revision % 2 else second
        workshop.graph({"a": node(version)}, "a", revision=revision)
        eventually(lambda wanted=revision: served(client) == wanted)  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {"fine"}
    assert outcomes["fine"] > 20
    assert 'maestro_model_swaps_total{result="ok"} 13.0' in client.get("/metrics").text


@pytest.mark.shows("D9", "F10", env="laptop")
def test_going_back_needs_no_loading(
    workshop: Workshop, first: VersionManifest, worse: Trained, serve: Serve, admin: dict[str, str]
) -> None:
    second = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract)
    client = serve()
    workshop.graph({"a": node(second)}, "a", revision=2)
    eventually(lambda: served(client) == 2)
    assert client.get("/admin/graphs/m", headers=admin).json()["previous_revision"] == 1
    # The version's files are gone: what goes back is what stayed loaded. Its statement is checked again.
    (workshop.home.version("m", "1.0.0") / "files" / "model.onnx").unlink()
    workshop.graph({"a": node(first)}, "a", revision=3)
    eventually(lambda: served(client) == 3)
    assert client.post("/predict", json={"instances": [[12, 15, 80, 500]]}).headers["x-maestro-version"] == "1.0.0"


Spoil = Callable[[Workshop, VersionManifest], None]


def _change_bytes(workshop: Workshop, version: VersionManifest) -> None:
    path = workshop.home.version("m", version.version) / "files" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def _add_file(workshop: Workshop, version: VersionManifest) -> None:
    (workshop.home.version("m", version.version) / "files" / "sitecustomize.py").write_text("1")


def _link_out(workshop: Workshop, version: VersionManifest) -> None:
    path = workshop.home.version("m", version.version) / "files" / "model.onnx"
    path.unlink()
    path.symlink_to(workshop.home.keys / "decider.pem")


def _climb_out(workshop: Workshop, version: VersionManifest) -> None:
    path = workshop.home.version("m", version.version) / "manifest.json"
    path.write_text(path.read_text().replace("files/model.onnx", "files/../../../../keys/decider.pem"))


def _take_provenance(workshop: Workshop, version: VersionManifest) -> None:
    (workshop.home.version("m", version.version) / "provenance.json").unlink()


def _take_everything_signed(workshop: Workshop, version: VersionManifest) -> None:
    _take_provenance(workshop, version)
    (workshop.home.version("m", version.version) / "statements" / "promotion.json").unlink()


def _forge_statement(workshop: Workshop, version: VersionManifest) -> None:
    path = workshop.home.version("m", version.version) / "statements" / "promotion.json"
    envelope = json.loads(path.read_text())
    envelope["signatures"][0]["sig"] = "A" * len(envelope["signatures"][0]["sig"])
    path.write_text(json.dumps(envelope))


def _revoke_decider(workshop: Workshop, version: VersionManifest) -> None:
    policy = load_trust(workshop.home.trust_policy)
    save_trust(workshop.home.trust_policy, revoke_key(policy, workshop.keys["decider"].keyid, SystemClock().now()))


@pytest.mark.shows("K7", env="laptop")
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_change_bytes, "was changed"),
        (_add_file, "not in the manifest"),
        (_link_out, "link"),
        (_climb_out, "plain relative path"),
        (_take_provenance, "no valid provenance"),
        (_take_everything_signed, "no valid provenance"),
        (_forge_statement, "promotion statement"),
        (_revoke_decider, "revoked"),
    ],
)
def test_a_version_that_is_not_what_was_signed_is_refused(
    workshop: Workshop,
    first: VersionManifest,
    trained: Trained,
    serve: Serve,
    admin: dict[str, str],
    spoil: Spoil,
    says: str,
) -> None:
    second = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract)
    client = serve()
    alerts: list[Alert] = []
    client.server.follower.alert = alerts.append
    spoil(workshop, second)
    workshop.graph({"a": node(second)}, "a", revision=2)
    refused(client, admin, says)
    eventually(lambda: bool(alerts))
    assert [(alert.source, says in alert.body) for alert in alerts] == [("serving/m/graph", True)], "once"


@pytest.mark.parametrize(
    ("statement", "fields", "says"),
    [
        ("none", {}, "no valid promotion statement"),
        ("authorisation", {}, "no valid promotion statement"),
        ("promotion", {"environment": "staging"}, "for environment staging"),
        ("promotion", {"expires_in": timedelta(milliseconds=1)}, "expired"),
    ],
)
def test_a_version_that_was_not_promoted_gets_no_production_traffic(
    workshop: Workshop,
    first: VersionManifest,
    trained: Trained,
    serve: Serve,
    admin: dict[str, str],
    statement: Any,
    fields: dict[str, Any],
    says: str,
) -> None:
    client = serve()
    second = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement=statement, **fields)
    workshop.graph({"a": node(second)}, "a", revision=2)
    refused(client, admin, says)
    workshop.state(second, "promotion")  # the statement arrives: the file as it lies there is served, without a touch
    eventually(lambda: served(client) == 2)


def test_a_candidate_needs_an_authorisation_and_no_more(
    workshop: Workshop, first: VersionManifest, trained: Trained, serve: Serve, admin: dict[str, str]
) -> None:
    client = serve()
    second = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="none")
    nodes = {"a": node(first), "b": node(second), "ab": split("a", "b", 10_000)}
    workshop.graph(nodes, "ab", revision=2)
    refused(client, admin, "no valid rollout authorisation")
    workshop.state(second, "authorisation")
    eventually(lambda: served(client) == 2)
    workshop.graph(nodes | {"ab": split("a", "b", 10_000, fallback=None)}, "ab", revision=3)
    eventually(lambda: client.get("/admin/graphs/m", headers=admin).json()["refusal"] is not None)
    assert served(client) == 2


def test_contracts_that_break_callers_are_refused(
    workshop: Workshop, first: VersionManifest, trained: Trained, serve: Serve, admin: dict[str, str]
) -> None:
    client = serve()
    document = trained.contract.document()
    features = tuple(
        feature.model_copy(update={"name": f"y{i}"}) for i, feature in enumerate(trained.contract.features)
    )
    other = ModelContract.build(features, trained.contract.output, entity_keys=tuple(document["entity_keys"]))
    second = workshop.register("1.1.0", {"model.onnx": trained.onnx}, other)
    workshop.graph({"a": node(second)}, "a", revision=2)
    refused(client, admin, "breaks the one that callers rely on")
    workshop.graph({"a": node(first), "b": node(second), "ab": split("a", "b", 100)}, "ab", revision=2)
    eventually(lambda: "arm 'b'" in client.get("/admin/graphs/m", headers=admin).text)
    third = workshop.register("2.0.0", {"model.onnx": trained.onnx}, other)
    workshop.graph({"a": node(third)}, "a", revision=2)
    eventually(lambda: served(client) == 2)


def test_a_model_that_cannot_answer_its_own_contract_is_refused(
    workshop: Workshop, first: VersionManifest, trained: Trained, serve: Serve, admin: dict[str, str]
) -> None:
    narrow = ModelContract.build(trained.contract.features[:3], trained.contract.output)
    second = workshop.register("1.1.0", {"model.onnx": trained.onnx}, narrow)
    client = serve()
    workshop.graph({"a": node(second)}, "a", revision=2)
    refused(client, admin, "the contract has 3 features")


def test_a_model_without_a_format_is_refused(
    workshop: Workshop, first: VersionManifest, trained: Trained, serve: Serve, admin: dict[str, str]
) -> None:
    second = workshop.register("1.1.0", {"model.h5": b"?"}, trained.contract)
    client = serve()
    workshop.graph({"a": node(second)}, "a", revision=2)
    refused(client, admin, "neither model.onnx nor MLmodel")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nodes: [", "not YAML"),
        ("", "m.yaml"),
        ("apiVersion: maestro/v2", "apiVersion"),
        ("{" * 2000, "m.yaml"),
        ("a: &a [*a]", "m.yaml"),
    ],
)
def test_a_file_that_is_no_graph_is_refused(
    workshop: Workshop, first: VersionManifest, serve: Serve, admin: dict[str, str], text: str, says: str
) -> None:
    client = serve()
    workshop.write_graph(text)
    refused(client, admin, says, revision=None)


def test_a_typo_in_a_graph_is_named(
    workshop: Workshop, first: VersionManifest, serve: Serve, admin: dict[str, str]
) -> None:
    client = serve()
    document = yaml.safe_load(workshop.home.graph("m").read_text())
    document["nodes"]["a"]["timeout"] = 3
    workshop.write_graph(yaml.safe_dump(document))
    refused(client, admin, "nodes.a.model.timeout", revision=None)


def test_a_file_that_is_gone_leaves_what_was_served(
    workshop: Workshop, first: VersionManifest, serve: Serve, admin: dict[str, str]
) -> None:
    client = serve()
    workshop.home.graph("m").unlink()
    refused(client, admin, "is gone", revision=None)


def test_a_foreign_edit_with_valid_statements_is_honoured(
    workshop: Workshop, first: VersionManifest, trained: Trained, serve: Serve, admin: dict[str, str]
) -> None:
    second = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract)
    client = serve()
    before = client.get("/admin/graphs/m", headers=admin).json()
    path = workshop.home.graph("m")
    text = path.read_text().replace(first.content_digest(), second.content_digest()).replace("1.0.0", "1.1.0")
    path.write_text(text)  # in place, same revision, as an editor does
    started = time.monotonic()
    eventually(lambda: client.get("/admin/graphs/m", headers=admin).json()["content"] != before["content"])
    assert time.monotonic() - started < 5
    document = client.get("/admin/graphs/m", headers=admin).json()
    assert document["revision"] == 1
    assert document["arms"] == {"a": "1.1.0"}


def test_unsigned_versions_are_served_only_when_allowed_and_that_is_told(
    workshop: Workshop, trained: Trained, serve: Serve
) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract, signed=False, statement="none")
    workshop.graph({"a": node(version)}, "a")
    strict, lax = serve(), serve(allow_unsigned=True)
    assert served(strict) is None
    assert strict.get("/v2/health/ready").json() == {"ready": False, "unsigned_allowed": False, "sample": False}
    assert lax.get("/v2/health/ready").json() == {"ready": True, "unsigned_allowed": True, "sample": False}
    assert lax.post("/predict", json={"instances": [[12, 15, 80, 500]]}).status_code == 200
    assert "maestro_serving_unsigned 1.0" in lax.get("/metrics").text
    assert "maestro_serving_unsigned 0.0" in strict.get("/metrics").text
    _change_bytes(workshop, version)
    assert served(serve(allow_unsigned=True)) is None


def test_old_versions_are_released(workshop: Workshop, first: VersionManifest, trained: Trained, serve: Serve) -> None:
    """The current and the previous revision stay loaded, nothing else."""
    versions = [workshop.register(f"1.{n}.0", {"model.onnx": trained.onnx}, trained.contract) for n in (1, 2, 3)]
    client = serve()
    for revision, version in enumerate(versions, 2):
        workshop.graph({"a": node(version)}, "a", revision=revision)
        eventually(lambda wanted=revision: served(client) == wanted)  # type: ignore[misc]
    follower = client.server.follower
    eventually(lambda: len(follower._loaded) == 2)
    private = Path(client.server._private.name)
    eventually(lambda: len(list(private.iterdir())) == 2)


class SlowToLoad:
    """The runtimes of a server in which the versions of one contract take long to load."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
        if contract.feature_service is not None:
            self.go.wait(timeout=20)
        return Runtimes().make(kind, folder, contract)


def test_a_model_that_loads_slowly_keeps_no_other_from_moving(
    workshop: Workshop, first: VersionManifest, trained: Trained
) -> None:
    service = {"name": "slow", "fingerprint": "sha256:" + "0" * 64}
    slow = ModelContract.model_validate(trained.contract.document() | {"feature_service": service})
    heavy = workshop.register("1.0.0", {"model.onnx": trained.onnx}, slow, model="heavy")
    second = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract)
    runtimes = SlowToLoad()
    with serving(workshop, runtimes=runtimes) as client:
        workshop.graph({"a": node(heavy)}, "a", model="heavy")
        eventually(lambda: not client.get("/v2/health/ready").json()["ready"])
        workshop.graph({"a": node(second)}, "a", revision=2)
        eventually(lambda: served(client) == 2)
        assert client.get("/healthz").json()["models"] == {"m": 2}
        runtimes.go.set()
        eventually(lambda: client.get("/healthz").json()["models"] == {"m": 2, "heavy": 1})
        assert client.get("/v2/health/ready").json()["ready"]
