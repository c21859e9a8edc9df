"""Evidently in its own process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maestro.clients.evidently import render_report
from maestro.core.errors import Unreachable


def test_the_named_tests_are_run_whatever_the_sample_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # more than 1,000 rows: by default Evidently would choose distances here, not tests
    reference = pd.DataFrame(
        {"x": rng.normal(size=1500), "city": rng.choice(["a", "b"], 1500), "flag": rng.random(1500) < 0.5}
    )
    current = reference.assign(x=reference["x"] + 0.5)
    current.loc[:10, "city"] = None
    found = render_report(
        reference,
        current,
        {"x": "ks", "city": "chisquare", "flag": "chisquare"},
        tmp_path / "out" / "r.html",
        threshold=0.05,
        share=0.3,
    )
    by_name = {each.column: each for each in found}
    assert by_name["x"].p_value is not None
    assert by_name["x"].psi is not None
    assert by_name["flag"].p_value is not None
    assert by_name["x"].p_value < 1e-10
    assert by_name["x"].psi > 0.1
    assert by_name["flag"].p_value == pytest.approx(1.0)
    page = (tmp_path / "out" / "r.html").read_text()
    assert "ks" in page
    assert 'src="http' not in page


def test_a_report_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    with pytest.raises(Unreachable, match="no report within") as caught:
        render_report(frame, frame, {"x": "ks"}, tmp_path / "r.html", threshold=0.05, share=0.3, timeout_s=0.05)
    assert "--no-html" in caught.value.remedy
