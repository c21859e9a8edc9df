"""An arm: the outermost node below splits and shadows. It counts its own first attempts, whatever the caller gets in the end."""

from __future__ import annotations

import time

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError
from maestro.serving.graph._base import Answer, Call, GraphNode, Observation, Observe
from maestro.serving.metrics import ServerMetrics
from maestro.serving.runtimes._base import ModelTimeout


class Arm:
    """Counts and reports the attempts of `inner`.

    Args:
        model: the graph's name, the first label of the metrics.
        revision: the graph's revision.
    """

    def __init__(self, model: str, revision: int, inner: GraphNode, metrics: ServerMetrics, observe: Observe) -> None:
        self.name = inner.name
        self.version = inner.version
        self.inner = inner
        self._revision = revision
        self._observe = observe
        self._counters = metrics.arm(model, inner.version, inner.name)
        contracts = inner.contracts
        self._contract = contracts[0] if contracts else None

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """Those of the node inside."""
        return self.inner.contracts

    async def answer(self, call: Call) -> Answer:
        """Answer outside of any experiment."""
        return await self.attempt(call, experiment=None, propensity=1.0)

    async def attempt(self, call: Call, *, experiment: str | None, propensity: float, key: str | None = None) -> Answer:
        """Answer, count, report."""
        if not call.first:
            return await self.inner.answer(call)
        started = time.perf_counter()
        outcome, answer = "error", None
        try:
            answer = await self.inner.answer(call)
            outcome = "ok"
            return answer
        except ModelTimeout:
            outcome = "timeout"
            raise
        except BadInput:
            outcome = "contract"
            raise
        except MaestroError:
            raise
        finally:
            seconds = time.perf_counter() - started
            self._counters.observe(outcome, seconds)
            self._observe(
                Observation(
                    arm=self.name,
                    version=self.version,
                    revision=self._revision,
                    experiment=experiment,
                    propensity=propensity,
                    key=key,
                    units=call.units,
                    prediction=answer.prediction if answer is not None else None,
                    batch=answer.batch if answer is not None else None,
                    contract=self._contract,
                    latency_s=seconds,
                    outcome=outcome,
                )
            )
