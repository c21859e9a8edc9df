"""OpenLineage events with facets of our own for machine learning, as JSON documents that validate against the published schema.

Standard facets say what they can (schema, version, source, job type, parent run); ours carry the rest under the prefix `maestro_`, as the
specification asks of custom facets.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from maestro import __version__
from maestro.core.model import Model, Time, format_time

NAMESPACE = "maestro"
PRODUCER = f"urn:maestro:ml:{__version__}"
FACET_SCHEMA = "urn:maestro:openlineage"

_RUNS = uuid.UUID("6f7a2f0e-5b0c-5c57-9d0a-7b1f0f3a6c11")
"""Namespace of the run ids that are derived from names."""

FacetKind = Literal["dataset", "inputs", "outputs", "run", "job"]


class Dataset(Model):
    """A dataset of an event: data, a feature service, a model version, an endpoint."""

    namespace: str = NAMESPACE
    name: str
    version: str | None = None
    source: str | None = None
    columns: dict[str, str] = Field(default_factory=dict, description="name to type")
    rows: int | None = None
    facets: dict[str, dict[str, Any]] = Field(default_factory=dict, description="custom facets by name, without prefix")


class LineageRun(Model):
    """One run of a job, as START and COMPLETE events tell it."""

    run_id: str
    job: str
    job_type: str
    started: Time
    ended: Time
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    facets: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="custom run facets by name, without prefix"
    )
    parent: tuple[str, str] | None = Field(
        default=None, description="run id and job of the run that this one continues"
    )


def run_uuid(run_id: str) -> str:
    """The UUID of an MLflow run (which is one without hyphens), or one derived from any other name.

    >>> run_uuid("0123456789abcdef0123456789abcdef")
    '01234567-89ab-cdef-0123-456789abcdef'
    """
    try:
        return str(uuid.UUID(hex=run_id))
    except ValueError:
        return str(uuid.uuid5(_RUNS, run_id))


def events(run: LineageRun) -> list[dict[str, Any]]:
    """The START and the COMPLETE event of a run, as JSON documents."""
    return [_event(run, "START", run.started), _event(run, "COMPLETE", run.ended)]


def _event(run: LineageRun, kind: Literal["START", "COMPLETE"], at: datetime) -> dict[str, Any]:
    from openlineage.client import event_v2
    from openlineage.client.facet_v2 import job_type_job, parent_run
    from openlineage.client.serde import Serde

    run_facets: dict[str, Any] = {f"maestro_{name}": _custom("run", name, body) for name, body in run.facets.items()}
    if run.parent is not None:
        run_facets["parent"] = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=run.parent[0]),
            job=parent_run.Job(namespace=NAMESPACE, name=run.parent[1]),
            producer=PRODUCER,
        )
    event = event_v2.RunEvent(
        eventType=event_v2.RunState[kind],
        eventTime=format_time(at),
        run=event_v2.Run(runId=run.run_id, facets=run_facets),
        job=event_v2.Job(
            namespace=NAMESPACE,
            name=run.job,
            facets={
                "jobType": job_type_job.JobTypeJobFacet(
                    processingType="BATCH", integration="MAESTRO", jobType=run.job_type, producer=PRODUCER
                )
            },
        ),
        inputs=[_input(item) for item in run.inputs],
        outputs=[_output(item) for item in run.outputs],
        producer=PRODUCER,
    )
    return dict(Serde.to_dict(event))


def _input(item: Dataset) -> Any:
    from openlineage.client import event_v2
    from openlineage.client.facet_v2 import input_statistics_input_dataset

    statistics: dict[str, Any] = {}
    if item.rows is not None:
        statistics["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=item.rows, producer=PRODUCER
        )
    return event_v2.InputDataset(
        namespace=item.namespace, name=item.name, facets=_dataset_facets(item), inputFacets=statistics
    )


def _output(item: Dataset) -> Any:
    from openlineage.client import event_v2

    return event_v2.OutputDataset(namespace=item.namespace, name=item.name, facets=_dataset_facets(item))


def _dataset_facets(item: Dataset) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset, datasource_dataset, schema_dataset

    facets: dict[str, Any] = {f"maestro_{name}": _custom("dataset", name, body) for name, body in item.facets.items()}
    if item.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=item.version, producer=PRODUCER
        )
    if item.source is not None:
        facets["dataSource"] = datasource_dataset.DatasourceDatasetFacet(
            name=item.source, uri=f"urn:maestro:source:{_slug(item.source)}", producer=PRODUCER
        )
    if item.columns:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(
            fields=[
                schema_dataset.SchemaDatasetFacetFields(name=name, type=kind, ordinal_position=position)
                for position, (name, kind) in enumerate(item.columns.items(), start=1)
            ],
            producer=PRODUCER,
        )
    return facets


def _custom(kind: FacetKind, name: str, body: dict[str, Any]) -> Any:
    return _custom_class(kind, name)(body=body, producer=PRODUCER).flat()


@lru_cache(maxsize=64)
def _custom_class(kind: FacetKind, name: str) -> Any:
    import attr
    from openlineage.client.facet_v2 import DatasetFacet, RunFacet

    base: Any = DatasetFacet if kind == "dataset" else RunFacet
    schema = f"{FACET_SCHEMA}:{name}:1"

    @attr.define
    class Custom(base):  # type: ignore[misc]
        """A facet whose members stand beside `_producer` and `_schemaURL`."""

        body: dict[str, Any] = attr.field(factory=dict)

        @staticmethod
        def _get_schema() -> str:
            return schema

        def flat(self) -> dict[str, Any]:
            """As JSON."""
            return {**self.body, "_producer": self._producer, "_schemaURL": self._get_schema()}

    return Custom


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-") or "unknown"
