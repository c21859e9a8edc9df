"""Training as objects of a cluster: what every controller's jobs have in common.

Everything that is known lies in the cluster, under names that follow from the handle: a worker that was restarted finds its jobs by asking again. For each attempt
there is a ConfigMap with `attempt.json`; it owns the job and outlives it, so that an ended, cancelled or vanished job still answers until it is forgotten.
"""

from __future__ import annotations

import logging
from typing import Any

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.clients.kubernetes.pods import HOPELESS, ended, first_waiting
from maestro.core.clock import Clock
from maestro.core.cluster import ClusterTraining
from maestro.core.errors import Conflict, Fenced, MaestroError, NotFound, Refused, Unreachable
from maestro.training.backends._base import Attempt, BackendStatus, Phase
from maestro.training.backends._dialect import Dialect
from maestro.training.backends.pod_logs import PodLogs
from maestro.training.manifests.naming import ATTEMPT, FENCE, HANDLE, JOB_KIND, SUBMITTED_BY, labels, object_name, owned
from maestro.training.manifests.pod import FILE, attempt_file

log = logging.getLogger(__name__)

SUBMITTED = "maestro.dev/submitted"
"""On the ConfigMap: the uid of the job, once there is one. A job that was submitted is never submitted again."""

CANCELLED = "maestro.dev/cancelled"
_GONE_S = 60.0
_GIVEN_UP = "given up after"


