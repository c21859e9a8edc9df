"""`maestro train retrain`: a model's full retraining, as the nightly DAG runs it: search with cross-validation, training, a version."""

from __future__ import annotations

import time
import uuid
from hashlib import sha256
from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.cli.following import end_with, follow
from maestro.clients.api import ApiClient
from maestro.core.errors import NotFound, Unreachable
from maestro.core.money import format_usd
from maestro.core.versions import Bump, parse_version

_REGISTERED_WITHIN_S = 300.0


def retrain(
    model: Annotated[str, typer.Option("--model", help="Model to retrain; the result becomes its next version.")],
    features: Annotated[str, typer.Option("--features", help="Feature service, such as tumour_v1.")],
    space: Annotated[
        str, typer.Option("--space", help="Search space; `maestro tune run --help` lists them.")
    ] = "random_forest",
    objective: Annotated[str, typer.Option(help="Metric to search for.")] = "accuracy",
    n_trials: Annotated[int, typer.Option("--n-trials", min=1, max=10_000, help="Trials of the search.")] = 20,
    n_jobs: Annotated[int, typer.Option("--n-jobs", min=1, max=16, help="Trials at once.")] = 1,
    folds: Annotated[int, typer.Option(min=2, max=10, help="Folds of the cross-validation.")] = 3,
    sampler: Annotated[str, typer.Option(help="frugal_tpe, tpe, multivariate_tpe, gp, cmaes, random or grid.")] = "tpe",
    pruner: Annotated[str, typer.Option(help="median, hyperband, race or none.")] = "hyperband",
    seed: Annotated[int, typer.Option(min=0, help="Of sampler, folds and models.")] = 0,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key goes on where an earlier call ended, and trains nothing twice.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Search with cross-validation, train the best on all data, and register it; the version rises by the change of contract and metrics."""
    client = ApiClient.of()
    key = idempotency_key or str(uuid.uuid4())
    study = client.post(
        "/ai/hpo/studies/start",
        {
            "name": f"{model[:50]}-{sha256(key.encode()).hexdigest()[:12]}", "data": {"feature_service": features}, "space": space,
            "objectives": [objective], "n_trials": n_trials, "n_jobs": n_jobs, "folds": folds, "sampler": sampler, "pruner": pruner,
            "seed": seed,
        },
        headers={"Idempotency-Key": f"{key}/search"},
    )  # fmt: skip
    end_with(follow(client, study["job_id"], quiet=as_json, what="search"), as_json)
    job = client.post(
        f"/ai/hpo/studies/{study['id']}/train",
        {"name": f"{model[:50]}-retraining", "register_as": model},
        headers={"Idempotency-Key": f"{key}/train"},
    )
    job = follow(client, job["id"], quiet=as_json, what="training")
    end_with(job, as_json)
    found = _told(client, client.get(f"/ai/hpo/studies/{study['id']}"), job, _version(client, model, job["run_id"]))
    emit(found, as_json=as_json, human=lambda: _show(found))


def _version(client: ApiClient, model: str, run_id: str) -> dict[str, Any]:
    """The version of a run: it is registered within seconds of the job's end.

    Raises:
        Unreachable: it was not.
    """
    deadline = time.monotonic() + _REGISTERED_WITHIN_S
    with progress("registering") as bar:
        while time.monotonic() < deadline:
            version = next((item for item in _versions(client, model) if item["run_id"] == run_id), None)
            if version is not None:
                return version
            bar.update(0.0, "registering")
            time.sleep(0.5)
    raise Unreachable(
        f"no version of {model} was registered from run {run_id} within {_REGISTERED_WITHIN_S:g} s",
        remedy="see the worker's log", component="registrar",
    )  # fmt: skip


def _versions(client: ApiClient, model: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = client.get("/versions", model=model, page_size=200)["items"]
    except NotFound:
        # its first version is still to come
        return []
    return found


def _told(client: ApiClient, study: dict[str, Any], job: dict[str, Any], version: dict[str, Any]) -> dict[str, Any]:
    """What came of it, and why the number rose as it did."""
    model, number = version["model"], version["version"]
    earlier = [item["version"] for item in _versions(client, model)]
    earlier = [text for text in earlier if parse_version(text) < parse_version(number)]
    before = max(earlier, key=parse_version, default=None)
    told = {
        "model": model, "version": number, "before": before, "bump": _bump(before, number), "study_id": study["id"],
        "trials": study["trials"], "best": study["best"], "job_id": job["id"], "run_id": job["run_id"], "metrics": job["result"]["metrics"],
        "cost_usd_micros": study["cost_usd_micros"] + job["cost_usd_micros"],
    }  # fmt: skip
    if before is not None:
        told["compared"] = client.get(f"/versions/{model}/{before}/compare/{number}")
    return told


def _bump(before: str | None, after: str) -> str | None:
    """Which part of the number was raised; None for a first version.

    >>> _bump(None, "1.0.0"), _bump("1.2.3", "2.0.0"), _bump("1.2.3", "1.3.0"), _bump("1.2.3", "1.2.4")
    (None, 'major', 'minor', 'patch')
    """
    if before is None:
        return None
    old, new = parse_version(before), parse_version(after)
    raised = Bump.MAJOR if new.major > old.major else Bump.MINOR if new.minor > old.minor else Bump.PATCH
    return raised.name.lower()


def _show(told: dict[str, Any]) -> None:
    before, compared = told["before"], told.get("compared") or {}
    out.print(
        f"{told['model']} {told['version']}: " + (f"{told['bump']} after {before}" if before else "its first version"),
        highlight=False,
    )
    rows = [
        ("search", f"{told['study_id']}: {told['trials']} trials, best {_numbers(told['best']['values'])}"),
        ("parameters", ", ".join(f"{name}={value}" for name, value in told["best"]["params"].items())),
        ("job", told["job_id"]), ("run", told["run_id"]), ("cost", format_usd(told["cost_usd_micros"], places=6)),
    ]  # fmt: skip
    if compared:
        rows.append(("callers would break", "yes" if compared["contract_breaks"] else "no"))
    table("", ["", ""], rows)
    metrics = compared.get("metrics") or {name: (None, value) for name, value in told["metrics"].items()}
    table("", ["metric", before or "", told["version"]], [(name, *values) for name, values in metrics.items()])


def _numbers(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in values.items())
