"""Laws that every strategy keeps, and the factory."""

from __future__ import annotations

import pytest

from maestro.core.canonical import digest
from maestro.core.errors import BadInput
from maestro.core.graph import ShadowNode
from maestro.core.policy import RolloutPolicy
from maestro.governance.production import production_node
from maestro.governance.rollouts.graphs import Arms
from maestro.governance.rollouts.strategies import STRATEGIES, strategy

ARMS = Arms(
    model="m",
    number=3,
    champion="1.0.0",
    champion_digest=digest("a"),
    challenger="1.1.0",
    challenger_digest=digest("b"),
)


@pytest.mark.shows("F1", env="laptop")
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_laws(name: str, policy: RolloutPolicy) -> None:
    plan = strategy(name)
    assert plan.name == name
    if name == "shadow":
        policy = without_quality(policy)
    weights = plan.weights(policy)
    assert list(weights) == sorted(weights)
    for rung in range(max(1, len(weights))):
        graph = plan.graph(ARMS, policy, rung, 7)
        assert graph == plan.graph(ARMS, policy, rung, 7)
        assert (graph.metadata.name, graph.metadata.revision) == ("m", 7)
        node = production_node(graph)
        assert node is not None
        assert node.version == ("1.0.0" if plan.needs_champion else "1.1.0")  # the champion stays behind whatever fails


def without_quality(policy: RolloutPolicy) -> RolloutPolicy:
    metrics = tuple(metric for metric in policy.metrics if metric.event != "wrong")
    return policy.model_copy(update={"metrics": metrics})


@pytest.mark.shows("F6", env="laptop")
def test_a_shadow_answers_nobody_on_its_first_rung(policy: RolloutPolicy) -> None:
    plan, rules = strategy("shadow"), without_quality(policy)
    root = plan.graph(ARMS, rules, 0, 1).nodes["shadow"]
    assert isinstance(root, ShadowNode)
    assert (root.primary, root.mirror, root.fraction) == ("champion-3", "challenger-3", 1.0)
    assert plan.weights(rules) == (0.0, *strategy("canary").weights(rules)[1:])
    assert plan.graph(ARMS, rules, 1, 2) == strategy("canary").graph(ARMS, rules, 1, 2)


def test_a_shadow_is_not_judged_by_answers_that_nobody_got(policy: RolloutPolicy) -> None:
    with pytest.raises(BadInput, match="judges answers") as refused:
        strategy("shadow").weights(policy)
    assert refused.value.field is not None
    assert refused.value.field.startswith("metrics.")


def test_the_factory_refuses_the_unknown() -> None:
    assert strategy("blue-green").name == "blue_green"
    with pytest.raises(BadInput, match="'recreate' is not known") as failure:
        strategy("recreate")
    assert failure.value.field == "strategy"
    assert all(name in failure.value.remedy for name in STRATEGIES)
