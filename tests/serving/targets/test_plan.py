"""The plan of moves, against a cluster that is played: readiness comes and goes, controllers die, goals change half-way."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.core.canonical import digest
from maestro.core.errors import BadInput
from maestro.core.graph import FULL_WEIGHT, InferenceGraph, ModelNode
from maestro.serving.targets.plan import Goal, Place, Retire, Seen, Slot, Wait, Weigh, as_routed, goal_of, next_move

VERSIONS = ("1.0.0", "1.1.0", "1.2.0")


def node(version: str) -> ModelNode:
    return ModelNode(model="m", version=version, digest=digest(version))


def goal(champion: str, challenger: str | None = None, weight: int = 0, mirror: float | None = None) -> Goal:
    return Goal(
        champion=node(champion), challenger=node(challenger) if challenger else None, weight=weight, mirror=mirror
    )


@dataclass
class Played:
    """Two Deployments and a route, and what must hold whenever a move is made."""

    champion: Slot = field(default_factory=Slot)
    challenger: Slot = field(default_factory=Slot)
    weight: int = 0
    mirror: float | None = None
    carried: str | None = None
    moves: int = 0

    def seen(self) -> Seen:
        return Seen(
            champion=self.champion, challenger=self.challenger, weight=self.weight, mirror=self.mirror, carried=self.carried
        )  # fmt: skip

    def used(self, slot: str) -> bool:
        if slot == "challenger":
            return self.weight > 0 or self.mirror is not None
        return self.weight < FULL_WEIGHT

    def do(self, move: object, identity: str) -> None:
        self.moves += 1
        match move:
            case Place(slot, version):
                before = getattr(self, slot)
                assert not self.used(slot) or before.replicas == 0, "a slot with traffic was given another version"
                setattr(self, slot, Slot(version=version.version, digest=version.digest, replicas=2, ready=False))
            case Weigh(weight, mirror, final):
                if weight > 0:
                    assert self.challenger.ready, "weight before readiness"
                if weight < self.weight:
                    assert self.champion.ready, "weight taken back before the champion is ready"
                if mirror is not None:
                    assert self.challenger.ready, "mirror before readiness"
                self.weight, self.mirror = weight, mirror
                self.carried = identity if final else self.carried
            case Retire(slot):
                assert not self.used(slot), "scaled down with traffic"
                setattr(self, slot, getattr(self, slot).model_copy(update={"replicas": 0, "ready": False}))
            case Wait(slot):
                setattr(self, slot, getattr(self, slot).model_copy(update={"ready": True}))

    def reach(self, wanted: Goal, identity: str, at_most: int = 40) -> None:
        for _ in range(at_most):
            move = next_move(wanted, self.seen(), identity)
            if move is None:
                return
            self.do(move, identity)
        raise AssertionError(f"not reached: {self}")

    def serves(self) -> set[str]:
        served = set()
        if self.weight < FULL_WEIGHT and self.champion.replicas:
            served.add(str(self.champion.version))
        if self.weight > 0:
            served.add(str(self.challenger.version))
        return served


GOALS = st.one_of(
    st.builds(goal, st.sampled_from(VERSIONS)),
    st.tuples(st.permutations(VERSIONS), st.sampled_from([0, 100, 5000, FULL_WEIGHT])).map(
        lambda pair: goal(pair[0][0], pair[0][1], pair[1])
    ),
    st.permutations(VERSIONS).map(lambda order: goal(order[0], order[1], mirror=0.5)),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(GOALS, st.integers(0, 12)), min_size=1, max_size=6), GOALS)
@pytest.mark.shows("F7", env="cluster")
def test_killed_after_any_move_and_sent_elsewhere_it_still_arrives(left: list[tuple[Goal, int]], last: Goal) -> None:
    """Controllers that die after some moves, each with another goal: what always holds is asserted by the played cluster."""
    played = Played()
    for index, (wanted, moves) in enumerate(left):
        for _ in range(moves):
            move = next_move(wanted, played.seen(), f"g{index}")
            if move is None:
                break
            played.do(move, f"g{index}")
    played.reach(last, "last")
    assert played.champion.holds(last.champion)
    assert (played.weight, played.mirror, played.carried) == (last.weight, last.mirror, "last")
    if last.challenger is None:
        assert played.challenger.replicas == 0
    else:
        assert played.challenger.holds(last.challenger)


@given(GOALS, GOALS)
def test_on_the_way_only_the_versions_of_both_goals_have_traffic(before: Goal, after: Goal) -> None:
    played = Played()
    played.reach(before, "before")
    allowed = {item.version for wanted in (before, after) for item in (wanted.champion, wanted.challenger) if item}
    for _ in range(40):
        assert played.serves() <= allowed
        assert played.serves(), "nobody serves"
        move = next_move(after, played.seen(), "after")
        if move is None:
            return
        played.do(move, "after")
    raise AssertionError("not reached")


def test_going_back_is_one_move_of_the_route() -> None:
    """The champion is kept warm: the first thing that happens is that it has all the traffic again."""
    played = Played()
    played.reach(goal("1.0.0", "1.1.0", 5000), "canary")
    assert next_move(goal("1.0.0"), played.seen(), "back") == Weigh(0, final=True)


def test_a_promotion_keeps_the_challenger_serving_until_the_champion_has_its_version() -> None:
    played = Played()
    played.reach(goal("1.0.0", "1.1.0", FULL_WEIGHT), "bake")
    steps = []
    while (move := next_move(goal("1.1.0"), played.seen(), "promoted")) is not None:
        steps.append(move)
        played.do(move, "promoted")
    assert steps == [
        Place("champion", node("1.1.0")), Wait("champion"), Weigh(0, final=True), Retire("challenger"),
    ]  # fmt: skip


def graph(nodes: dict[str, object], root: str) -> InferenceGraph:
    return InferenceGraph.model_validate({"metadata": {"name": "m", "revision": 4}, "root": root, "nodes": nodes})


def documents() -> dict[str, object]:
    return {"a": node("1.0.0").document(), "b": node("1.1.0").document()}


def arms(weight: int) -> dict[str, object]:
    return {
        "type": "split", "fallback": "a",
        "arms": [{"node": "a", "weight": FULL_WEIGHT - weight}, {"node": "b", "weight": weight}],
    }  # fmt: skip


def test_the_goal_of_each_graph() -> None:
    assert goal_of(graph({"a": node("1.0.0").document()}, "a")) == goal("1.0.0")
    assert goal_of(graph(documents() | {"ab": arms(100)}, "ab")) == goal("1.0.0", "1.1.0", 100)
    shadow = {"type": "shadow", "primary": "a", "mirror": "b", "fraction": 0.2}
    assert goal_of(graph(documents() | {"s": shadow}, "s")) == goal("1.0.0", "1.1.0", mirror=0.2)


def test_a_graph_that_two_slots_cannot_serve_is_refused() -> None:
    chain = {"type": "chain", "steps": ["a", "b"]}
    with pytest.raises(BadInput, match="its root is a chain") as refused:
        goal_of(graph(documents() | {"c": chain}, "c"))
    assert "router" in refused.value.remedy


def test_a_route_edited_by_hand_shows_as_a_graph_with_its_weights() -> None:
    written = graph(documents() | {"ab": arms(100)}, "ab")
    wanted = goal_of(written)
    ours = Seen(weight=100, carried=written.content_digest())
    assert as_routed(written, wanted, ours, None) == written
    edited = as_routed(written, wanted, ours.model_copy(update={"weight": 3000}), None)
    assert goal_of(edited) == goal("1.0.0", "1.1.0", 3000)
    assert edited.metadata.revision == 4
    mirrored = as_routed(written, wanted, ours.model_copy(update={"weight": 0, "mirror": 1.0}), None)
    assert goal_of(mirrored).mirror == 1.0
    on_the_way = ours.model_copy(update={"weight": 3000, "carried": "another"})
    assert as_routed(written, wanted, on_the_way, None) == written
