"""The certificate that TLS inside the cluster starts with."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maestro.security.certificate import Certified, certify


@pytest.fixture(scope="module")
def certified() -> Certified:
    return certify(["vault.vault.svc", "localhost"], datetime.now(UTC))


def greet(certified: Certified, folder: Path, name: str, authority: str) -> None:
    """One TLS handshake over a socket pair."""
    (folder / "crt").write_text(certified.certificate)
    (folder / "key").write_text(certified.key)
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(folder / "crt", folder / "key")
    here = ssl.create_default_context(cadata=authority)
    one, other = socket.socketpair()

    def serve() -> None:
        try:
            with there.wrap_socket(one, server_side=True) as server:
                server.recv(1)
        except (ssl.SSLError, OSError):
            one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with here.wrap_socket(other, server_hostname=name) as client:
            client.send(b"x")
    finally:
        other.close()
        thread.join(10)


def test_a_client_that_trusts_the_authority_is_served(certified: Certified, tmp_path: Path) -> None:
    greet(certified, tmp_path, "vault.vault.svc", certified.authority)
    greet(certified, tmp_path, "localhost", certified.authority)


def test_another_name_and_another_authority_are_refused(certified: Certified, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(certified, tmp_path, "elsewhere", certified.authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(certified, tmp_path, "localhost", certify(["localhost"], datetime.now(UTC)).authority)
