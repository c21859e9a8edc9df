"""Feast behind one adapter: a repository without yaml or CLI, point-in-time frames, the online store, fingerprints."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maestro.core.canonical import digest
from maestro.core.errors import BadInput, NotFound, Unreachable

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureService, FeatureStore

PROJECT = "maestro"
_ROW = "__row__"


@dataclass(frozen=True)
class ViewSpec:
    """One feature view over one Parquet file. `columns` maps feature to `float64`, `int64` or `string`, in order."""

    name: str
    entity: str
    path: Path
    columns: Mapping[str, str]
    timestamp: str = "event_timestamp"
    created: str = "created"
    description: str = ""


@dataclass(frozen=True)
class ServiceSpec:
    """The features that one model is given. `features` pairs a view with the columns taken from it, in order."""

    name: str
    features: Sequence[tuple[str, Sequence[str]]]
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class ServiceInfo:
    """What the registry says of a feature service."""

    name: str
    fingerprint: str
    entities: tuple[str, ...]
    views: tuple[str, ...]
    features: tuple[str, ...]
    types: Mapping[str, str]
    tags: Mapping[str, str]


def catalogue(folder: Path) -> dict[str, ServiceInfo]:
    """The feature services as `apply` left them, read without importing Feast; empty when nothing was applied.

    Raises:
        BadInput: the catalogue cannot be read.
    """
    try:
        entries = json.loads((folder / "services.json").read_text())
        return {
            name: ServiceInfo(
                name, entry["fingerprint"], tuple(entry["entities"]), tuple(entry["views"]), tuple(entry["features"]),
                entry["types"], entry["tags"],
            )
            for name, entry in entries.items()
        }  # fmt: skip
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{folder / 'services.json'} cannot be read: {error}",
            field="features",
            remedy="run `maestro features apply`",
        ) from None


class FeatureRepository:
    """The Feast repository below one folder (`registry.db`, `online.db`).

    Args:
        folder: `$MAESTRO_HOME/features`.
        registry: address of a database (as SQLAlchemy writes it) that holds the registry in place of a file.
    """

    def __init__(self, folder: Path, registry: str | None = None) -> None:
        self.folder = folder
        self._registry = registry
        self._store: FeatureStore | None = None

    @property
    def store(self) -> FeatureStore:
        """Feast's own object, built when first asked for."""
        if self._store is None:
            self._store = _open_store(self.folder, self._registry)
        return self._store

    def apply(self, views: Sequence[ViewSpec], services: Sequence[ServiceSpec]) -> None:
        """Define entities, sources, views and services; what stands there under the same names is replaced.

        Raises:
            NotFound: a view's file does not exist.
            BadInput: Feast refuses the definitions.
        """
        objects = feast_objects(views, services)
        with _translated(), _quiet():
            self.store.apply(objects)
        entries = {name: asdict(self.info(name)) for name in self.services()}
        partial = self.folder / ".services.json"
        partial.write_text(json.dumps(entries, indent=2, default=dict) + "\n")
        partial.replace(self.folder / "services.json")

    def info(self, service: str) -> ServiceInfo:
        """A feature service as the registry holds it.

        Raises:
            NotFound: no such service; the known ones are listed.
        """
        definition = self._service(service)
        entities: list[str] = []
        views, features = [], []
        types: dict[str, str] = {}
        for projection in definition.feature_view_projections:
            view = self.store.get_feature_view(projection.name)
            views.append(view.name)
            entities += [column.name for column in view.entity_columns if column.name not in entities]
            for column in projection.features:
                features.append(column.name)
                types[column.name] = _type_name(str(column.dtype))
        shape = {
            "service": service,
            "entities": entities,
            "features": [[name, types[name]] for name in features],
            "views": [[p.name, [c.name for c in p.features]] for p in definition.feature_view_projections],
        }
        return ServiceInfo(
            service, digest(shape), tuple(entities), tuple(views), tuple(features), types, dict(definition.tags)
        )

    def service_fingerprint(self, service: str) -> str:
        """The digest of a service's definition: views, features, types and entity keys, not where the files are."""
        return self.info(service).fingerprint

    def services(self) -> list[str]:
        """Names of the feature services, sorted."""
        with _translated():
            return sorted(service.name for service in self.store.list_feature_services())

    def training_frame(self, service: str, entities: pd.DataFrame, timestamp: str = "event_timestamp") -> pd.DataFrame:
        """The service's features as they were known at each row's timestamp, in the order of `entities`.

        Feast does not keep the order of the entity frame: rows are numbered, and put back by number.

        Args:
            service: the feature service.
            entities: entity keys and `timestamp`; further columns are carried along.
            timestamp: the column of event times, aware or UTC.

        Raises:
            NotFound: no such service, or a source file is gone.
            BadInput: an entity key or the timestamp is missing.
        """
        info = self.info(service)
        for column in (*info.entities, timestamp):
            if column not in entities.columns:
                raise BadInput(
                    f"the entity file has no column {column!r}, which feature service {service} needs",
                    field="data.entities",
                    remedy=f"it has {', '.join(map(str, entities.columns[:12]))}",
                )
        asked = (
            entities[[*info.entities, timestamp]].rename(columns={timestamp: "event_timestamp"}).reset_index(drop=True)
        )
        asked[_ROW] = range(len(asked))
        with _translated(), _quiet():
            found = self.store.get_historical_features(entity_df=asked, features=self._service(service)).to_df()
        if not found[_ROW].is_unique:
            raise BadInput(
                f"feature service {service} gave {len(found)} rows for {len(asked)} entities",
                field="data.feature_service",
                remedy="the sources hold one key and time twice: remove the repetitions",
            )
        # Feast leaves out a row whose entity has only later values: it stays, with nothing known
        found = found.set_index(_ROW).reindex(range(len(asked)))
        result = entities.reset_index(drop=True).copy()
        for feature in info.features:
            result[feature] = found[feature].to_numpy()
        return result

    def materialize(self, start: datetime, end: datetime) -> None:
        """Bring the newest values between `start` and `end` to the online store.

        Raises:
            NotFound: nothing has been applied, or a source file is gone.
        """
        if not self.services():
            raise NotFound("no feature service is defined", field="features", remedy="run `maestro features apply`")
        with _translated(), _quiet():
            self.store.materialize(start, end)

    def newest(self, view: str) -> pd.DataFrame:
        """The newest row of each entity in a view's source: what `materialize` brings online, for a store that is filled another way.

        Raises:
            NotFound: the source file is gone.
        """
        import pandas as pd
        from feast import FileSource

        with _translated():
            known = self.store.get_feature_view(view)
            source = known.batch_source
            if not isinstance(source, FileSource):
                raise BadInput(f"view {view} has no file", field="features", remedy="run `maestro features apply`")
            frame = pd.read_parquet(source.path)
        times = [source.timestamp_field, source.created_timestamp_column]
        return frame.sort_values(times, kind="stable").drop_duplicates(list(known.entities), keep="last")

    def _service(self, name: str) -> FeatureService:
        from feast.errors import FeatureServiceNotFoundException

        try:
            return self.store.get_feature_service(name)
        except FeatureServiceNotFoundException:
            known = ", ".join(self.services()) or "none: run `maestro features apply`"
            raise NotFound(
                f"feature service {name!r} is not in the registry",
                field="data.feature_service",
                remedy=f"known: {known}",
            ) from None


