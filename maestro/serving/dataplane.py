"""The data plane: from a request in no protocol's form to an answer in no protocol's form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from maestro.core.errors import BadInput, MaestroError, NotFound, Refused, TooLarge, TooManyRequests, Unreachable
from maestro.serving.breaker import Breaker
from maestro.serving.caches import FeatureLookup, answered
from maestro.serving.feature_sources import FeatureSource
from maestro.serving.graph._base import ANY_KEY, NOBODY, Answer, Call, Unit
from maestro.serving.metrics import ServerMetrics
from maestro.serving.served import ServedGraph
from maestro.serving.table import Table

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request.

    Args:
        model: the graph's name; None when the server has one only.
        table: the rows; None when features come from the feature store.
        entities: who each row is about, by the contract's entity keys; without `table` the features are looked up by them.
        context: values by name that a split may stick to, for all rows.
        version: ask this version directly; only one that is admitted for production.
        draw: by which splits assign it when it names no key; drawn afresh when None.
    """

    model: str | None
    table: Table | None
    entities: Sequence[Mapping[str, Any]] | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    draw: str | None = None


@dataclass(frozen=True, slots=True)
class InferResult:
    """An answer, and the revision that gave it."""

    answer: Answer
    model: str
    revision: int


class DataPlane:
    """Holds the served graphs and answers on them. It belongs to one event loop; only `graphs` is changed from outside, an entry at a time.

    Args:
        features: where features come from by entity; None when there is no feature store.
        max_rows: rows in one request.
        queue_limit: requests under way at once; more are refused.
        feature_timeout_s: for one look-up, in seconds.
        feature_breaker: the feature store's; one of its own when None.
    """

    def __init__(
        self,
        metrics: ServerMetrics,
        *,
        features: FeatureSource | None,
        max_rows: int,
        queue_limit: int,
        feature_timeout_s: float = 2.0,
        feature_cache_bytes: int = 0,
        feature_cache_ttl_s: float = 1.0,
        feature_breaker: Breaker | None = None,
    ) -> None:
        self.graphs: dict[str, ServedGraph] = {}
        self.metrics = metrics
        self._features = features
        self._max_rows = max_rows
        self._queue_limit = queue_limit
        self._lookups = ThreadPoolExecutor(max_workers=1, thread_name_prefix="features")
        self._lookup: FeatureLookup | None = None
        if features is not None:
            self._lookup = FeatureLookup(
                features,
                self._lookups,
                timeout_s=feature_timeout_s,
                max_bytes=feature_cache_bytes,
                ttl_s=feature_cache_ttl_s,
                breaker=feature_breaker,
            )

    def served(self, model: str | None) -> ServedGraph:
        """The graph that is served under a name.

        Raises:
            NotFound: none is.
            BadInput: no name is given and there are several.
            Unreachable: no graph is served at all.
        """
        if model is not None:
            found = self.graphs.get(model)
            if found is None:
                raise NotFound(
                    f"no model {model[:128]!r} is served here",
                    field="model",
                    remedy=f"ask for one of: {', '.join(sorted(self.graphs)) or 'none is served yet'}",
                )
            return found
        if len(self.graphs) == 1:
            return next(iter(self.graphs.values()))
        if not self.graphs:
            raise Unreachable("no model is served yet", remedy="write a graph into $MAESTRO_HOME/graphs; see /healthz")
        raise BadInput(
            "the request does not say which model",
            field="model",
            remedy=f"name one of: {', '.join(sorted(self.graphs))}",
        )

    @property
    def max_rows(self) -> int:
        """Rows in one request."""
        return self._max_rows

    @property
    def full(self) -> bool:
        """Whether as many requests are under way as may be."""
        return self.metrics.inflight >= self._queue_limit

    async def infer(self, request: InferRequest) -> InferResult:
        """Answer a request, wholly on the revision that is served when it arrives.

        Raises:
            BadInput: the rows are at fault.
            TooManyRequests: too many requests are under way.
            Unreachable: no arm answers, or the feature store does not.
        """
        served = self.served(request.model)
        metrics = self.metrics
        if self.full:
            raise TooManyRequests(
                f"{self._queue_limit} requests are under way",
                remedy="send fewer at once, or add servers",
                retry_after=1,
            )
        metrics.inflight += 1
        served.inflight += 1
        try:
            units = self.units(request, served)
            table = request.table
            if table is None:
                table = await self._look_up(request, served)
            if len(table) > self._max_rows:
                raise TooLarge(
                    f"{len(table)} rows, at most {self._max_rows} are taken in one request",
                    field=table.where,
                    remedy="send several requests",
                )
            metrics.batch(served.model, len(table))
            if len(units) not in (1, len(table)):
                raise BadInput(
                    f"{len(units)} entities for {len(table)} rows", field="entities", remedy="send one entity a row"
                )
            answer = await self._answer(Call(table, units, draw=request.draw), request, served)
            return InferResult(answer, served.model, served.revision)
        finally:
            metrics.inflight -= 1
            served.inflight -= 1

    async def _answer(self, call: Call, request: InferRequest, served: ServedGraph) -> Answer:
        if request.version is None:
            return await served.root.answer(call)
        node = served.direct(request.version)
        if node is None:
            raise NotFound(
                f"model {served.model!r} has no version {request.version[:64]!r} loaded",
                field="version",
                remedy=f"ask for one of: {', '.join(sorted({v.version for v in served.versions.values()}))}",
            )
        if served.purposes.get(node) != "production":
            raise Refused(
                f"version {request.version} is a candidate: it answers only what the split gives it",
                remedy="ask the model without a version",
            )
        # Asked by name it is no arm of an experiment: nothing counts as its first attempt.
        return await served.nodes[node].answer(call.stand_in())

    def units(self, request: InferRequest, served: ServedGraph) -> tuple[Unit, ...]:
        """Who the rows are about: one unit a row, or one for all.

        Raises:
            BadInput: an entity is not one of the model's.
        """
        keys = served.entity_keys
        context = tuple(request.context.items())
        if request.entities is None:
            if not context:
                return (NOBODY,)
            values = [request.context.get(key) for key in keys]
            known = [value for value in values if value is not None]
            entity = "|".join(known) if keys and len(known) == len(keys) else None
            if entity is None and len(keys) == 1:
                entity = request.context.get(ANY_KEY)
            return (Unit(entity, context),)
        if not request.entities:
            raise BadInput("entities holds no rows", field="entities", remedy="send at least one entity")
        if not keys:
            raise BadInput(
                f"model {served.model!r} has no entity keys",
                field="entities",
                remedy="send the rows of features as instances",
            )
        return tuple(self._unit(row, entity, keys, context) for row, entity in enumerate(request.entities))

    def _unit(
        self, row: int, entity: Mapping[str, Any], keys: tuple[str, ...], context: tuple[tuple[str, str], ...]
    ) -> Unit:
        for name in entity:
            if name not in keys:
                raise BadInput(
                    f"entities[{row}]: unknown entity key {name[:80]!r}",
                    field=f"entities[{row}].{name[:80]}",
                    remedy=f"send {', '.join(keys)}",
                )
        named = [(key, key_text(entity.get(key), f"entities[{row}].{key}")) for key in keys]
        return Unit("|".join(value for _, value in named), (*named, *context))

    async def _look_up(self, request: InferRequest, served: ServedGraph) -> Table:
        if request.entities is None:
            raise BadInput(
                "the request holds neither rows nor entities",
                field="instances",
                remedy="send instances, or entities to look up",
            )
        contract = served.contract
        if contract is None or contract.feature_service is None:
            raise BadInput(
                f"model {served.model!r} has no feature service to look entities up in",
                field="entities",
                remedy="send the rows of features as instances",
            )
        if len(request.entities) > self._max_rows:
            raise TooLarge(
                f"{len(request.entities)} entities, at most {self._max_rows}",
                field="entities",
                remedy="send several requests",
            )
        service = contract.feature_service.name
        found = answered(await self.features_of(service, [dict(entity) for entity in request.entities]))
        names = contract.names
        records = []
        for row, values in enumerate(found):
            try:
                record = {name: values[name] for name in names}
            except KeyError as error:  # a value that is missing would do for it, and nobody would hear of it
                raise Unreachable(
                    f"feature service {service} has no feature {error.args[0]!r}, which the model was trained on",
                    remedy="apply the feature service by which it was trained",
                    component="feature store",
                ) from None
            if all(value is None for value in record.values()):
                raise NotFound(
                    f"entities[{row}] has no features in {service}",
                    field=f"entities[{row}]",
                    remedy="materialise the features, or correct the entity",
                )
            records.append(record)
        return Table(records=records, where="entities")

    async def features_of(
        self, service: str, rows: list[dict[str, Any]]
    ) -> list[dict[str, float | None] | MaestroError]:
        """The features of entities, one mapping a row, or the error that this row got.

        Raises:
            NotFound: the service is unknown.
            Unreachable: there is no store, or it does not answer in time.
        """
        lookup = self._lookup
        if lookup is None:
            raise Unreachable(
                "this server has no feature store",
                remedy="apply and materialise the feature repository",
                component="feature store",
            )
        try:
            return await lookup.each(service, rows)
        finally:
            if lookup.enabled:
                counts = lookup.counts
                self.metrics.cache(counts.name, counts.hits, counts.misses)
                counts.hits = counts.misses = 0

    async def warm_up(self, served: ServedGraph) -> None:
        """Open the feature store when the graph's callers may need it; a store that is away delays a graph and does not stop it."""
        contract = served.contract
        if self._features is None or contract is None or contract.feature_service is None:
            return
        opening = asyncio.get_running_loop().run_in_executor(
            self._lookups, self._features.open, contract.feature_service.name
        )
        try:
            await asyncio.wait_for(opening, OPEN_TIMEOUT_S)
        except TimeoutError:
            log.warning("the feature store was not open within %.0f s", OPEN_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - a look-up says so again, to the caller whom it concerns
            log.warning("features: %s", error)

    def close(self) -> None:
        """Stop looking features up."""
        self._lookups.shutdown(wait=False, cancel_futures=True)
        if self._features is not None:
            self._features.close()


def key_text(value: Any, field: str) -> str:
    """The text of one entity key's value.

    Raises:
        BadInput: it is neither text nor a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadInput(f"{field} is not a text or a whole number", field=field, remedy="send the entity's key")
    return str(value)
