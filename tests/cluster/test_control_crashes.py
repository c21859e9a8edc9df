"""Controllers killed at every effect on a real API server; and the same story as on a laptop."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest

from maestro.clients.database import open_database
from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster
from maestro.core.cluster import ClusterServing
from maestro.core.policy import RolloutPolicy
from maestro.governance.rollouts import RolloutStatus, Step
from tests.cluster import stage
from tests.cluster.leading import CASES, MakeKit, led, logged, on_cluster, roll_out, told
from tests.governance.conftest import OPS, Kit
from tests.governance.rollouts.killing import killed_at

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "traffic"), CASES)
@pytest.mark.shows("F7", env="cluster")
def test_killed_at_each_effect(
    strategy: str,
    traffic: str,
    kit: Kit,
    make_kit: MakeKit,
    quick: RolloutPolicy,
    cluster: Cluster,
    place: str,
) -> None:
    """SIGKILL after each commit and each write to the API server, in turn; another goes on, and what was told is the same."""
    options = stage.serving(place, traffic)
    on_cluster(kit, options)
    kit.champion(quick)
    expected: list[tuple[object, ...]] | None = None
    effect, killed = 0, True
    while killed:
        last = max(item.seq for item in logged(kit))
        rollout_id = roll_out(kit, quick, strategy)
        effect += 1
        killed = killed_at(kit, make_kit, rollout_id, effect, lambda own, count: _count_requests(own, options, count))
        kit.clock.sleep(60)  # the dead controller's lease ends
        kit.source.counters.clear()
        kit.source.epoch = f"after-{effect}"
        if killed:
            kit.governance.rollouts.run(rollout_id, Event())
        ended = kit.governance.rollout_store.get(rollout_id)
        assert (ended.status, ended.step) == (RolloutStatus.PROMOTED, Step.DONE), (effect, ended)
        assert stage.versions_serving(cluster, place, "champion") == [ended.challenger] * 2
        moves = [
            row for row in told(kit, last) if row[0] not in {"rollout.judged", "rollout.started", "rollout.finished"}
        ]
        expected = expected or moves
        assert moves == expected, effect
    assert effect > 8


@pytest.mark.shows("F7", env="cluster")
def test_the_same_scenario_tells_the_same_story_as_on_a_laptop(
    make_kit: MakeKit,
    quick: RolloutPolicy,
    place: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A promotion, a roll-back and a blue-green switch: the projections of both event logs are equal."""
    stories = []
    for where in ("laptop", "cluster"):
        from maestro.clients.database.migrate import migrate

        database = open_database(f"sqlite:///{tmp_path_factory.mktemp(where) / 'maestro.db'}")
        migrate(database)
        own = make_kit(database)
        if where == "cluster":
            on_cluster(own, stage.serving(place, "httproute"))
        own.champion(quick)
        led(own, roll_out(own, quick, "canary"))
        bad = own.register(f1=0.8)
        own.approved(bad, quick)
        own.source.bad[bad.version] = {"errors": 0.9}
        led(own, own.governance.rollouts.start(OPS, bad, quick).id)
        led(own, roll_out(own, quick, "blue-green"))
        stories.append([tuple(str(part).replace(own.model, "m") for part in row) for row in told(own)])
        database.dispose()
    assert stories[0] == stories[1]
    assert len(stories[0]) > 8


def _count_requests(own: Kit, options: ClusterServing, count: Callable[..., None]) -> None:
    """What changed the cluster is an effect."""
    request = Connection.request

    def counted(self: Connection, method: str, *arguments: object, **named: object) -> object:
        answer = request(self, method, *arguments, **named)  # type: ignore[arg-type]
        if method != "GET":
            count()
        return answer

    Connection.request = counted  # type: ignore[method-assign]
    on_cluster(own, options)
