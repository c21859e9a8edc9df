"""Plays the kubelet for the pods of trials on simulated nodes: runs each pod's own command on this machine, and says its end in the pod's status."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.errors import NotFound
from maestro.training.manifests.pod import FILE, FOLDER
from maestro.training.signals import parse


@dataclass
class _Container:
    process: subprocess.Popen[str]
    folder: Path
    began: datetime


@dataclass
class PodPlayer:
    """Starts what waits while it is not `held`, one pod each once; ends what was deleted.

    Args:
        cluster: where.
        namespace: whose pods with the label `maestro.dev/trial`.
    """

    cluster: Cluster
    namespace: str
    root: Path
    held: threading.Event = field(default_factory=threading.Event)
    played: dict[str, str] = field(default_factory=dict)
    """Uid of each pod that was started, and its trial."""
    most: int = 0
    """The most that ran at once."""
    _running: dict[str, tuple[dict[str, Any], _Container]] = field(default_factory=dict)

    def pods(self) -> list[dict[str, Any]]:
        """The pods of trials, as the API has them."""
        return self.cluster.list("v1", "Pod", self.namespace, labels="maestro.dev/trial")

    def play(self, stop: threading.Event) -> None:
        """Look at the pods until told to stop; what runs then is ended."""
        while not stop.wait(0.1):
            pods = {pod["metadata"]["uid"]: pod for pod in self.pods() if not pod["metadata"].get("deletionTimestamp")}
            for uid, pod in pods.items():
                if uid not in self.played and not self.held.is_set() and pod["status"].get("phase") == "Running":
                    self.played[uid] = pod["metadata"]["labels"]["maestro.dev/trial"]
                    self._running[uid] = (pod, self._start(pod))
            self.most = max(self.most, len(self._running))
            for uid, (pod, container) in list(self._running.items()):
                if uid not in pods:
                    container.process.kill()
                    container.process.wait()
                    del self._running[uid]
                elif container.process.poll() is not None:
                    self._say(pod, container)
                    del self._running[uid]
        for _, container in self._running.values():
            container.process.kill()
            container.process.wait()

    def _start(self, pod: dict[str, Any]) -> _Container:
        spec = pod["spec"]["containers"][0]
        folder = Path(tempfile.mkdtemp(dir=self.root))
        volume = next(one for one in pod["spec"]["volumes"] if one["name"] == "request")
        record = self.cluster.get(Ref("v1", "ConfigMap", volume["configMap"]["name"], self.namespace))
        (folder / FILE).write_text(record["data"][FILE].replace(f'"{FOLDER}"', f'"{folder}"'))
        words = [{"python": sys.executable, FOLDER: str(folder)}.get(word, word) for word in spec["command"]]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MAESTRO_", "KUBE", "MLFLOW"))}
        named = {one["name"]: one["value"] for one in spec["env"] if "value" in one}
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(words, env=own | named, stdout=log, stderr=log, text=True)
        return _Container(process, folder, datetime.now(UTC))

    def _say(self, pod: dict[str, Any], container: _Container) -> None:
        """What a kubelet writes of a container that has ended; its last word is what it also printed."""
        message = ""
        for line in (container.folder / "log").read_text().splitlines():
            if parse(line)[0] == "ended":
                message = line[line.index("{") :].replace('"kind": "ended", ', "")
        code = container.process.returncode
        over = {
            "exitCode": 128 - code if code < 0 else code, "message": message, "reason": "Error" if code else "Completed",
            "startedAt": f"{container.began:%Y-%m-%dT%H:%M:%SZ}", "finishedAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }  # fmt: skip
        said = {
            "name": pod["spec"]["containers"][0]["name"], "image": "localhost/none:1", "imageID": "", "ready": False,
            "restartCount": 0, "state": {"terminated": over},
        }  # fmt: skip
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [said]}
        try:
            self.cluster.patch(Ref.of(pod), {"status": status}, kind="merge", subresource="status")
        except NotFound:
            return  # deleted in this moment


@contextmanager
def pod_player(cluster: Cluster, namespace: str, root: Path) -> Iterator[PodPlayer]:
    """Play for as long as the block lasts."""
    player, stop = PodPlayer(cluster, namespace, root), threading.Event()
    thread = threading.Thread(target=player.play, args=(stop,))
    thread.start()
    try:
        yield player
    finally:
        stop.set()
        thread.join()
