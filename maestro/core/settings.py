"""Every knob in one typed place: environment variables with the prefix `MAESTRO_`, nested by `__`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from maestro.core.cluster import ClusterSettings
from maestro.core.errors import from_validation


class ServingSettings(BaseModel):
    """The model server (`MAESTRO_SERVING__*`)."""

    allow_unsigned: bool = Field(
        default=False, description="load versions without signature; readiness and a metric say so"
    )
    auth: Literal["network", "key", "oidc"] = Field(
        default="key", description="authentication of the data port; oidc takes keys too"
    )
    workers: int = Field(
        default=1, gt=0, le=256, description="processes that answer; 1 is the whole server in one process"
    )
    rate_per_s: float | None = Field(default=None, gt=0, description="requests of one caller a second, on average")
    rate_burst: int = Field(default=100, gt=0, description="requests of one caller at once, where there is a rate")
    max_connections: int = Field(
        default=20_000, gt=0, description="open connections of a process; further ones are closed"
    )
    tls_cert: Path | None = Field(default=None, description="certificate chain (PEM); with it the port speaks TLS only")
    tls_key: Path | None = Field(default=None, description="its private key (PEM)")
    oidc_issuer: str | None = Field(default=None, description="whose tokens count, where auth is oidc")
    oidc_audience: str | None = Field(default=None, description="for whom a token must be, where auth is oidc")
    oidc_keys: Path | None = Field(
        default=None, description="the issuer's public keys, a JWKS file; followed when it changes"
    )
    remote_key: Path | None = Field(
        default=None, description="file with the key by which remote nodes are asked; none by default"
    )
    grpc: str | None = Field(
        default=None, description="address of the gRPC port, such as 127.0.0.1:8081; none by default"
    )
    max_body_bytes: int = Field(default=16 * 2**20, gt=0)
    max_rows: int = Field(default=10_000, gt=0, description="rows in one request")
    graph_poll_s: float = Field(default=0.5, gt=0, description="seconds between looks at the graph file")
    queue_limit: int = Field(default=1024, gt=0)
    prediction_cache_bytes: int = Field(
        default=0, ge=0, description="answers of slow models that a process remembers; 0 remembers none"
    )
    prediction_cache_ttl_s: float = Field(default=60.0, gt=0, description="age at which an answer is asked anew")
    feature_server: str | None = Field(
        default=None,
        pattern="^https?://",
        description="address of Feast's feature server; default: the repository in the home",
    )
    feature_key: Path | None = Field(
        default=None, description="file with the key by which the feature server is asked; none by default"
    )
    feature_timeout_s: float = Field(default=2.0, gt=0, description="how long a look-up of features may take")
    feature_cache_bytes: int = Field(default=16 * 2**20, ge=0, description="features by entity that are remembered")
    feature_cache_ttl_s: float = Field(
        default=1.0, gt=0, description="age at which they are looked up anew: how stale they may be"
    )
    exposure_queue: int = Field(
        default=100_000, gt=0, description="exposures waiting to be written; more are dropped and counted"
    )
    payload_rows_per_s: float = Field(
        default=0.0, ge=0, description="answered rows a second that are kept, without personal data; 0 keeps none"
    )
    payload_bytes: int = Field(default=64 * 2**20, gt=0, description="of kept rows; the oldest are removed first")


class TrainingSettings(BaseModel):
    """The orchestrator and its workers (`MAESTRO_TRAINING__*`)."""

    lease_s: float = Field(default=15.0, gt=0, description="a lease not renewed for this long is lost")
    heartbeat_s: float = Field(default=3.0, gt=0)
    poll_s: float = Field(default=0.5, gt=0)
    max_running: int = Field(default=4, gt=0, description="running jobs at once, all tenants")
    max_running_per_tenant: int = Field(default=4, gt=0)
    max_running_per_backend: dict[str, int] = Field(default={}, description="by backend, as a JSON object")
    max_cores: float | None = Field(default=None, gt=0, description="cores that running jobs hold together")
    max_gpus: int | None = Field(default=None, ge=0)
    max_memory_gib: float | None = Field(default=None, gt=0)
    max_queued_per_tenant: int = Field(default=100_000, gt=0, description="beyond it a job is answered 429")
    max_lost: int = Field(
        default=5, ge=0, description="lost leases after which a job is given up: it may be what kills its workers"
    )
    retention_every_s: float = Field(default=3600.0, gt=0, description="seconds between two clean-ups by a worker")
    slots: int = Field(default=2, gt=0, description="jobs that one worker runs at once")


class ApiSettings(BaseModel):
    """The control plane's API (`MAESTRO_API__*`)."""

    max_body_bytes: int = Field(default=2**20, gt=0)


class DatabaseSettings(BaseModel):
    """The platform database (`MAESTRO_DATABASE__*`)."""

    pool_size: int = Field(default=10, gt=0)
    max_overflow: int = Field(default=20, ge=0)
    busy_timeout_s: float = Field(default=10.0, gt=0, description="how long a locked SQLite file is waited for")
    idle_in_transaction_s: float = Field(
        default=10.0,
        gt=0,
        description="PostgreSQL ends a transaction whose process says nothing for so long: it may be stopped while it holds locks",
    )


class Settings(BaseSettings):
    """All settings. Addresses left empty are looked up in `state.json` (see `maestro.clients.home`)."""

    model_config = SettingsConfigDict(env_prefix="MAESTRO_", env_nested_delimiter="__", extra="ignore")

    home: Path = Field(default=Path(".maestro"), description="keys, databases, logs, artifacts and state.json")
    api_key: SecretStr | None = Field(default=None, description="the credential that the commands send")
    database_url: str | None = None
    mlflow_url: str | None = None
    api_url: str | None = None
    server_url: str | None = None
    optuna_url: str | None = Field(default=None, description="storage of studies; default: SQLite in the home")
    trust_policy: Path | None = Field(default=None, description="default: $MAESTRO_HOME/trust-policy.json")
    target: Literal["laptop", "kubernetes"] = Field(
        default="laptop", description="where traffic is moved: this machine's model server, or a cluster"
    )
    metric_source: Literal["server", "prometheus"] = Field(
        default="server",
        description="where rollouts take their evidence: the server itself, or its counters in Prometheus (no quality)",
    )
    prometheus_url: str | None = None
    prometheus_matchers: str = Field(default="", description='of the servers\' series, such as namespace="ml-serving"')
    slo_file: Path = Path("operations/slo.yaml")
    notify: str = Field(default="log", description="log, or Apprise URLs separated by commas")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    serving: ServingSettings = ServingSettings()
    training: TrainingSettings = TrainingSettings()
    api: ApiSettings = ApiSettings()
    database: DatabaseSettings = DatabaseSettings()
    cluster: ClusterSettings = ClusterSettings()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once from the environment.

    Raises:
        BadInput: a variable has a value that is not acceptable; the variable is named.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise from_validation(error, "environment (MAESTRO_*)") from None