class OnlineFeatures:
    """Features by entity key from the online store, for serving. Thread-safe; one instance a process.

    Args:
        folder: `$MAESTRO_HOME/features`.
    """

    def __init__(self, folder: Path) -> None:
        self._repository = FeatureRepository(folder)
        self._lock = threading.Lock()
        self._services: dict[str, tuple[FeatureService, ServiceInfo]] = {}

    def open(self, feature_service: str) -> None:
        """Import the library and read the service's definition, so that the first look-up is as fast as the next.

        Raises:
            NotFound: no such feature service.
        """
        with self._lock:
            self._known(feature_service)

    def get(self, feature_service: str, entity_rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One row of features for each entity, in the order asked for; an entity that is not there has None throughout.

        Raises:
            NotFound: no such feature service.
            BadInput: a row lacks an entity key, or its value can be none.
        """
        if not entity_rows:
            return []
        # the SQLite online store keeps one connection, which only one thread may use at a time
        with self._lock:
            service, info = self._known(feature_service)
            for row in entity_rows:
                missing = [key for key in info.entities if key not in row]
                if missing:
                    raise BadInput(
                        f"an entity row lacks the key {missing[0]!r}",
                        field="entities",
                        remedy=f"give {', '.join(info.entities)}",
                    )
            keys = [{key: row[key] for key in info.entities} for row in entity_rows]
            try:
                with _translated():
                    columns = self._repository.store.get_online_features(features=service, entity_rows=keys).to_dict()
            except (ValueError, TypeError) as error:
                raise BadInput(f"an entity can be no key: {error}", field="entities", remedy="correct it") from None
        return [{name: columns[name][at] for name in info.features} for at in range(len(entity_rows))]

    def _known(self, name: str) -> tuple[FeatureService, ServiceInfo]:
        if name not in self._services:
            self._services[name] = (self._repository._service(name), self._repository.info(name))
        return self._services[name]


def feast_objects(views: Sequence[ViewSpec], services: Sequence[ServiceSpec]) -> list[Any]:
    """Feast's own objects of the definitions: for `apply`, and for a repository that `feast apply` reads.

    Raises:
        NotFound: a view's file does not exist.
    """
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64, String

    kinds = {"float64": Float64, "int64": Int64, "string": String}
    entities: dict[str, Entity] = {}
    built: dict[str, FeatureView] = {}
    sources = []
    for spec in views:
        if not spec.path.is_file():
            raise NotFound(
                f"feature view {spec.name}: {spec.path} does not exist",
                field="features",
                remedy="run `maestro features apply`",
            )
        entity = entities.setdefault(
            spec.entity, Entity(name=spec.entity, join_keys=[spec.entity], value_type=ValueType.INT64)
        )
        source = FileSource(
            name=f"{spec.name}_file",
            path=str(spec.path),
            timestamp_field=spec.timestamp,
            created_timestamp_column=spec.created,
        )
        sources.append(source)
        built[spec.name] = FeatureView(
            name=spec.name, entities=[entity], ttl=timedelta(0), source=source, description=spec.description, online=True,
            schema=[Field(name=spec.entity, dtype=Int64), *(Field(name=name, dtype=kinds[kind]) for name, kind in spec.columns.items())],
        )  # fmt: skip
    return [
        *entities.values(), *sources, *built.values(),
        *(
            FeatureService(
                name=spec.name, features=[built[view][list(columns)] for view, columns in spec.features],
                tags=dict(spec.tags), description=spec.description,
            )
            for spec in services
        ),
    ]  # fmt: skip


def _open_store(folder: Path, registry: str | None) -> FeatureStore:
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        from feast import FeatureStore, RepoConfig

        return FeatureStore(
            config=RepoConfig(
                project=PROJECT, provider="local", entity_key_serialization_version=3, offline_store={"type": "file"},
                registry={
                    "registry_type": "sql" if registry else "file", "path": registry or str(folder / "registry.db"),
                    "cache_ttl_seconds": 5,
                },
                online_store={"type": "sqlite", "path": str(folder / "online.db")},
            )
        )  # fmt: skip


def _type_name(dtype: str) -> str:
    return {"Float64": "float64", "Float32": "float64", "Int64": "int64", "Int32": "int64", "Bool": "bool"}.get(
        dtype, "string"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints its progress to standard output, which belongs to the caller."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    import sqlite3

    from feast.errors import FeastError

    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(
            f"a feature source is gone: {error}", field="data.feature_service", remedy="run `maestro features apply`"
        ) from error
    except (sqlite3.OperationalError, PermissionError) as error:
        raise Unreachable(
            f"the feature store does not answer: {error}", remedy="check $MAESTRO_HOME/features", component="feast"
        ) from error
    except FeastError as error:
        raise BadInput(
            f"the feature store refused: {error}", field="data.feature_service", remedy="see `maestro features list`"
        ) from error
