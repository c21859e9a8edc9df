"""The platform that `maestro up` started, as its users reach it: commands, scripts, HTTP; and the processes behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from maestro.clients.api import ApiClient
from maestro.clients.home import Home
from maestro.core.errors import Unreachable
from maestro.core.state import State

ROOT = Path(__file__).parents[2]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which has to be one JSON document."""
        return json.loads(self.out)

    def text(self) -> str:
        """Everything it printed."""
        return self.out + self.err


def call(argv: list[str], environment: dict[str, str], timeout_s: float = 300.0) -> Done:
    """Run a program in the checkout; nothing of the caller's own `MAESTRO_*` is passed on."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAESTRO_")}
    done = subprocess.run(
        argv, capture_output=True, text=True, env=env | environment, cwd=ROOT, timeout=timeout_s, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def maestro(home: Path, *words: str, timeout_s: float = 300.0, **environment: str) -> Done:
    """`maestro WORDS` over a home."""
    return call([sys.executable, "-m", "maestro", *words], {"MAESTRO_HOME": str(home)} | environment, timeout_s)


@dataclass(frozen=True)
class Running:
    """A home whose services run, and what `maestro env --json` printed."""

    home: Home
    exports: dict[str, str]

    def token(self, actor: str) -> str:
        """The key of a principal."""
        return (self.home.keys / f"{actor}.token").read_text().strip()

    def call(self, *words: str, actor: str = "user", expect: int = 0) -> Done:
        """`maestro WORDS` as a principal; the exit status has to be the expected one."""
        done = maestro(self.home.root, *words, MAESTRO_API_KEY=self.token(actor))
        assert done.code == expect, f"maestro {' '.join(words)}: exit status {done.code}\n{done.text()}"
        return done

    def json(self, *words: str, actor: str = "user", expect: int = 0) -> Any:
        """The document of `maestro WORDS --json`."""
        return self.call(*words, "--json", actor=actor, expect=expect).json()

    def script(self, path: str, *words: str, actor: str = "user", expect: int = 0) -> Done:
        """A promised script, in the environment that `eval "$(maestro env)"` makes."""
        done = call([sys.executable, path, *words], self.exports | {"MAESTRO_API_KEY": self.token(actor)})
        assert done.code == expect, f"{path} {' '.join(words)}: exit status {done.code}\n{done.text()}"
        return done

    def api(self, actor: str = "user") -> ApiClient:
        """The control plane as a principal."""
        return ApiClient(self.exports["MAESTRO_API_URL"], self.token(actor))

    def server(self, actor: str = "service") -> ApiClient:
        """The model server as a principal."""
        return ApiClient(self.exports["MAESTRO_SERVER_URL"], self.token(actor), service="server")

    def state(self) -> State:
        """`state.json` as it is now."""
        state = self.home.read_state()
        assert state is not None, "the supervisor is gone"
        return state

    def pid(self, service: str) -> int:
        """The process id of a service now."""
        return self.state().services[service].pid

    def kill(self, service: str) -> int:
        """`kill -9` of one service; returns the process id it had."""
        pid = self.pid(service)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, service: str, before: int) -> int:
        """The new process id, once the supervisor has started the service again and it answers."""
        pid = wait_for(f"a new {service}", lambda: None if (new := self.pid(service)) == before else new, 30.0)
        path = {"api": "/readyz", "server": "/healthz"}.get(service)
        if path is not None:
            client = self.api() if service == "api" else self.server()
            wait_for(f"{service} to answer", lambda: answer_or_none(lambda: client.get(path) or {}), 120.0)
        return pid


def answer_or_none(ask: Callable[[], Answer]) -> Answer | None:
    """An answer, or None while nobody answers."""
    try:
        return ask()
    except Unreachable:
        return None


def wait_for(what: str, ask: Callable[[], Answer | None], timeout_s: float, every_s: float = 0.2) -> Answer:
    """The first answer that is not None; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (answer := ask()) is not None:
            return answer
        time.sleep(every_s)
    raise AssertionError(f"{what} did not happen within {timeout_s:g} s")


def processes() -> dict[int, int]:
    """Every process with its parent, from /proc; zombies are left out."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[int(path.parent.name)] = int(fields[1])
    return found


def descendants(pid: int) -> set[int]:
    """Children of a process, and theirs."""
    parents = processes()
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def memory_bytes(pids: set[int]) -> int:
    """What the processes hold together, shared pages counted once (PSS)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
    return total
