"""The measured cost of serving: how long a server ran, how many CPU seconds it used, how much it answered."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from maestro.clients.exposition import Samples
from maestro.core.clock import Clock
from maestro.core.errors import Unreachable
from maestro.core.model import Model, Time
from maestro.core.rates import RateCard
from maestro.decisions.cost import Allocation, LoadPoint, Usage, attribute, cost_per_million
from maestro.operations.cost.ledger import CostEntry

CURVE_SHARES = (0.001, 0.01, 0.1, 0.25, 0.5, 0.7)
"""Points of the curve, as shares of what one replica can serve."""


class ServingUse(Model):
    """One life of a server process up to `at`. A prediction is a row that was asked for."""

    server: str
    started: Time
    at: Time
    cores: float = Field(gt=0, description="allocated, whether used or not")
    cpu_s: float = Field(ge=0)
    predictions: int = Field(ge=0)

    @property
    def wall_s(self) -> float:
        """How long it ran."""
        return max((self.at - self.started).total_seconds(), 0.0)

    @property
    def capacity_per_s(self) -> float | None:
        """Predictions a second when all of its cores are busy, from the CPU seconds of one; None before the first."""
        return self.predictions * self.cores / self.cpu_s if self.predictions and self.cpu_s > 0 else None

    def entry(self, rates: RateCard) -> CostEntry:
        """The bill of this life: its parts, used and idle, add up exactly."""
        allocation = Allocation(wall_s=self.wall_s, cores=self.cores)
        # A process may use more than it is allocated where nothing prevents it, as on a laptop: it is billed the allocation.
        used = Usage(core_seconds=min(self.cpu_s, self.cores * self.wall_s))
        shares = attribute(allocation, {"serving": used}, rates)
        return CostEntry(
            at=self.at,
            kind="serving",
            subject=f"server/{self.server}",
            attempt=self.started.isoformat(),
            wall_s=self.wall_s,
            cpu_s=self.cpu_s,
            allocated={"cores": self.cores, "predictions": self.predictions},
            used_usd_micros=shares.parts["serving"],
            bill_usd_micros=shares.bill,
            rates=rates.version,
        )

    def curve(self, rates: RateCard) -> tuple[LoadPoint, ...]:
        """Cost of a million predictions over load, one replica and more; empty before the first prediction."""
        capacity = self.capacity_per_s
        if capacity is None:
            return ()
        loads = [capacity * share for share in CURVE_SHARES] + [capacity * 2]
        return cost_per_million(
            loads, capacity_per_s=capacity, replica=Allocation(wall_s=0, cores=self.cores), rates=rates
        )


def measure_server(name: str, samples: Samples, clock: Clock, *, cores: float, pid: int | None = None) -> ServingUse:
    """Measure a server from its metrics, and on the same machine from the system's accounting of its process.

    Args:
        name: the server's name in the ledger.
        samples: its metrics.
        clock: now.
        cores: what it is allocated.
        pid: its process, where it runs on this machine; used when the metrics do not tell its CPU seconds.

    Raises:
        Unreachable: neither source tells CPU seconds and start.
    """
    rows = sum(value for (metric, _), value in samples.items() if metric == "maestro_inference_batch_size_sum")
    cpu, began = samples.get(("process_cpu_seconds_total", ())), samples.get(("process_start_time_seconds", ()))
    if cpu is None or began is None:
        found = process_times(pid) if pid is not None else None
        if found is None:
            raise Unreachable(
                f"nothing tells the CPU seconds of server {name}",
                remedy="let the server export process_cpu_seconds_total, or run this on its machine (Linux)",
                component="server",
            )
        cpu, began = found
    return ServingUse(
        server=name,
        started=datetime.fromtimestamp(began, UTC),
        at=clock.now(),
        cores=cores,
        cpu_s=cpu,
        predictions=int(rows),
    )


def process_times(pid: int) -> tuple[float, float] | None:
    """CPU seconds of a process and its ended children, and when it began (seconds since 1970); None where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(
            float(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")
        )
    except (OSError, StopIteration, ValueError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    # utime, stime, cutime, cstime are fields 14 to 17 of proc(5), starttime is field 22; the state, field 3, comes first here.
    cpu = sum(int(value) for value in fields[11:15]) / ticks
    return cpu, boot + int(fields[19]) / ticks
