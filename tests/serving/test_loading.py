"""Loading is running code: what executes when it is deserialised never does so in the server."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from maestro.clients.home import Home
from maestro.core.clock import SystemClock
from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError, Untrusted
from maestro.core.graph import ModelNode
from maestro.serving.loading import VersionLoader, read_trained
from maestro.serving.runtimes import ModelRuntime, Runtimes
from tests.serving.conftest import Trained, Workshop, node

MLMODEL = """
flavors:
  python_function:
    loader_module: mlflow.sklearn
    model_path: model.pkl
    python_version: 3.11.7
  sklearn:
    pickled_model: model.pkl
    serialization_format: pickle
    sklearn_version: 1.9.1
mlflow_version: 3.17.2
model_uuid: m-0
"""


class Bomb:
    """Poisons the process that unpickles it, and leaves a file behind."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"import sys; sys.maestro_poisoned = True\nopen({self.marker!r}, 'w').write('boom')",)


class Watched:
    """The server's runtimes, telling which were made."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
        self.made.append(kind)
        return Runtimes().make(kind, folder, contract)


def loader(home: Home, private: Path, runtimes: Watched) -> VersionLoader:
    return VersionLoader(
        home,
        private,
        trust_path=home.trust_policy,
        environment="production",
        clock=SystemClock(),
        allow_unsigned=False,
        runtimes=runtimes,
        out_of_range=lambda *_: None,
    )


def test_a_pickle_with_a_side_effect_never_runs_in_the_server(
    workshop: Workshop, trained: Trained, tmp_path: Path
) -> None:
    marker = tmp_path / "boom"
    files = {"MLmodel": MLMODEL.encode(), "model.pkl": pickle.dumps(Bomb(str(marker)))}
    version = workshop.register("1.0.0", files, trained.contract)
    runtimes = Watched()
    with pytest.raises(MaestroError):  # it is signed, so it is loaded; it just cannot do what it wants to
        loader(workshop.home, tmp_path / "private", runtimes).load(
            ModelNode.model_validate(node(version)), "production"
        )
    assert runtimes.made == ["pyfunc"]
    assert not hasattr(sys, "maestro_poisoned")
    assert not marker.exists()
    assert not list((tmp_path / "private").iterdir())


@pytest.mark.parametrize("state", ["unsigned", "unapproved", "changed"])
def test_nothing_is_deserialised_before_digest_signature_and_statement_hold(
    workshop: Workshop, trained: Trained, tmp_path: Path, state: str
) -> None:
    version = workshop.register(
        "1.0.0",
        {"MLmodel": MLMODEL.encode(), "model.pkl": b"never read"},
        trained.contract,
        signed=state != "unsigned",
        statement="none" if state == "unapproved" else "promotion",
    )
    if state == "changed":
        (workshop.home.version("m", "1.0.0") / "files" / "model.pkl").write_bytes(b"other text")
    runtimes = Watched()
    with pytest.raises(Untrusted):
        loader(workshop.home, tmp_path / "private", runtimes).load(
            ModelNode.model_validate(node(version)), "production"
        )
    assert runtimes.made == []
    assert not list((tmp_path / "private").iterdir())


def test_bytes_swapped_after_the_check_change_nothing(workshop: Workshop, trained: Trained, tmp_path: Path) -> None:
    """The private copy is what was hashed, and what is loaded."""
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)

    class Swapping(Watched):
        def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
            (workshop.home.version("m", "1.0.0") / "files" / "model.onnx").write_bytes(b"swapped")
            return super().make(kind, folder, contract)

    loaded = loader(workshop.home, tmp_path / "private", Swapping()).load(
        ModelNode.model_validate(node(version)), "production"
    )
    assert loaded.runtime.predict(loaded.validator.sample(), 1.0).values
    loaded.close()
    assert not list((tmp_path / "private").iterdir())


def test_the_graph_must_name_the_version_that_it_pins(workshop: Workshop, trained: Trained, tmp_path: Path) -> None:
    first = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    second = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract)
    lying = ModelNode.model_validate(node(second) | {"digest": first.content_digest()})
    with pytest.raises(Untrusted):
        loader(workshop.home, tmp_path / "private", Watched()).load(lying, "production")


def test_the_list_of_trained_entities_is_data_and_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "trained_entities.npy"
    assert read_trained(path) is None
    np.save(path, np.array([3, 1, 2], dtype=np.uint64))
    found = read_trained(path)
    assert found is not None
    assert found.tolist() == [1, 2, 3]
    np.save(path, np.array([Bomb(str(tmp_path / "boom"))], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput):
        read_trained(path)
    assert not (tmp_path / "boom").exists()
    np.save(path, np.array([1.5]))
    with pytest.raises(BadInput, match="uint64"):
        read_trained(path)
