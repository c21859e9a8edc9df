from __future__ import annotations

import os
import pickle
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from maestro.core.errors import Refused
from maestro.security import sandbox
from maestro.security.confinement.seccomp import MACHINES, program
from maestro.security.sandbox import ALL_MEANS, Means, SandboxLimits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux only")

COMBINATIONS: list[tuple[Means, ...]] = [ALL_MEANS, ("namespace",), ("landlock", "seccomp"), ("namespace", "seccomp")]


def run(code: str, *arguments: str, readable: Path, **options: object) -> tuple[int, str, str]:
    process = sandbox.popen(
        [sys.executable, "-I", "-c", code, *arguments],
        readable=readable,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[arg-type]
    )
    out, err = process.communicate(timeout=60)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def listener() -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    return server


CONNECT = """
import socket, sys
outcome = []
for host in ("127.0.0.1", "::1"):
    try:
        socket.create_connection((host, int(sys.argv[1])), timeout=5).close()
        outcome.append("connected")
    except OSError:
        outcome.append("refused")
print(*outcome)
"""


@pytest.mark.parametrize("means", COMBINATIONS, ids="+".join)
def test_a_child_cannot_connect_even_to_this_machine(
    tmp_path: Path, listener: socket.socket, means: tuple[Means, ...]
) -> None:
    port = listener.getsockname()[1]
    with listener:
        outside = subprocess.run(
            [sys.executable, "-I", "-c", CONNECT, str(port)], capture_output=True, text=True, check=True
        )
        assert outside.stdout.split()[0] == "connected", "the same program connects when it is not confined"
        listener.accept()[0].close()
        code, out, err = run(CONNECT, str(port), readable=tmp_path, means=means)
        assert (code, out.split()) == (0, ["refused", "refused"]), err
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.shows("K8", env="laptop")
@pytest.mark.parametrize("means", COMBINATIONS, ids="+".join)
def test_a_child_sees_no_secret_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, means: tuple[Means, ...]
) -> None:
    monkeypatch.setenv("MAESTRO_API_KEY", "mk_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret")
    program = """
import os
seen = repr(dict(os.environ))
for pid in (os.getppid(), "self"):
    try:
        seen += open(f"/proc/{pid}/environ").read()
    except OSError as error:
        seen += f" {pid}: {error.strerror}"
print(seen)
"""
    code, out, err = run(program, readable=tmp_path, means=means, env={"EXTRA": "given"})
    assert code == 0, err
    assert "secret" not in out
    assert "'EXTRA': 'given'" in out


def test_a_child_reads_its_model_and_neither_keys_nor_other_processes_and_writes_only_in_its_folder(
    tmp_path: Path,
) -> None:
    if "landlock" not in _means(tmp_path):
        pytest.skip("this kernel has no Landlock")
    model, keys = tmp_path / "model", tmp_path / "keys"
    for folder in (model, keys):
        folder.mkdir()
        (folder / "file").write_text("content")
    program = """
import os, sys
def attempt(action):
    try:
        return bool(action())
    except OSError:
        return None
model, keys, parent = sys.argv[1:]
print(
    attempt(lambda: open(model + "/file").read()),
    attempt(lambda: open(keys + "/file").read()),
    attempt(lambda: os.listdir(keys)),
    attempt(lambda: open(model + "/new", "w")),
    attempt(lambda: open("own", "w").write("x")),
    attempt(lambda: open(f"/proc/{parent}/mem", "rb")),
    attempt(lambda: os.kill(int(parent), 0) is None),
    attempt(lambda: os.kill(os.getpid(), 0) is None),
)
"""
    code, out, err = run(program, str(model), str(keys), str(os.getpid()), readable=model, private=[keys])
    assert code == 0, err
    assert out.split() == ["True", "None", "None", "None", "True", "None", "None", "True"]


def _means(folder: Path) -> tuple[str, ...]:
    process = sandbox.popen([sys.executable, "-I", "-c", ""], readable=folder)
    process.communicate(timeout=60)
    return process.means


def test_a_pickle_does_its_work_inside_and_its_harm_nowhere(tmp_path: Path, listener: socket.socket) -> None:
    model, keys = tmp_path / "model", tmp_path / "keys"
    model.mkdir()
    keys.mkdir()
    (keys / "decider.pem").write_text("secret")
    harm = f"(__import__('os').system('cat {keys}/decider.pem > {tmp_path}/stolen'), 7)[1]"
    (model / "model.pkl").write_bytes(pickle.dumps(_Evaluated(harm)))
    load = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')))"
    listener.close()
    outside = subprocess.run(
        [sys.executable, "-I", "-c", load, str(model / "model.pkl")], capture_output=True, text=True, check=True
    )
    assert outside.stdout == "7\n"
    assert (tmp_path / "stolen").read_text() == "secret", "the pickle really does its harm"
    (tmp_path / "stolen").unlink()
    code, out, err = run(load, str(model / "model.pkl"), readable=model, private=[keys])
    assert (code, out) == (0, "7\n"), err
    assert not (tmp_path / "stolen").exists()


