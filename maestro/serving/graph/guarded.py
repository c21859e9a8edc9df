"""One attempt behind a circuit breaker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from maestro.core.errors import BadInput, MaestroError, TooManyRequests
from maestro.serving.breaker import CircuitBreaker
from maestro.serving.runtimes._base import ModelFailed

Result = TypeVar("Result")


async def guarded(breaker: CircuitBreaker, who: str, ask: Callable[[], Awaitable[Result]]) -> Result:
    """What `ask` gives. Rows at fault, a full queue and a caller who has gone say nothing about the component.

    Args:
        who: what the error calls it.

    Raises:
        ModelFailed: it has failed too often and is not asked; says when it will be.
    """
    ticket = await breaker.ticket()
    if ticket is None:
        raise ModelFailed(
            f"{who} has failed too often and is not asked",
            remedy="see the server's log",
            retry_after=max(1, round(breaker.retry_after_s())),
        )
    try:
        result = await ask()
    except (BadInput, TooManyRequests):
        breaker.release(ticket)
        raise
    except MaestroError:
        breaker.record(ticket, ok=False)
        raise
    except BaseException:
        breaker.release(ticket)
        raise
    breaker.record(ticket, ok=True)
    return result
