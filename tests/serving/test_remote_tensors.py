"""Rows that no remote node can be asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.serving.breaker import Breaker
from maestro.serving.graph._base import Call
from maestro.serving.graph.remote import RemoteRunner
from maestro.serving.table import Table
from tests.serving.remote_model import RemoteModel
from tests.serving.test_remote_batches import asked, outcomes


@pytest.mark.parametrize(
    "table",
    [
        Table(matrix=np.array([[1.0, np.nan]]), where="inputs[0]"),
        Table(matrix=np.array([[1.0, np.inf]]), where="inputs[0]"),
        Table(rows=[[1, 10**400]], where="inputs[0]"),
        Table(records=[{"a": 10**400}], where="inputs[0]"),
        Table(records=[{"a": np.inf}], where="inputs[0]"),
    ],
)
def test_numbers_that_cannot_be_said_are_the_rows_fault(table: Table) -> None:
    async def repeated(runner: RemoteRunner) -> Any:
        return await outcomes(runner, [Call(table)] * 5), runner.breaker.state.name

    found, state = asked(RemoteModel(), repeated, breaker=Breaker(volume=2, share=0.5))
    for outcome in found:
        assert isinstance(outcome, BadInput)
        assert outcome.field == "inputs[0]"
    assert state == "CLOSED", "a caller cannot close a node to the others"
