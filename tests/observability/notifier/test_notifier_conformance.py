"""One suite for every notifier; the webhook delivers to a real HTTP server."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import pytest

from maestro.core.errors import BadInput
from maestro.core.seams import Alert, Notifier
from maestro.observability.notifier import create_notifier
from maestro.observability.notifier.apprise import AppriseNotifier

ALERT = Alert(title="drift in churn", body="4 of 10 columns drifted", severity="high", source="drift/churn")


class Receiver(Protocol):
    """What a notifier delivers to, as the suite sees it."""

    notifier: Notifier

    def received(self) -> list[str]:
        """The text of each delivery."""
        ...

    def break_down(self) -> None:
        """Let every later delivery fail."""
        ...


class _Webhook:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status = 200
        self.delay_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.delay_s)
                outer.bodies.append(body)
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        self.url = f"json://127.0.0.1:{self.server.server_address[1]}/hook"
        self.notifier: Notifier = create_notifier(self.url)

    def received(self) -> list[str]:
        if self.status != 200:
            return []
        return [f"{(each := json.loads(body))['title']} {each['message']}" for body in self.bodies]

    def break_down(self) -> None:
        self.status = 500

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.broken = False
        self.notifier: Notifier = create_notifier("log")
        logging.getLogger("maestro.alerts").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if self.broken:
            raise OSError("the disk is full")
        self.lines.append(f"[{record.__dict__['severity']}] {record.getMessage()} {record.__dict__['source']}")

    def received(self) -> list[str]:
        return self.lines

    def break_down(self) -> None:
        self.broken = True

    def close(self) -> None:
        logging.getLogger("maestro.alerts").removeHandler(self)
        super().close()


class _File:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "alerts" / "alerts.jsonl"
        self.notifier: Notifier = create_notifier(f"file:{self.path}")

    def received(self) -> list[str]:
        if not self.path.is_file():
            return []
        entries = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [f"[{each['severity']}] {each['title']} {each['body']} {each['source']}" for each in entries]

    def break_down(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.mkdir()


class _Many:
    def __init__(self, folder: Path) -> None:
        self.file, self.webhook = _File(folder), _Webhook()
        self.notifier: Notifier = create_notifier(f"file:{self.file.path}, {self.webhook.url}")

    def received(self) -> list[str]:
        assert len(self.file.received()) == len(self.webhook.received())
        return self.webhook.received()

    def break_down(self) -> None:
        self.webhook.break_down()
        self.file.break_down()

    def close(self) -> None:
        self.webhook.close()


@pytest.fixture
def webhook() -> Iterator[_Webhook]:
    made = _Webhook()
    yield made
    made.close()


@pytest.fixture(params=["log", "file", "webhook", "many"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    if request.param == "file":
        yield _File(tmp_path)
        return
    made: _Log | _Webhook | _Many
    made = _Log() if request.param == "log" else _Webhook() if request.param == "webhook" else _Many(tmp_path)
    yield made
    made.close()


def test_an_alert_arrives_once_and_whole(receiver: Receiver) -> None:
    assert receiver.notifier.notify(ALERT) is True
    delivered = receiver.received()
    assert len(delivered) == 1
    for part in (ALERT.title, ALERT.body, ALERT.severity, ALERT.source):
        assert part in delivered[0]


def test_a_receiver_that_fails_is_a_false_and_never_an_exception(receiver: Receiver) -> None:
    receiver.break_down()
    assert receiver.notifier.notify(ALERT) is False
    assert receiver.received() == []


def test_threads_lose_and_repeat_nothing(receiver: Receiver) -> None:
    alerts = [ALERT.model_copy(update={"title": f"alert {i:02d}"}) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(receiver.notifier.notify, alerts))
    titles = sorted(
        next(f"alert {i:02d}" for i in range(24) if f"alert {i:02d}" in each) for each in receiver.received()
    )
    assert titles == [alert.title for alert in alerts]


def test_a_receiver_that_hangs_is_given_up(webhook: _Webhook) -> None:
    webhook.delay_s = 1.5
    started = time.monotonic()
    assert AppriseNotifier([webhook.url], timeout_s=0.3).notify(ALERT) is False
    assert time.monotonic() - started < 1.4


def test_a_receiver_that_is_not_there_is_a_false() -> None:
    assert create_notifier("json://127.0.0.1:1/hook").notify(ALERT) is False


@pytest.mark.parametrize("spec", ["pager", "", "nope://host", "slack://", "file:", "log,carrier-pigeon"])
def test_the_factory_refuses_what_it_does_not_know_and_lists_what_it_does(spec: str) -> None:
    with pytest.raises(BadInput) as caught:
        create_notifier(spec)
    assert caught.value.field == "notify"
    assert "log" in caught.value.remedy
    assert "slack" in caught.value.remedy


@pytest.mark.parametrize("url", ["slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/", "pagerduty://key@token"])
def test_slack_and_pagerduty_are_known(url: str) -> None:
    assert isinstance(create_notifier(url), AppriseNotifier)


def test_a_failure_is_logged_without_the_credentials_of_the_url(caplog: pytest.LogCaptureFixture) -> None:
    assert create_notifier("json://user:s3cret@127.0.0.1:1/hook").notify(ALERT) is False
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("maestro.")]
    assert any("was not delivered" in line for line in ours)
    assert not any("s3cret" in line for line in ours)
