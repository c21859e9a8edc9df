"""Versions from the control plane: over real HTTP, into a home that a server then loads; archives that are none are refused."""

from __future__ import annotations

import json
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from maestro.clients.home import Home
from maestro.core.clock import SystemClock
from maestro.core.errors import BadInput, NotFound, Unreachable, Untrusted
from maestro.governance.versions.archive import pack
from maestro.security.quarantine import read_manifest, take_in
from maestro.serving.fetching import fetch_version, fetch_versions, wanted
from maestro.serving.sample import write_sample


@pytest.fixture
def source(tmp_path: Path) -> Home:
    """A home with one signed version."""
    home = Home(tmp_path / "source")
    home.root.mkdir()
    write_sample(home, SystemClock(), home.trust_policy)
    return home


@pytest.fixture
def url(source: Home) -> Iterator[str]:
    """What gives its versions to the key `mk_1`, as the API does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, _, model, version, *archive = self.path.split("/")
            known = self.headers.get("Authorization") == "Bearer mk_1"
            folder = source.version(model, version)
            if not known or not folder.is_dir():
                body = b"no"
            elif archive:
                body = b"".join(pack(folder))
            else:
                body = json.dumps({"digest": read_manifest(folder).content_digest()}).encode()
            self.send_response((200 if folder.is_dir() else 404) if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def empty(source: Home, tmp_path: Path) -> Home:
    """A home with the same graph, and no version."""
    home = Home(tmp_path / "pod")
    home.graphs.mkdir(parents=True)
    home.graph("sample").write_bytes(source.graph("sample").read_bytes())
    return home


def test_what_a_graph_names_is_brought_once_and_whole(source: Home, empty: Home, url: str, tmp_path: Path) -> None:
    (node,) = wanted(empty)
    assert fetch_versions(empty, wanted(empty), url, "mk_1") == ["sample@1.0.0"]
    take_in(empty.version("sample", "1.0.0"), tmp_path / "private", node.digest)
    assert fetch_versions(empty, wanted(empty), url, "mk_1") == []


def test_without_the_key_nothing_is_left_behind(empty: Home, url: str) -> None:
    with pytest.raises(Unreachable, match="401"):
        fetch_versions(empty, wanted(empty), url, "mk_2")
    assert len(wanted(empty)) == 1


def test_a_version_is_brought_by_its_name(empty: Home, url: str) -> None:
    fetch_version(empty, "sample@1.0.0", url, "mk_1")
    assert wanted(empty) == []


@pytest.mark.parametrize("name", ["sample", "@1.0.0", "sample@..", "sample@../../keys", "../keys@1.0.0", "sample@1\n"])
def test_a_name_needs_its_version(empty: Home, url: str, name: str) -> None:
    with pytest.raises(BadInput, match="names no version"):
        fetch_version(empty, name, url, "mk_1")


def test_a_version_that_nobody_registered(empty: Home, url: str) -> None:
    with pytest.raises(NotFound, match="no version sample@9") as told:
        fetch_version(empty, "sample@9.0.0", url, "mk_1")
    assert told.value.field == "model"


def test_a_graph_cannot_have_a_folder_replaced_that_is_no_versions(empty: Home, url: str) -> None:
    empty.keys.mkdir()
    (empty.keys / "key").touch()
    node = wanted(empty)[0].model_copy(update={"version": "../../keys"})
    with pytest.raises(BadInput, match="names no version"):
        fetch_versions(empty, [node], url, "mk_1")
    assert (empty.keys / "key").exists()


def test_a_key_that_cannot_be_said_is_not_shown(empty: Home, url: str) -> None:
    asks: list[Callable[[str], object]] = [
        lambda key: fetch_version(empty, "sample@1.0.0", url, key),
        lambda key: fetch_versions(empty, wanted(empty), url, key),
    ]
    for ask in asks:
        for key in ("mk_secret\nmk_2", "mk_sécret"):
            with pytest.raises(BadInput, match="not one line of ASCII") as told:
                ask(key)
            assert "mk_" not in str(told.value.problem())


def test_several_may_bring_one_version_at_once(source: Home, empty: Home, url: str, tmp_path: Path) -> None:
    """As shares of one batch do that begin together."""
    nodes = wanted(empty)
    with ThreadPoolExecutor(6) as shares:
        brought = list(shares.map(lambda _: fetch_versions(empty, nodes, url, "mk_1"), range(6)))
    assert sorted(brought) == [[]] * 5 + [["sample@1.0.0"]]
    take_in(empty.version("sample", "1.0.0"), tmp_path / "private", nodes[0].digest)
    assert [path.name for path in empty.version("sample", "1.0.0").parent.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(("key", "address"), [("mk_2", None), ("mk_1", "http://127.0.0.1:1"), ("mk_1", "nowhere")])
def test_a_version_that_nobody_gives(empty: Home, url: str, key: str, address: str | None) -> None:
    with pytest.raises(Unreachable, match=r"does not tell of sample@1\.0\.0"):
        fetch_version(empty, "sample@1.0.0", address or url, key)
    assert len(wanted(empty)) == 1


def test_nobody_answers(empty: Home) -> None:
    with pytest.raises(Unreachable, match="does not give sample"):
        fetch_versions(empty, wanted(empty), "http://127.0.0.1:9", "mk_1")


def test_what_is_not_the_pinned_version_leaves_nothing_behind(source: Home, empty: Home, url: str) -> None:
    with (source.version("sample", "1.0.0") / "files/model.onnx").open("ab") as file:
        file.write(b"0" * 2**20)
    with pytest.raises(Untrusted, match="is not in its manifest"):
        fetch_versions(empty, wanted(empty), url, "mk_1")
    assert list(empty.version("sample", "1.0.0").parent.iterdir()) == []


def test_a_broken_connection_leaves_nothing_behind(empty: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                head = tarfile.TarInfo("files/model.onnx")
                head.size = 90_000
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + head.tobuf() + bytes(2000))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(Unreachable, match="does not give sample"):
            fetch_versions(empty, wanted(empty), f"http://127.0.0.1:{listening.getsockname()[1]}", "mk_1")
        thread.join()
    assert list(empty.version("sample", "1.0.0").parent.iterdir()) == []
