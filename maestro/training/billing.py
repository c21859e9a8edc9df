"""The bill of one attempt: what was allocated for its wall time, and what of it was used."""

from __future__ import annotations

from maestro.core.jobs import JobRequest
from maestro.core.rates import RateCard
from maestro.decisions.cost import Allocation, Usage, attribute
from maestro.training.job import Bill


def bill_attempt(request: JobRequest, wall_s: float, cpu_s: float, peak_memory_bytes: int, rates: RateCard) -> Bill:
    """Bill the allocation of every worker; use above it, which the laptop does not prevent, is billed as the allocation.

    Args:
        request: with the resources of one worker and the number of workers.
        wall_s: seconds from the start to the end of the attempt.
        cpu_s: CPU seconds that the system accounted for all its processes.
        peak_memory_bytes: the highest resident memory.
        rates: the rate card.
    """
    wall_s = round(max(wall_s, 0.0), 3)
    allocation = Allocation(
        wall_s=wall_s, cores=request.resources.cpu * request.workers, gpus=request.resources.gpu * request.workers,
        memory_gib=request.resources.memory_bytes * request.workers / 2**30,
    )  # fmt: skip
    used = Usage(
        core_seconds=min(cpu_s, allocation.cores * wall_s), gpu_seconds=allocation.gpus * wall_s,
        gib_seconds=min(peak_memory_bytes / 2**30, allocation.memory_gib) * wall_s,
    )  # fmt: skip
    shares = attribute(allocation, {"attempt": used}, rates)
    return Bill(
        gpu_s=round(used.gpu_seconds, 3), memory_gib_s=round(used.gib_seconds, 3), accounted=cpu_s > 0 or peak_memory_bytes > 0,
        wall_s=wall_s, cpu_s=round(cpu_s, 3), cores=allocation.cores, gpus=request.resources.gpu * request.workers,
        memory_gib=allocation.memory_gib, peak_memory_bytes=peak_memory_bytes, rates=rates.version,
        bill_usd_micros=shares.bill, used_usd_micros=shares.parts["attempt"],
    )  # fmt: skip
