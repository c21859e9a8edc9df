"""Results as MLflow runs. What is logged is read back by the test of the drift script."""

from __future__ import annotations

import pytest

from maestro.clients.result_run import log_result_run
from maestro.core.errors import Unreachable


def test_a_server_that_is_not_there_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unreachable, match=r"MLflow at http://127\.0\.0\.1:9 does not answer") as caught:
        log_result_run("http://127.0.0.1:9", "e", "r", params={}, metrics={}, tags={})
    assert "make up" in caught.value.remedy
