"""Apprise: what it accepts and how it says no. Deliveries are in the suite of the notifiers."""

from __future__ import annotations

import pytest

from maestro.clients.apprise import AppriseSender
from maestro.core.errors import BadInput


@pytest.mark.parametrize("url", ["nope://host", "slack://", "http-without-scheme"])
def test_an_unknown_or_unfinished_url_is_refused_without_being_repeated_whole(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        AppriseSender([url])
    assert caught.value.field == "notify"


def test_a_refused_delivery_names_the_kind_of_receiver_and_no_credential() -> None:
    why = AppriseSender(["json://user:s3cret@127.0.0.1:1/x"]).send("t", "b", "warning", 5.0)
    assert why is not None
    assert "s3cret" not in why
