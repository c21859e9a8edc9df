"""Old sets go a little at a time, and faster than new ones grow."""

from __future__ import annotations

from maestro.serving.forgetting import AT_LEAST, Forgetting


def test_what_is_left_gets_less_however_fast_new_sets_grow() -> None:
    forgetting = Forgetting()
    forgetting.add(set(range(1000)), set(), set(range(500)))
    assert len(forgetting) == 1500
    forgetting.some(1)
    assert len(forgetting) == 1500 - AT_LEAST
    forgetting.some(200)
    assert len(forgetting) == 1500 - AT_LEAST - 400
    for _ in range(100):
        forgetting.some(1)
    assert len(forgetting) == 0
    forgetting.some(1)