class _Evaluated:
    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (self.text,)


def test_pipes_carry_both_ways_and_a_thread_that_ends_takes_no_child_with_it(tmp_path: Path) -> None:
    started: list[sandbox.SandboxedProcess] = []
    echo = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"
    thread = threading.Thread(
        target=lambda: started.append(sandbox.popen([sys.executable, "-I", "-c", echo], readable=tmp_path))
    )
    thread.start()
    thread.join()
    process = started[0]
    assert process.stdin is not None
    assert process.stdout is not None
    for text in (b"abc", b"def"):
        process.stdin.write(text + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == text[::-1] + b"\n"
    process.stdin.close()
    assert process.wait(timeout=30) == 0
    process.stdout.close()


@pytest.mark.parametrize("means", COMBINATIONS[:3], ids="+".join)
def test_a_child_dies_with_its_parent(tmp_path: Path, means: tuple[Means, ...]) -> None:
    parent_program = f"""
import sys, time
from pathlib import Path
from maestro.security import sandbox
child = sandbox.popen([sys.executable, "-I", "-c", "import time; time.sleep(60)"], readable=Path(sys.argv[1]), means={means!r})
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", parent_program, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 2
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_memory_and_files_are_limited(tmp_path: Path) -> None:
    hungry = "try:\n    bytearray(2 * 2**30)\n    print('got it')\nexcept MemoryError:\n    print('refused')"
    code, out, err = run(hungry, readable=tmp_path, limits=SandboxLimits(memory_bytes=2**30))
    assert (code, out) == (0, "refused\n"), err
    writer = "open('big', 'wb').write(bytes(2**20))"
    code, _, err = run(writer, readable=tmp_path, limits=SandboxLimits(file_bytes=1000))
    assert code != 0
    assert "File too large" in err


def test_numpy_and_our_own_package_work_inside(tmp_path: Path) -> None:
    code, out, err = run(
        "import asyncio, numpy, maestro.core.model\nasyncio.run(asyncio.sleep(0))\nprint(numpy.ones((50, 50)).dot(numpy.ones(50)).sum())",
        readable=tmp_path,
    )
    assert (code, out) == (0, "2500.0\n"), err


def test_without_any_means_nothing_is_run(tmp_path: Path) -> None:
    refused: list[tuple[Means, ...]] = [(), ("landlock",), ("seccomp",)]
    for means in refused:
        with pytest.raises(Refused, match="code of a model is not run") as error:
            sandbox.popen([sys.executable, "-c", f"open('{tmp_path}/ran', 'w')"], readable=tmp_path, means=means)
        assert "ONNX" in error.value.remedy
    assert not (tmp_path / "ran").exists()
    private = tmp_path / "decider.pem"
    private.write_text("x")
    with pytest.raises(Refused, match=r"decider\.pem can be read"):
        sandbox.popen([sys.executable, "-c", ""], readable=tmp_path, private=[private], means=("namespace",))


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="/nowhere/python: No such file"):
        sandbox.popen(["/nowhere/python"], readable=tmp_path)


def test_the_private_folder_goes_with_the_process(tmp_path: Path) -> None:
    process = sandbox.popen([sys.executable, "-I", "-c", "open('x', 'w')"], readable=tmp_path)
    process.communicate(timeout=60)
    folder = process.folder
    assert (folder / "x").exists()
    del process
    assert not folder.exists()


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_the_filter_jumps_inside_itself_and_ends_in_an_answer(machine: str) -> None:
    code = program(MACHINES[machine], os.getpid())
    for position, (operation, if_true, if_false, _) in enumerate(code):
        if operation & 0x07 == 0x05:
            assert position + 1 + max(if_true, if_false) < len(code)
    assert code[-1][0] == 0x06


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls by number")
@pytest.mark.parametrize(
    ("number", "arguments"), [(425, (8, 0)), (101, (0, 0)), (272, (0x10000000,)), (438, (3, 0, 0)), (53, (1, 2, 0, 0))]
)
def test_calls_that_lead_past_the_filter_are_refused(tmp_path: Path, number: int, arguments: tuple[int, ...]) -> None:
    """io_uring_setup, ptrace, unshare, pidfd_getfd, a pair of datagram sockets."""
    program = f"import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.syscall({number}, *{arguments}), ctypes.get_errno())"
    code, out, err = run(program, readable=tmp_path, means=ALL_MEANS)
    assert (code, out) == (0, "-1 1\n"), err
