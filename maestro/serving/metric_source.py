"""A model server's own counters as the source of a rollout's evidence."""

from __future__ import annotations

import httpx
from pydantic import ValidationError

from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import NotFound, Refused, Unreachable
from maestro.core.seams import Reading

MAX_AGE_S = 30.0


class ServerMetricSource:
    """Asks `GET /admin/evidence/{model}`.

    Args:
        server_url: the model server.
        token: a key with any role.
        max_age_s: an answer dated further from now than this is refused.
        timeout_s: how long an answer may take.
    """

    def __init__(
        self,
        server_url: str,
        token: str,
        *,
        clock: Clock | None = None,
        max_age_s: float = MAX_AGE_S,
        timeout_s: float = 5.0,
    ) -> None:
        self._url = server_url.rstrip("/")
        self._token = token
        self._clock = clock or SystemClock()
        self._max_age_s = max_age_s
        self._timeout_s = timeout_s

    def read(self, model: str, label_wait_s: float) -> Reading:
        """The counters of every arm that serves `model` now.

        Raises:
            Unreachable: no fresh answer.
            NotFound: the model is not served there.
            Refused: the key is not accepted.
        """
        try:
            response = httpx.get(
                f"{self._url}/admin/evidence/{model}",
                params={"label_wait_s": label_wait_s},
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=self._timeout_s,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise self._unreachable(f"does not answer ({str(error) or type(error).__name__})") from None
        if response.status_code in (401, 403):
            raise Refused(f"the model server {self._url} does not accept the key", remedy="use a key with a role")
        if response.status_code == 404:
            raise NotFound(
                f"the model server {self._url} does not serve {model!r}", field="model", remedy="write its graph"
            )
        if response.status_code != 200:
            raise self._unreachable(f"answers {response.status_code}")
        try:
            reading = Reading.model_validate_json(response.content)
        except ValidationError as error:
            raise self._unreachable(f"gives no reading: {error.error_count()} fields are wrong") from None
        age = (self._clock.now() - reading.at).total_seconds()
        if abs(age) > self._max_age_s:
            raise self._unreachable(f"gives a reading that is {age:.0f} s old")
        return reading

    def _unreachable(self, how: str) -> Unreachable:
        return Unreachable(
            f"the model server {self._url} {how}",
            remedy="see that it runs (make up) and its log",
            component="model server",
        )
