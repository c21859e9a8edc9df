"""A model server in the cluster looks features up by entity: Feast's feature server has them from Redis, its registry lies in PostgreSQL."""

from __future__ import annotations

import json
import secrets
import time
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import pytest

from maestro.clients.feast import FeatureRepository, ServiceInfo
from maestro.clients.feature_server import FeatureServer
from maestro.clients.home import Home
from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.errors import NotFound, Unreachable
from tests.cluster.platform_stage import until
from tests.node.callers import service_address
from tests.node.installation import Installation
from tests.node.own_servers import own_servers
from tests.node.releases import define_features
from tests.serving.conftest import Workshop
from tests.serving.conftest import node as pinned

pytestmark = [pytest.mark.node, pytest.mark.door, pytest.mark.timeout(300)]

SERVICE = "tumour_v1"
PEOPLE = 60
ADDRESS = "http://feast.ml-platform:6566"


@dataclass(frozen=True)
class Known:
    """What is online: the service, ids, and their rows in its order of features."""

    info: ServiceInfo
    ids: list[int]
    rows: np.ndarray

    @property
    def entity(self) -> str:
        """The key."""
        return self.info.entities[0]


@pytest.fixture(scope="module")
def known(node: Cluster, installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """The tumours, defined where the worker does and brought online by the feature server."""
    from maestro.training import feature_definitions

    define_features()
    home = Home(tmp_path_factory.mktemp("tumours"))
    repository = FeatureRepository(home.features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        feature_definitions.apply(repository, home.data)
    info = repository.info(SERVICE)
    newest = {view: repository.newest(view).head(PEOPLE) for view in info.views}
    frame = newest[info.views[0]]
    for view in info.views[1:]:
        more = newest[view][[info.entities[0], *(name for name in info.features if name in newest[view])]]
        frame = frame.merge(more, on=info.entities[0])
    with closing(FeatureServer(service_address(node, "ml-platform", "feast"))) as server:

        def written() -> bool:
            try:
                for view, rows in newest.items():
                    server.write(view, rows)
                server.get(SERVICE, [{info.entities[0]: 1}])
            except (NotFound, Unreachable):
                return False  # it looks at its registry from time to time
            return True

        until(written, "the feature server does not know what was defined", 90)
    return Known(info, frame[info.entities[0]].tolist(), frame[list(info.features)].to_numpy(dtype=np.float64))


@pytest.mark.shows("A1", "A4", "G6", env="cluster")
def test_who_names_an_entity_is_answered_by_its_features(node: Cluster, known: Known, tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    target = (known.rows[:, 0] > np.median(known.rows[:, 0])).astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(known.rows, target)
    content = to_onnx(model, known.rows[:1], options={id(model): {"zipmap": False}}).SerializeToString()
    features = tuple(Feature(name=name, min=-1e9, max=1e9) for name in known.info.features)
    contract = ModelContract.build(
        features, Output(kind="classification", classes=("0", "1")), entity_keys=(known.entity,),
        feature_service={"name": SERVICE, "fingerprint": known.info.fingerprint},
    )  # fmt: skip
    shop = Workshop(Home(tmp_path))
    shop.graph({"a": pinned(shop.register("1.0.0", {"model.onnx": content}, contract))}, "a")
    with own_servers(node, f"looked-up-{secrets.token_hex(3)}") as servers:
        url = servers.start(
            "server", shop.home, MAESTRO_SERVING__FEATURE_SERVER=ADDRESS, MAESTRO_SERVING__FEATURE_CACHE_TTL_S="600"
        )
        with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:

            def ask(*people: Any) -> httpx.Response:
                return client.post("/predict", json={"entities": [{known.entity: person} for person in people]})

            first = until(lambda: (found := ask(*known.ids[:2])).status_code == 200 and found, "no features", 20)
            right = model.predict(known.rows).tolist()
            assert first.json()["predictions"] == right[:2]
            taken: dict[str, list[float]] = {"looked up": [], "remembered": []}
            late: list[str] = []
            for how in taken:
                for at, person in enumerate(known.ids[2:], start=2):
                    began = time.perf_counter()
                    answer = ask(person)
                    taken[how].append(time.perf_counter() - began)
                    if answer.status_code == 503:  # a node that is busy elsewhere may let a look-up's two seconds pass
                        late.append(answer.json()["component"])
                        answer = ask(person)
                    assert (answer.status_code, answer.json()) == (200, {"predictions": [right[at]]}), person
            assert ask(*known.ids).json()["predictions"] == right
            unknown = ask(known.ids[0], 99_999_999)
            assert (unknown.status_code, unknown.json()["field"]) == (404, "entities[1]")
            assert ask("nobody").status_code == 422
            assert 'maestro_cache_hits_total{cache="feature"}' in client.get("/metrics").text
    assert late in ([], ["feature store"])
    print(json.dumps({f"{how}, median ms": round(1000 * median(times), 2) for how, times in taken.items()}))
    assert median(taken["remembered"]) < median(taken["looked up"])


@pytest.mark.parametrize("name", ["mlflow-model-server", "model-champion", "model-challenger", "model-router"])
def test_every_server_of_the_platform_is_told_where(node: Cluster, installed: Installation, name: str) -> None:
    pod = node.get(Ref("apps/v1", "Deployment", name, "ml-serving"))["spec"]["template"]["spec"]
    told = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert told["MAESTRO_SERVING__FEATURE_SERVER"] == ADDRESS
