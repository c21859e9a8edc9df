"""One platform for the session, started by `maestro up`; one run of the demo; model servers alone. Selected by `make e2e` alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from maestro.clients.home import Home
from tests.e2e.running import Running, maestro
from tests.serving.conftest import Process, Trained, Workshop, _fit, process_of

ORDER = ("test_demo", "test_scripts", "test_faults")
"""What shakes the platform comes last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the files; the rest of the session stays where it was."""
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else -1)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`maestro up`, and `maestro down` at the end."""
    root: Path = tmp_path_factory.mktemp("platform") / "home"
    started = maestro(root, "up", "--json", timeout_s=600.0)
    try:
        assert started.code == 0, started.text()
        assert started.json()["model"]["version"] == "1.0.0"
        exports = maestro(root, "env", "--json")
        assert exports.code == 0, exports.text()
        yield Running(Home(root), exports.json())
    finally:
        stopped = maestro(root, "down", "--json", timeout_s=120.0)
    assert stopped.json()["stopped"] is True


@pytest.fixture(scope="module")
def models() -> tuple[Trained, Trained]:
    """One model, and one that answers otherwise."""
    return _fit(flip=False), _fit(flip=True)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    return Workshop(Home(home))


@pytest.fixture
def start(workshop: Workshop, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts model servers as people do."""
    with ExitStack() as stack:

        def started(**settings: str) -> Process:
            return stack.enter_context(process_of(workshop.home, tmp_path / "log", **settings)).wait_ready(120)

        yield started
