"""The lineage service: records what events tell, answers what was made from what."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from maestro.clients.openlineage import LineageRun, events
from maestro.clients.registry import ModelRegistry
from maestro.core.clock import Clock
from maestro.core.errors import MaestroError, NotFound
from maestro.core.events import Event
from maestro.governance.environment import ENVIRONMENT
from maestro.governance.lineage import sources
from maestro.governance.lineage.assembly import DATA, VERSION, assemble
from maestro.governance.lineage.drawing import html, svg
from maestro.governance.lineage.model import LineageGraph
from maestro.governance.lineage.store import LineageStore
from maestro.governance.rollouts.store import RolloutStore
from maestro.governance.versions.store import ModelVersion, VersionStore

FACTS = "lineage.json"
"""The artifact in which training leaves its facts."""

_LINKS = ("data", "features", "run", "version")


class Lineage:
    """Records lineage once for each run, version and rollout; idempotent.

    Args:
        store: the events.
        versions: registered versions.
        rollouts: their rollouts.
        registry: MLflow.
        clock: dates what has no date of its own.
        endpoint: where a model is served, by model name.
    """

    def __init__(
        self,
        store: LineageStore,
        versions: VersionStore,
        rollouts: RolloutStore,
        registry: ModelRegistry,
        clock: Clock,
        endpoint: str,
    ) -> None:
        self._store = store
        self._versions = versions
        self._rollouts = rollouts
        self._registry = registry
        self._clock = clock
        self._endpoint = endpoint

    def on_event(self, event: Event) -> None:
        """Record what `version.registered` and `rollout.finished` tell.

        Raises:
            Unreachable: MLflow or the database does not answer.
        """
        if event.kind == "version.registered":
            version = self._versions.get(event.data["model"], event.data["version"])
            self.record_version(version)
            self.publish(version.run_id)
        elif event.kind == "rollout.finished":
            run_id = self.record_rollout(event.data["rollout"])
            if run_id is not None:
                self.publish(run_id)

    def record_version(self, version: ModelVersion) -> None:
        """Data → features → run → version."""
        subject = f"{VERSION}{version.key}"
        with self._store.database.read() as connection:
            if self._store.has(connection, "registration", subject):
                return
        *before, run = self._training(version.run_id)
        self._append("registration", subject, version.run_id, [*before, sources.registration(version, run)])

    def record_run(self, run_id: str) -> None:
        """Data → features → run, of a run that registered nothing (yet)."""
        subject = f"run/{run_id}"
        with self._store.database.read() as connection:
            if self._store.has(connection, "training", subject):
                return
        self._append("training", subject, run_id, self._training(run_id))

    def record_rollout(self, rollout_id: str) -> str | None:
        """Version → deployment; returns the version's run."""
        rollout = self._rollouts.get(rollout_id)
        version = self._versions.get(rollout.model, rollout.challenger)
        self.record_version(version)
        with self._store.database.read() as connection:
            if self._store.has(connection, "deployment", f"rollout/{rollout_id}"):
                return version.run_id
        endpoint = f"{self._endpoint}/v2/models/{rollout.model}"
        run = sources.deployment(rollout, version, endpoint, ENVIRONMENT, self._clock.now())
        self._append("deployment", f"rollout/{rollout_id}", version.run_id, [run])
        return version.run_id

    def track(self) -> list[str]:
        """Record every version and ended rollout that is not recorded yet; the subjects that were."""
        recorded = []
        page = 1
        while True:
            found, total = self._versions.list(page=page, page_size=200)
            for version in found:
                with self._store.database.read() as connection:
                    known = self._store.has(connection, "registration", f"{VERSION}{version.key}")
                if not known:
                    self.record_version(version)
                    recorded.append(version.key)
            if page * 200 >= total:
                break
            page += 1
        rollouts, _ = self._rollouts.list(page_size=200)
        for rollout in rollouts:
            with self._store.database.read() as connection:
                known = self._store.has(connection, "deployment", f"rollout/{rollout.id}")
            if rollout.status.is_final and not known:
                self.record_rollout(rollout.id)
                recorded.append(rollout.id)
        return recorded

    def missing(self, version: ModelVersion) -> tuple[str, ...]:
        """See `LineageLinks`: records what can be recorded now, then names what is absent."""
        with contextlib.suppress(MaestroError):
            self.record_version(version)
        found = {node.kind for node in self.graph(run_id=version.run_id).nodes}
        return tuple(link for link in _LINKS if link not in found)

    def graph(self, *, run_id: str | None = None, model: str | None = None) -> LineageGraph:
        """The lineage around a run, of a model's every version, or of everything."""
        whole = assemble(self._store.read(run_id=run_id))
        if model is None:
            return whole
        kept: LineageGraph = LineageGraph()
        for node in whole.find("version"):
            if node.name.partition("@")[0] == model:
                part = whole.around(node.id)
                kept = LineageGraph.of((*kept.nodes, *part.nodes), (*kept.edges, *part.edges))
        return kept

    def require(self, run_id: str) -> LineageGraph:
        """The lineage of one run, recorded now if it was not.

        Raises:
            NotFound: neither lineage nor MLflow knows the run.
        """
        found = self.graph(run_id=run_id)
        if not found.nodes:
            self.record_run(run_id)
            found = self.graph(run_id=run_id)
        if not found.nodes:
            raise NotFound(f"run {run_id} has no lineage", field="run_id", remedy="check the run's id in MLflow")
        return found

    def materials(self, run_id: str) -> dict[str, str]:
        """The digests of what a run was made of, for its provenance."""
        text = self._registry.artifact_text(run_id, FACTS)
        data = json.loads(text).get("data", {}) if text is not None else {}
        content = str(data.get("content", ""))
        return {f"{DATA}{data['dataset']}@{data['version']}": content} if content.startswith("sha256:") else {}

    def events(self, run_id: str | None = None) -> list[dict[str, Any]]:
        """The OpenLineage events of a run, or all."""
        return self._store.read(run_id=run_id)

    def publish(self, run_id: str) -> None:
        """Store a run's lineage as artifacts of the run: JSON, events, picture."""
        graph = self.graph(run_id=run_id)
        for path, text in (
            ("lineage/graph.json", json.dumps(graph.document(), indent=2)),
            ("lineage/openlineage.json", json.dumps(self.events(run_id), indent=2)),
            ("lineage/graph.svg", svg(graph)),
            ("lineage/graph.html", html(graph, f"Lineage of run {run_id}")),
        ):
            self._registry.log_text(run_id, text, path)

    def _training(self, run_id: str) -> list[LineageRun]:
        text = self._registry.artifact_text(run_id, FACTS)
        facts = json.loads(text) if text is not None else None
        return sources.training(self._registry.run(run_id), facts, self._clock.now())

    def _append(self, kind: str, subject: str, run_id: str, runs: list[LineageRun]) -> None:
        documents = [document for run in runs for document in events(run)]
        with self._store.database.begin() as connection:
            if not self._store.has(connection, kind, subject):
                self._store.append(
                    connection, kind=kind, subject=subject, run_id=run_id, events=documents, at=self._clock.now()
                )
