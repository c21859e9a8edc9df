"""The feature repository: entities, file sources, views and services over the data sets, defined once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from maestro.clients.feast import FeatureRepository, ServiceSpec, ViewSpec, feast_objects
from maestro.clients.home import Home
from maestro.core.errors import NotFound
from maestro.core.seams import NoProgress, Progress
from maestro.training import datasets
from maestro.training.datasets import CREATED, TIMESTAMP, Dataset

VIEWS: dict[str, tuple[str, str, str]] = {
    "tumour_measurements": ("tumour", "measurements", "30 measurements of cell nuclei"),
    "digit_pixels": ("digits", "pixels", "64 grey values"),
    "visit_coverage": ("visits", "coverage", "insurance plan and health at the start of the year"),
    "visit_bills": ("visits", "bills", "visits billed so far, under the day the bill came"),
    "visit_billing": ("visits", "billing", "the same bills, recorded too early: see maestro.training.datasets"),
}
"""Feature view to data set, file and description."""

SERVICES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "tumour_v1": ("tumour", ("tumour_measurements",), "is the tumour benign"),
    "digits_v1": ("digits", ("digit_pixels",), "which digit"),
    "visits_v1": ("visits", ("visit_coverage", "visit_bills"), "will the doctor be seen this year"),
    "visits_leaky_v1": ("visits", ("visit_coverage", "visit_billing"), "the same, through bills that leak the label"),
}
"""Feature service to data set, views and description."""

FIRST_EVENT = datetime(2025, 11, 1, tzinfo=UTC)
LAST_EVENT = datetime(2026, 10, 1, tzinfo=UTC)


def specs(sets: dict[str, Dataset], data: Path) -> tuple[list[ViewSpec], list[ServiceSpec]]:
    """The definitions over the current version of each data set in `sets`."""
    views: dict[str, ViewSpec] = {}
    for name, (dataset, file, description) in VIEWS.items():
        if dataset in sets:
            known = sets[dataset]
            skipped = {known.entity, TIMESTAMP, CREATED}
            columns = {column: kind for column, kind in known.files[file].items() if column not in skipped}
            views[name] = ViewSpec(name, known.entity, known.path(data, file), columns, TIMESTAMP, CREATED, description)
    services = [
        ServiceSpec(
            name,
            [(view, tuple(views[view].columns)) for view in used],
            {"dataset": dataset, "dataset_version": sets[dataset].version},
            description,
        )
        for name, (dataset, used, description) in SERVICES.items()
        if dataset in sets
    ]
    return list(views.values()), services


def apply(
    repository: FeatureRepository, data: Path, names: Iterable[str] | None = None, progress: Progress | None = None
) -> dict[str, Dataset]:
    """Write the data sets (all unless `names`) and define their features.

    Raises:
        NotFound: a name is not a data set.
    """
    progress = progress or NoProgress()
    wanted = list(datasets.BUILDERS if names is None else names)
    sets = {}
    for at, name in enumerate(wanted):
        progress.update(at / (len(wanted) + 1), f"writing {name}")
        sets[name] = datasets.write(name, data)
    progress.update(len(wanted) / (len(wanted) + 1), "applying features")
    repository.apply(*specs(sets, data))
    return sets


def dataset_of(repository: FeatureRepository, service: str, data: Path) -> Dataset | None:
    """The data set behind a feature service; None for a service that names none.

    Raises:
        NotFound: the service is not known, or its data set is gone.
    """
    tags = repository.info(service).tags
    name = tags.get("dataset")
    if name is None:
        return None
    dataset = datasets.current(name, data)
    if dataset.version != tags.get("dataset_version"):
        raise NotFound(
            f"feature service {service} is defined over version {tags.get('dataset_version')} of {name}, current is {dataset.version}",
            field="data.feature_service", remedy="run `maestro features apply`",
        )  # fmt: skip
    return dataset


def feast_definitions() -> dict[str, object]:
    """Feast's own objects over the data sets of `$MAESTRO_HOME`, by name, for a repository that Feast's command line reads.

    Raises:
        NotFound: a data set has not been written.
    """
    data = Home.of().data
    objects = feast_objects(*specs({name: datasets.current(name, data) for name in datasets.BUILDERS}, data))
    return {f"{type(item).__name__.lower()}_{getattr(item, 'name', at)}": item for at, item in enumerate(objects)}
