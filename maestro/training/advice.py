"""Resources that fit: what jobs of one name should ask for, from what the system accounted for those that ran."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select

from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.core.jobs import JobStatus
from maestro.core.model import Model
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.rates import load_rates
from maestro.decisions.cost_recommendation import Measured, recommend
from maestro.training.job import Bill
from maestro.training.store import JobStore, tenancy

_NEWEST = 1000


class Advice(Model):
    """For jobs of one tenant, name and kind: what to ask for instead, for the whole job, and what it would have saved."""

    tenant_id: str
    name: str
    model_type: str
    attempts: int
    cores: float
    memory_gib: float
    billed_usd_micros: int
    saved_usd_micros: int
    reason: str


def advise(store: JobStore, by: Principal, *, page: int = 1, page_size: int = 50) -> tuple[list[Advice], int]:
    """A page of advice on the newest thousand completed jobs, the greatest saving first, and how many there are."""
    by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
    groups: dict[tuple[str, str, str], list[Measured]] = defaultdict(list)
    with store.database.read() as connection:
        rows = connection.execute(
            select(jobs.c.tenant_id, jobs.c.name, jobs.c.model_type, jobs.c.result)
            .where(*tenancy(by, jobs.c.tenant_id), jobs.c.status == JobStatus.COMPLETED)
            .order_by(jobs.c.created_at.desc()).limit(_NEWEST)
        ).all()  # fmt: skip
    for tenant, name, kind, result in rows:
        document = (result or {}).get("bill")
        if document:
            bill = Bill.model_validate(document)
            groups[tenant, name, kind].append(
                Measured(
                    bill.wall_s, bill.cores, bill.memory_gib, bill.cpu_s, bill.peak_memory_bytes / 2**30, bill.gpus
                )
            )
    found = []
    for (tenant, name, kind), measured in groups.items():
        advice = recommend(measured, load_rates())
        if advice is not None:
            found.append(
                Advice(
                    tenant_id=tenant, name=name, model_type=kind, attempts=len(measured), cores=advice.cores,
                    memory_gib=advice.memory_gib, billed_usd_micros=advice.billed, saved_usd_micros=advice.saved, reason=advice.reason,
                )
            )  # fmt: skip
    found.sort(key=lambda item: (-item.saved_usd_micros, item.tenant_id, item.name))
    return found[(page - 1) * page_size : page * page_size], len(found)
