"""`kubectl` for what it does and the API alone does not: commands in pods, ports of Services on this machine."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from maestro.core.errors import BadInput, Unreachable

_ANSWERS_S = 2.0
_FORWARDED_S = 20.0


class Kubectl:
    """Runs the program on the cluster that KUBECONFIG names. Thread-safe.

    Raises:
        BadInput: there is no such program, or KUBECONFIG is not set.
    """

    def __init__(self) -> None:
        found = shutil.which("kubectl")
        if found is None:
            raise BadInput("kubectl is not on PATH", field="PATH", remedy="install kubectl 1.31 or newer")
        if not os.environ.get("KUBECONFIG"):
            raise BadInput(
                "no cluster is named: KUBECONFIG is not set", field="KUBECONFIG",
                remedy="name the kubeconfig of a cluster on which the platform is applied (make minikube)",
            )  # fmt: skip
        self._program = found

    def run(self, *words: str, given: bytes | None = None, timeout_s: float = 150.0) -> str:
        """What it prints.

        Raises:
            Unreachable: it ended with another status than 0; its last line is in the message.
        """
        code, out, err = self.ended(*words, given=given, timeout_s=timeout_s)
        if code:
            said = (err.strip().splitlines() or ["no message"])[-1]
            raise Unreachable(f"kubectl {' '.join(words[:4])}: {said}", remedy="see KUBECONFIG", component="cluster")
        return out

    def ended(self, *words: str, given: bytes | None = None, timeout_s: float = 150.0) -> tuple[int, str, str]:
        """Exit status, output and messages.

        Raises:
            Unreachable: it did not end in time.
        """
        try:
            done = subprocess.run(
                [self._program, *words], input=given, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(
                f"kubectl {' '.join(words[:4])} did not end within {timeout_s:g} s",
                remedy="see KUBECONFIG", component="cluster",
            ) from None  # fmt: skip
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def secret(self, namespace: str, name: str, key: str) -> str:
        """A value of a Secret."""
        path = "{.data." + key.replace(".", "\\.") + "}"
        return base64.b64decode(self.run("get", "secret", name, "-n", namespace, "-o", f"jsonpath={path}")).decode()

    @contextmanager
    def reached(self, namespace: str, service: str, port: int) -> Iterator[tuple[str, int]]:
        """Host and port that lead to a Service for as long as the block lasts: its own address where that answers here, else a forwarded port."""
        own = self.run("get", "service", service, "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")
        if _answers(own, port):
            yield own, port
            return
        forwarding = _Forwarding(self._program, namespace, f"service/{service}", port)
        try:
            forwarding.start()
            yield "127.0.0.1", forwarding.port
        finally:
            forwarding.stop()


class _Forwarding:
    """One forwarded port. `kubectl` leads to one pod and ends with it: then it is started again."""

    def __init__(self, program: str, namespace: str, target: str, port: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._words = [program, "port-forward", "-n", namespace, target, f"{self.port}:{port}"]
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"forward-{target}", daemon=True)

    def start(self) -> None:
        """Return once the port answers.

        Raises:
            Unreachable: it does not.
        """
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(_FORWARDED_S / 0.1)):
            if _answers("127.0.0.1", self.port):
                return
            waited.wait(0.1)
        raise Unreachable(
            f"{' '.join(self._words[1:])} leads nowhere", remedy="see that the pod is ready", component="cluster"
        )

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        if self._process is not None:
            self._process.kill()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._process.wait()
            self._stop.wait(0.2)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_ANSWERS_S).close()
    except OSError:
        return False
    return True
