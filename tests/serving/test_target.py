"""What every traffic target owes the rollout, on the graph file of a running model server."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import yaml

from maestro.core.errors import BadInput, Conflict, Refused, Unreachable, Untrusted
from maestro.core.graph import InferenceGraph
from maestro.core.manifest import VersionManifest
from maestro.core.principals import PrincipalRole
from maestro.core.seams import TrafficTarget
from maestro.serving.target import GraphFileTarget
from tests.serving.conftest import Serve, Trained, Workshop, free_port, node, split


@dataclass
class Stage:
    """A target with versions that it may and may not admit."""

    target: TrafficTarget
    promoted: VersionManifest
    authorised: VersionManifest
    unapproved: VersionManifest
    again: Callable[[], TrafficTarget]
    """Another writer of the same traffic."""

    def alone(self, version: VersionManifest, revision: int) -> InferenceGraph:
        return self.graph({"a": node(version)}, "a", revision)

    def canary(self, candidate: VersionManifest, weight: int, revision: int) -> InferenceGraph:
        nodes = {"a": node(self.promoted), "b": node(candidate), "ab": split("a", "b", weight)}
        return self.graph(nodes, "ab", revision)

    def graph(self, nodes: Mapping[str, object], root: str, revision: int) -> InferenceGraph:
        return InferenceGraph.model_validate(
            {"metadata": {"name": "m", "revision": revision}, "root": root, "nodes": nodes}
        )


class TrafficTargetSuite(ABC):
    """What every target owes; a new one subclasses this and says how its stage is set."""

    @pytest.fixture
    @abstractmethod
    def stage(self) -> Stage:
        """Nothing has traffic yet; what serves it is running."""

    def test_first_there_is_no_graph(self, stage: Stage) -> None:
        assert stage.target.read() is None

    def test_what_was_written_is_read_and_served(self, stage: Stage) -> None:
        first = stage.alone(stage.promoted, 1)
        stage.target.write(first, expected_revision=None)
        assert stage.target.read() == first
        stage.target.wait_ready(1, timeout_s=10)
        second = stage.canary(stage.authorised, 100, 2)
        stage.target.write(second, expected_revision=1)
        stage.target.wait_ready(2, timeout_s=10)
        assert stage.again().read() == second

    def test_a_write_on_another_revision_than_expected_is_a_conflict(self, stage: Stage) -> None:
        stage.target.write(stage.alone(stage.promoted, 1), expected_revision=None)
        with pytest.raises(Conflict):
            stage.again().write(stage.canary(stage.authorised, 100, 1), expected_revision=None)
        with pytest.raises(Conflict):
            stage.target.write(stage.canary(stage.authorised, 100, 8), expected_revision=7)
        graph = stage.target.read()
        assert graph is not None
        assert graph.metadata.revision == 1

    def test_a_revision_that_skips_one_is_refused(self, stage: Stage) -> None:
        with pytest.raises(BadInput, match="does not follow"):
            stage.target.write(stage.alone(stage.promoted, 3), expected_revision=None)

    def test_the_same_write_again_is_a_no_op(self, stage: Stage) -> None:
        graph = stage.alone(stage.promoted, 1)
        stage.target.write(graph, expected_revision=None)
        stage.again().write(graph, expected_revision=None)
        assert stage.target.read() == graph

    def test_of_many_writers_one_wins(self, stage: Stage) -> None:
        stage.target.write(stage.alone(stage.promoted, 1), expected_revision=None)
        won: list[int] = []
        lost: list[int] = []

        def write(weight: int) -> None:
            try:
                stage.again().write(stage.canary(stage.authorised, weight, 2), expected_revision=1)
                won.append(weight)
            except Conflict:
                lost.append(weight)

        threads = [threading.Thread(target=write, args=(weight,)) for weight in range(100, 900, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 7)
        assert stage.target.read() == stage.canary(stage.authorised, won[0], 2)

    def test_the_target_itself_refuses_what_lacks_its_statement(self, stage: Stage) -> None:
        stage.target.write(stage.alone(stage.promoted, 1), expected_revision=None)
        for graph in (
            stage.alone(stage.authorised, 2),
            stage.alone(stage.unapproved, 2),
            stage.canary(stage.unapproved, 1, 2),
        ):
            with pytest.raises(Refused):
                stage.target.write(graph, expected_revision=1)
        assert stage.target.read() == stage.alone(stage.promoted, 1)

    def test_a_digest_that_is_not_the_versions_is_refused(self, stage: Stage) -> None:
        wrong = node(stage.promoted) | {"digest": "sha256:" + "0" * 64}
        with pytest.raises(Untrusted):
            stage.target.write(stage.graph({"a": wrong}, "a", 1), expected_revision=None)

    def test_waiting_for_what_nobody_wrote_ends_as_unreachable(self, stage: Stage) -> None:
        with pytest.raises(Unreachable):
            stage.target.wait_ready(5, timeout_s=0.3)


class TestGraphFile(TrafficTargetSuite):
    @pytest.fixture
    def stage(self, workshop: Workshop, trained: Trained, serve: Serve) -> Stage:
        server = serve()
        token = workshop.key(PrincipalRole.VIEWER)

        def again() -> TrafficTarget:
            return GraphFileTarget(workshop.home, "m", server.url, token)

        files = {"model.onnx": trained.onnx}
        return Stage(
            again(),
            workshop.register("1.0.0", files, trained.contract),
            workshop.register("1.1.0", files, trained.contract, statement="authorisation"),
            workshop.register("1.2.0", files, trained.contract, statement="none"),
            again,
        )

    def test_what_the_server_refuses_is_told_with_its_reason(self, stage: Stage, workshop: Workshop) -> None:
        stage.target.write(stage.alone(stage.promoted, 1), expected_revision=None)
        stage.target.wait_ready(1, timeout_s=10)
        (workshop.home.version("m", "1.1.0") / "files" / "model.onnx").write_bytes(b"swapped after the check")
        stage.target.write(stage.canary(stage.authorised, 100, 2), expected_revision=1)
        with pytest.raises(Refused, match=r"model\.onnx"):
            stage.target.wait_ready(2, timeout_s=10)

    def test_a_foreign_edit_that_is_no_graph_is_told(self, stage: Stage, workshop: Workshop) -> None:
        stage.target.write(stage.alone(stage.promoted, 1), expected_revision=None)
        document = yaml.safe_load(workshop.home.graph("m").read_text())
        document["root"] = "nowhere"
        workshop.write_graph(yaml.safe_dump(document))
        with pytest.raises(BadInput, match="nowhere"):
            stage.target.read()

    def test_a_server_that_is_down_does_not_keep_from_writing(self, stage: Stage, workshop: Workshop) -> None:
        target = GraphFileTarget(workshop.home, "m", f"http://127.0.0.1:{free_port()}", "mk_x")
        target.write(stage.alone(stage.promoted, 1), expected_revision=None)
        with pytest.raises(Unreachable, match="does not answer"):
            target.wait_ready(1, timeout_s=0.2)

    def test_a_key_that_is_not_accepted_is_told(self, stage: Stage, workshop: Workshop, serve: Serve) -> None:
        with pytest.raises(Refused, match="key"):
            GraphFileTarget(workshop.home, "m", serve().url, "mk_wrong").wait_ready(1, timeout_s=2)