class ClusterBackend:
    """Runs attempts by one controller's jobs.

    `close` leaves the jobs alone: they belong to the queue's leases and not to this process; `submit` of a newer attempt ends those of older ones, and
    refuses to come after a newer one. A job that nobody comes back for is ended by its own time limit.

    Args:
        cluster: where.
        dialect: whose jobs.
        options: how they look.
    """

    def __init__(self, cluster: Cluster, dialect: Dialect, options: ClusterTraining) -> None:
        self.name = dialect.name
        self._cluster = cluster
        self._dialect = dialect
        self._options = options
        self._clock: Clock = cluster.clock
        self._logs = PodLogs(cluster, options.namespace)

    def warm_up(self) -> None:
        """Nothing to prepare: images are pulled by nodes."""

    def submit(self, attempt: Attempt) -> None:
        """Create the attempt's job, unless it was created before.

        Raises:
            BadInput: this controller cannot run such a request.
            Fenced: a newer attempt of the job was submitted.
            Refused: quota, policy or permission stands against it; nothing of the attempt is left behind.
            Unreachable: the API server does not answer.
        """
        job = self._dialect.render(attempt)
        self._cluster.path(Ref(job["apiVersion"], job["kind"], ""))  # before anything is created: is it installed?
        self._end_older(attempt)
        record = self._record(attempt, job["kind"])
        annotations = record["metadata"].get("annotations", {})
        if SUBMITTED in annotations or CANCELLED in annotations:
            return
        job["metadata"]["ownerReferences"] = [_owner(record)]
        try:
            created = self._created(job, record)
        except Unreachable:
            raise  # it may stand there: submitting again finds out
        except MaestroError:
            self._cluster.delete(Ref.of(record), uid=record["metadata"]["uid"])
            raise
        self._mark(record, SUBMITTED, created["metadata"]["uid"])

    def status(self, handle: str) -> BackendStatus:
        """Where the work stands, by the job's conditions; its pods say why."""
        record = self._find_record(handle)
        annotations = record["metadata"].get("annotations", {})
        if CANCELLED in annotations:
            said = str(annotations[CANCELLED])
            return BackendStatus(phase=Phase.FAILED, reason=said, hopeless=said.startswith(_GIVEN_UP))
        job = self._find_job(record)
        if job is None:
            if SUBMITTED in annotations:
                kind = record["metadata"]["labels"][JOB_KIND]
                reason = f"{kind} {record['metadata']['name']} was deleted by somebody else"
                return BackendStatus(phase=Phase.FAILED, reason=reason)
            return BackendStatus(phase=Phase.PENDING, reason="not created yet")
        phase, said = self._dialect.phase(job)
        pods = self._pods(job)
        if phase is Phase.SUCCEEDED:
            wall_s, message = self._last_word(pods)
            return BackendStatus(phase=phase, exit_code=0, wall_s=wall_s, message=message)
        failures = [
            found for pod in pods if (found := ended(pod, self._dialect.rank(pod, pods))) is not None
        ]  # of several the one that came first
        if phase is Phase.FAILED:
            code, reason = failures[0] if failures else (None, said)
            wall_s, message = self._last_word(pods)
            return BackendStatus(phase=phase, exit_code=code, reason=reason or said, wall_s=wall_s, message=message)
        held = first_waiting(pods)
        if held is not None and held[0] in HOPELESS and self._age_s(job) > self._options.startup_s:
            self._stop(record, f"{_GIVEN_UP} {self._options.startup_s:g} s: {held[1]}")
            return self.status(handle)
        if held is not None:
            return BackendStatus(phase=phase, reason=held[1])
        return BackendStatus(phase=phase, reason="" if phase is Phase.RUNNING else self._not_created(job, pods) or said)

    def logs(self, handle: str, offset: int = 0) -> tuple[list[str], int]:
        """Lines of rank 0; an offset is a number of lines."""
        job = self._find_job(self._find_record(handle))
        if job is None:
            return [], offset
        pods = self._pods(job)
        first = next((pod for pod in pods if self._dialect.rank(pod, pods) == 0), None)
        if first is None or (first.get("status") or {}).get("phase", "Pending") == "Pending":
            return [], offset
        over = first["status"]["phase"] in {"Succeeded", "Failed"}
        return self._logs.read(handle, first["metadata"]["name"], offset, ended=over)

    def cancel(self, handle: str) -> None:
        """Delete the job and wait until its pods are gone; the record says that it was cancelled."""
        record = self._find_record(handle)
        job = self._find_job(record)
        if job is not None and self._dialect.phase(job)[0] in {Phase.SUCCEEDED, Phase.FAILED} and not self._alive(job):
            return
        if CANCELLED not in record["metadata"].get("annotations", {}):
            self._stop(record, "cancelled")
        else:
            self._delete_job(record)

    def forget(self, handle: str) -> None:
        """Delete the record and with it all that it owns."""
        self._logs.forget(handle)
        self._cluster.delete(self._record_ref(handle))

    def close(self) -> None:
        """Leave: the jobs go on under their leases."""

    def known(self) -> list[str]:
        """The handles of all attempts in the cluster that this backend has not forgotten."""
        found = self._cluster.list(
            "v1", "ConfigMap", self._options.namespace,
            labels={"app.kubernetes.io/managed-by": "maestro", "maestro.dev/backend": self.name},
        )  # fmt: skip
        return sorted(str(item["metadata"]["annotations"][HANDLE]) for item in found)

    def _record_ref(self, handle: str) -> Ref:
        return Ref("v1", "ConfigMap", object_name(handle), self._options.namespace)

    def _record(self, attempt: Attempt, kind: str) -> dict[str, Any]:
        ref = self._record_ref(attempt.handle)
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": ref.name,
                "namespace": ref.namespace,
                "labels": labels(attempt, self.name) | {JOB_KIND: kind},
                "annotations": {HANDLE: attempt.handle, SUBMITTED_BY: attempt.submitted_by},
            },
            "data": {FILE: attempt_file(attempt)},
        }
        try:
            return self._cluster.create(document)
        except Conflict as conflict:
            if conflict.extra.get("reason") != "AlreadyExists":
                raise
        return self._find_record(attempt.handle)

    def _find_record(self, handle: str) -> dict[str, Any]:
        found = self._cluster.find(self._record_ref(handle))
        if found is None or found["metadata"].get("annotations", {}).get(HANDLE) != handle:
            raise NotFound(
                f"the {self.name} backend knows no attempt {handle!r}", field="handle", remedy="submit it first"
            )
        return found

    def _job_ref(self, record: dict[str, Any]) -> Ref:
        job = self._dialect.api_version
        return Ref(job, record["metadata"]["labels"][JOB_KIND], record["metadata"]["name"], self._options.namespace)

    def _find_job(self, record: dict[str, Any]) -> dict[str, Any] | None:
        return self._cluster.find(self._job_ref(record))

    def _created(self, job: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
        """The job; the one that stands under the name already, if an earlier submit made it.

        Raises:
            Refused: it is somebody else's.
        """
        try:
            return self._cluster.create(job)
        except Conflict as conflict:
            if conflict.extra.get("reason") != "AlreadyExists":
                raise
        found = self._cluster.get(Ref.of(job))
        owners = [owner["uid"] for owner in found["metadata"].get("ownerReferences", [])]
        if record["metadata"]["uid"] not in owners:
            raise Refused(
                f"{Ref.of(job)} exists and is not ours",
                remedy=f"delete or rename it: kubectl -n {self._options.namespace} get {job['kind']} {found['metadata']['name']}",
            )
        return found

    def _end_older(self, attempt: Attempt) -> None:
        """An attempt whose fence is past may still run in the cluster: its worker died. It ends before the next begins."""
        records = self._cluster.list(
            "v1", "ConfigMap", self._options.namespace, labels=owned(attempt.job_id, self.name)
        )
        fences = {int(record["metadata"]["labels"][FENCE]): record for record in records}
        newest = max(fences, default=0)
        if newest > attempt.fence:
            raise Fenced(
                f"attempt {attempt.attempt} of job {attempt.job_id} (fence {attempt.fence}) comes after fence {newest}",
                field="fence",
                remedy="stop this attempt: another worker has the job",
            )
        for fence, record in sorted(fences.items()):
            if fence < attempt.fence:
                log.info("ending attempt %s of %s, left behind", record["metadata"]["labels"][ATTEMPT], attempt.job_id)
                self._delete_job(record)
                self._cluster.delete(Ref.of(record), uid=record["metadata"]["uid"])

    def _stop(self, record: dict[str, Any], reason: str) -> None:
        # first the word, then the deed: whoever comes back after a crash in between deletes the rest, and submits nothing
        self._mark(record, CANCELLED, reason)
        self._delete_job(record)

    def _mark(self, record: dict[str, Any], name: str, value: str) -> None:
        self._cluster.patch(Ref.of(record), {"metadata": {"annotations": {name: value}}})

    def _delete_job(self, record: dict[str, Any]) -> None:
        job = self._find_job(record)
        if job is None:
            return
        ref = Ref.of(job)
        self._cluster.delete(ref, uid=job["metadata"]["uid"], propagation="Foreground")
        self._cluster.wait_gone(ref, _GONE_S + self._options.grace_s, uid=job["metadata"]["uid"])
        for pod in self._pods(job):
            self._cluster.wait_gone(Ref.of(pod), _GONE_S + self._options.grace_s, uid=pod["metadata"]["uid"])

    def _pods(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        found = self._cluster.list(
            "v1", "Pod", self._options.namespace, labels=self._dialect.pod_labels(job["metadata"]["name"])
        )
        return sorted(found, key=lambda pod: _ended_at(pod))

    def _last_word(self, pods: list[dict[str, Any]]) -> tuple[float | None, str]:
        """How long the first worker's container ran, and what it left in its termination message."""
        first = next((pod for pod in pods if self._dialect.rank(pod, pods) == 0), None)
        for container in ((first or {}).get("status") or {}).get("containerStatuses", []):
            over = (container.get("state") or {}).get("terminated")
            if over:
                return _seconds(over.get("startedAt"), over.get("finishedAt")), str(over.get("message") or "")
        return None, ""

    def _alive(self, job: dict[str, Any]) -> bool:
        return any((pod.get("status") or {}).get("phase") in {"Pending", "Running"} for pod in self._pods(job))

    def _age_s(self, job: dict[str, Any]) -> float:
        from datetime import datetime

        created = datetime.fromisoformat(job["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        return (self._clock.now() - created).total_seconds()

    def _not_created(self, job: dict[str, Any], pods: list[dict[str, Any]]) -> str:
        """What the controller's events say of pods that it could not make, such as a quota."""
        if pods:
            return ""
        metadata = job["metadata"]
        events = self._cluster.list(
            "v1", "Event", self._options.namespace,
            fields=f"involvedObject.uid={metadata['uid']},type=Warning",
        )  # fmt: skip
        if not events:
            return ""
        said = str(
            max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))["message"]
        )
        if "exceeded quota" in said:
            return f"waits for the quota of namespace {self._options.namespace}: {said[said.find('exceeded quota') :]}"
        return said


def _owner(record: dict[str, Any]) -> dict[str, Any]:
    metadata = record["metadata"]
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": metadata["uid"],
        "controller": False, "blockOwnerDeletion": True,
    }  # fmt: skip


def _seconds(start: str | None, end: str | None) -> float | None:
    from datetime import datetime

    if not start or not end:
        return None
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def _ended_at(pod: dict[str, Any]) -> tuple[str, str]:
    """Pods in the order in which they ended; those that have not come last."""
    times = [
        str(over["finishedAt"])
        for container in (pod.get("status") or {}).get("containerStatuses", [])
        if (over := (container.get("state") or {}).get("terminated")) and over.get("finishedAt")
    ]
    return (min(times, default="9"), str(pod["metadata"]["name"]))
