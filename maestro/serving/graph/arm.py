"""An arm: the outermost node below splits and shadows. It counts its own first attempts, whatever the caller gets in the end."""

from __future__ import annotations

import time
from dataclasses import replace

from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError
from maestro.serving.graph._base import Answer, Call, GraphNode, Observation, Observe, Unit, outcome_of
from maestro.serving.metrics import ServerMetrics
from maestro.serving.sampling import Sample, Sampler
from maestro.serving.table import Batch, Prediction


class Arm:
    """Counts and reports the attempts of `inner`.

    Args:
        model: the graph's name, the first label of the metrics.
        revision: the graph's revision.
        sampler: takes some of the rows and answers.
    """

    def __init__(
        self,
        model: str,
        revision: int,
        inner: GraphNode,
        metrics: ServerMetrics,
        observe: Observe,
        sampler: Sampler | None = None,
    ) -> None:
        self.name = inner.name
        self.version = inner.version
        self.inner = inner
        self._revision = revision
        self.observe = observe
        self.sampler = sampler
        self._model = model
        self.counters = metrics.arm(model, inner.version, inner.name)
        contracts = inner.contracts
        self._contract = contracts[0] if contracts else None

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """Those of the node inside."""
        return self.inner.contracts

    async def answer(self, call: Call) -> Answer:
        """Answer; count and report a first attempt."""
        if not call.first:
            return await self.inner.answer(call)
        started = time.perf_counter() if call.ended is None else call.ended.started
        outcome, answer = "error", None
        try:
            answer = await self.inner.answer(call)
            outcome = answer.failed or "ok"
            return answer if answer.arm == self.name else replace(answer, arm=self.name)
        except MaestroError as error:
            outcome = outcome_of(error)
            raise
        finally:
            now = time.perf_counter()
            seconds = now - started
            self.counters.observe(outcome, seconds)
            if answer is not None and outcome == "ok":
                self.sample(now, answer.batch, answer.prediction)
            self.report(
                call,
                call.units,
                outcome,
                seconds,
                answer.prediction if answer is not None and outcome == "ok" else None,
                None if answer is None else answer.batch,
            )

    def report(
        self,
        call: Call,
        units: tuple[Unit, ...],
        outcome: str,
        seconds: float,
        prediction: Prediction | None,
        batch: Batch | None,
    ) -> None:
        """Tell evidence and exposures of a first attempt.

        Args:
            call: what splits on its way say.
            units: whom it was about.
        """
        self.observe(
            Observation(
                arm=self.name,
                version=self.version,
                revision=self._revision,
                experiment=call.experiment,
                propensity=call.propensity,
                key=call.key,
                units=units,
                prediction=prediction,
                batch=batch,
                contract=self._contract,
                latency_s=seconds,
                outcome=outcome,
                drawn=call.drawn,
            )
        )

    def sample(self, now: float, batch: Batch | None, prediction: Prediction) -> None:
        """Hand rows and answers on, when it is time to."""
        sampler = self.sampler
        if sampler is not None and sampler.due <= now and prediction.values:
            contract = self._contract if batch is None or fits(batch, self._contract) else None
            sampler.take(
                now,
                Sample(
                    self._model,
                    self.name,
                    self.version,
                    self._revision,
                    contract,
                    None if contract is None else batch,
                    prediction.values,
                    prediction.scores,
                ),
            )


def fits(batch: Batch, contract: ModelContract | None) -> bool:
    """Whether rows are in the order of a contract: those of a node inside may not be in the arm's."""
    return contract is not None and batch.names == contract.names
