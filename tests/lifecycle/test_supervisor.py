"""The supervisor on real processes: ready, restarted, ended, one a home, and nothing left when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from maestro.clients.home import Home
from maestro.core.errors import Conflict, Unreachable
from maestro.lifecycle.processes import wait_gone
from maestro.lifecycle.services import Service, free_port
from maestro.lifecycle.supervisor import Supervisor


def web(name: str, folder: Path) -> Service:
    """A real HTTP server that is ready at once."""
    port = free_port()
    argv = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder))
    return Service(name, argv, url=f"http://127.0.0.1:{port}", ready="/")


def test_services_answer_and_are_gone_after(home: Path) -> None:
    service = web("one", home)
    with Supervisor(Home(home), [service]) as supervisor:
        pid = supervisor.pid("one")
        state = Home(home).read_state()
        assert state is not None
        assert state.services["one"].pid == pid
        assert httpx.get(f"{service.url}/").status_code == 200
    assert wait_gone(pid, 2.0)
    assert Home(home).read_state() is None


def test_a_service_that_is_killed_comes_back(home: Path) -> None:
    service = web("one", home)
    with Supervisor(Home(home), [service]) as supervisor:
        before = supervisor.pid("one")
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 5
        restarted: list[str] = []
        while not restarted and time.monotonic() < deadline:
            restarted = supervisor.watch_once()
            time.sleep(0.05)
        assert restarted == ["one"]
        assert supervisor.pid("one") != before
        state = Home(home).read_state()
        assert state is not None
        assert state.services["one"].pid == supervisor.pid("one")


def test_a_home_has_one_supervisor(home: Path) -> None:
    with (
        Supervisor(Home(home), [web("one", home)]),
        pytest.raises(Conflict, match="another supervisor"),
        Supervisor(Home(home), [web("two", home)]),
    ):
        pass


def test_a_service_that_ends_at_once_is_named_with_its_log(home: Path) -> None:
    broken = Service(
        "broken",
        (sys.executable, "-c", "print('no licence'); raise SystemExit(3)"),
        url="http://127.0.0.1:9",
        ready="/",
    )
    with (
        pytest.raises(Unreachable, match=r"broken service ended with status 3(.|\n)*no licence"),
        Supervisor(Home(home), [broken]),
    ):
        pass


def test_a_service_that_never_answers_is_named(home: Path) -> None:
    silent = Service(
        "silent", (sys.executable, "-c", "import time; time.sleep(60)"), url="http://127.0.0.1:9", ready="/"
    )
    with (
        pytest.raises(Unreachable, match="silent service was not ready"),
        Supervisor(Home(home), [silent], ready_timeout_s=1.0),
    ):
        pass


def test_a_service_that_is_not_ready_says_why(home: Path) -> None:
    port = free_port()
    program = (
        "import http.server\n"
        "class Busy(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(503)\n"
        "        self.end_headers()\n"
        "        self.wfile.write(b'migrate the database first')\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Busy).serve_forever()\n"
    )
    busy = Service("busy", (sys.executable, "-c", program), url=f"http://127.0.0.1:{port}", ready="/")
    with (
        pytest.raises(Unreachable, match="answered 503 migrate the database first"),
        Supervisor(Home(home), [busy], ready_timeout_s=5.0),
    ):
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel ends orphans on Linux only")
def test_nothing_is_left_when_the_supervisor_is_killed(home: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from maestro.clients.home import Home\n"
        "from maestro.lifecycle.services import Service\n"
        "from maestro.lifecycle.supervisor import Supervisor\n"
        "child = Service('child', (sys.executable, '-c', 'import time; time.sleep(120)'))\n"
        "with Supervisor(Home(Path(sys.argv[1])), [child]) as s:\n"
        "    print(s.pid('child'), flush=True)\n"
        "    time.sleep(120)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        child = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert wait_gone(child, 2.0)
    assert Home(home).read_state() is None, "a state file of a dead supervisor counts as none"
