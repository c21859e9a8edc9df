"""`python -m maestro.serving.targets.follow`: the graph of a ConfigMap as a file of the server beside it, within a second of a change.

The kubelet changes a mounted ConfigMap only after a minute or two; `kubectl edit cm ab-test-config` is promised to act within five seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from maestro.clients.home import Home
from maestro.clients.kubernetes import Cluster, Connection, Ref
from maestro.core.errors import MaestroError, Unreachable
from maestro.core.graph import InferenceGraph
from maestro.observability.logging import configure
from maestro.serving.fetching import fetch_versions
from maestro.serving.graph_file import parse_graph
from maestro.serving.targets.graph_map import KEY

log = logging.getLogger(__name__)

EVERY_S = 1.0


class GraphFollowing:
    """Copies the key `graph.yaml` of one ConfigMap to `<folder>/<model>.yaml`, whole or not at all.

    Args:
        cluster: the API server.
        ref: the ConfigMap.
        folder: where the server looks for graphs.
        prepare: called with each new graph before the server sees it, such as to bring the versions that it names.
    """

    def __init__(
        self, cluster: Cluster, ref: Ref, folder: Path, prepare: Callable[[InferenceGraph], object] = lambda _: None
    ) -> None:
        self._cluster = cluster
        self._ref = ref
        self._folder = folder
        self._prepare = prepare
        self._written: str | None = None

    def look(self) -> bool:
        """Copy what changed; gives whether anything did. A ConfigMap that is not there, or holds no graph, leaves the file as it is.

        Raises:
            Unreachable: the API server does not answer.
            BadInput: the content is no graph.
        """
        found = self._cluster.find(self._ref)
        text = (found or {}).get("data", {}).get(KEY)
        if text is None or text == self._written:
            return False
        graph = parse_graph(text.encode(), str(self._ref))
        self._prepare(graph)
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{graph.metadata.name}.yaml"
        temporary = target.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
        self._written = text
        log.info("graph %s, revision %d", graph.metadata.name, graph.metadata.revision)
        return True

    def run(self, stop: threading.Event) -> None:
        """Look every second until told to stop. What is refused is logged once for each text."""
        told: str | None = None
        while not stop.is_set():
            try:
                self.look()
                told = None
            except Unreachable as error:
                log.warning("%s", error.detail)
            except MaestroError as error:
                if error.detail != told:
                    log.error("the graph is refused: %s", error.detail)
                told = error.detail
            stop.wait(EVERY_S)


def main(arguments: list[str] | None = None) -> int:
    """Follow until SIGTERM; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m maestro.serving.targets.follow", description=__doc__)
    parser.add_argument("--namespace", default="ml-serving")
    parser.add_argument("--config-map", default="ab-test-config")
    parser.add_argument("--to", type=Path, required=True, help="the server's folder of graphs")
    parser.add_argument("--versions-from", default=None, help="the control plane: versions that a graph names")
    parser.add_argument("--key", type=Path, default=Path("/etc/maestro-key/token"), help="the API key for them")
    given = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        configure("graph")
        cluster = Cluster(Connection.load())
        ref, home = Ref("v1", "ConfigMap", given.config_map, given.namespace), Home(given.to.parent)

        def prepare(graph: InferenceGraph) -> None:
            if given.versions_from is not None:
                token = given.key.read_text(encoding="utf-8").strip() if given.key.is_file() else ""
                fetch_versions(home, graph.models().values(), given.versions_from, token)

        GraphFollowing(cluster, ref, given.to, prepare).run(stop)
    except MaestroError as error:
        print(json.dumps(error.problem()), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
