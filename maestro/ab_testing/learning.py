"""The control side of a bandit: learn from the log, publish the next snapshot, show that the log replays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import yaml
from pydantic import ValidationError

from maestro.ab_testing.decided import Decided, read_decided
from maestro.clients.bandit_snapshots import ArmSummary, BanditSummary, SnapshotStore
from maestro.clients.home import Home
from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, Malformed, NotFound, from_validation
from maestro.core.graph import BanditNode, InferenceGraph, ModelNode
from maestro.core.model import Model
from maestro.decisions.bandits import Decider, Snapshot, create_policy
from maestro.decisions.bandits.first import first_snapshot

REWARDS = "rewards.jsonl"


class Replay(Model):
    """Whether every logged decision comes out again, bit for bit."""

    experiment: str
    decisions: int
    snapshots: int
    arms_differ: int
    propensities_differ: int

    @property
    def exact(self) -> bool:
        """All of them do."""
        return not (self.arms_differ or self.propensities_differ)


class BanditLog:
    """One bandit of a model's graph with its log, in a home.

    Args:
        experiment: None when the graph has one bandit only.

    Raises:
        NotFound: the model has no graph, or its graph no such bandit.
    """

    def __init__(self, home: Home, model: str, experiment: str | None = None) -> None:
        self._home = home
        self.model = model
        self._graph = _read_graph(home.graph(model))
        bandits = {node.experiment: node for node in self._graph.nodes.values() if isinstance(node, BanditNode)}
        if experiment is None and len(bandits) == 1:
            experiment = next(iter(bandits))
        if experiment not in bandits:
            raise NotFound(
                f"the graph of {model!r} has no bandit {experiment or ''!r}",
                field="experiment",
                remedy=f"its bandits are: {', '.join(sorted(bandits)) or 'none'}",
            )
        self.experiment = experiment
        self.node = bandits[experiment]
        self.store = SnapshotStore(home.graphs, model, experiment)
        self.first = first_snapshot(self.node, self._contract())

    def read(self) -> Decided | None:
        """Its exposures with their rewards, those of the versions that its arms serve now; None before the first."""
        folder = self._home.exposures / self.model
        paths = sorted((folder / self.experiment).glob("*.parquet"))
        if not paths:
            return None
        rewards = folder / REWARDS
        log = read_decided(paths, self.experiment, rewards if rewards.exists() else None)
        wanted = self._versions()
        rows = np.array(
            [
                arm in self.first.names and wanted.get(arm, version) == version
                for arm, version in zip(log.arm.tolist(), log.version.tolist(), strict=True)
            ],
            dtype=bool,
        )
        return log.take(rows)

    def learn(self, at: datetime, *, missing_reward: float | None = None) -> tuple[Snapshot, BanditSummary]:
        """Learn from the whole log and publish what was learnt; the server follows the file.

        The log is read anew each time, so that a reward that came late counts where it belongs. Nothing is published when nothing was learnt since.

        Args:
            missing_reward: what an exposure without a reward brought; None learns nothing from it yet.

        Raises:
            BadInput: a reward is outside 0 to 1, or the log's context is not the policy's.
            Conflict: somebody else published in between.
        """
        current = self.store.current()
        log = self.read()
        policy = create_policy(self.node.policy)
        number = 0 if current is None else current.number + 1
        known = self.first.model_copy(update={"number": number})
        if log is None or not log.size:
            return (current or self.first), self._summary(at, self.first, None)
        reward = log.reward if missing_reward is None else np.where(np.isnan(log.reward), missing_reward, log.reward)
        rows = np.isfinite(reward)
        context = None
        if policy.contextual:
            if log.context is None:
                raise BadInput(
                    f"the log of {self.experiment!r} has no context that the policy could learn from",
                    field="context",
                    remedy="let the arms keep one contract within an experiment",
                )
            context = log.context[rows]
        arm = np.array([self.first.names.index(name) for name in log.arm[rows].tolist()], dtype=np.int64)
        learnt = policy.learn(known, arm, reward[rows], context).model_copy(update={"number": number})
        summary = self._summary(at, learnt, log)
        if current is not None and learnt.model_copy(update={"number": current.number}) == current:
            return current, summary.model_copy(update={"snapshot": current.content_digest()})
        self.store.publish(learnt, summary)
        return learnt, summary

    def replay(self) -> Replay:
        """Decide every logged exposure again on the snapshot that it names.

        Raises:
            NotFound: a snapshot is not here any more.
        """
        log = self.read()
        arms = propensities = size = 0
        named = [] if log is None else sorted(set(log.snapshot.tolist()) - {""})
        for digest in named:
            assert log is not None  # noqa: S101 - a log names snapshots
            mine = log.take(log.snapshot == digest)
            decider = self._decider(digest)
            context = mine.context if decider.contextual else None
            decided = decider.many(mine.unit.tolist(), context)
            arms += sum(
                decider.names[position] != arm
                for position, arm in zip(decided.arm.tolist(), mine.arm.tolist(), strict=True)
            )
            propensities += int((decided.propensity != mine.propensity).sum())
            size += mine.size
        return Replay(
            experiment=self.experiment,
            decisions=size,
            snapshots=len(named),
            arms_differ=arms,
            propensities_differ=propensities,
        )

    def _decider(self, digest: str) -> Decider:
        snapshot = self.first if digest == self.first.content_digest() else self.store.find(digest)
        return Decider(create_policy(snapshot.policy), snapshot)

    def _summary(self, at: datetime, known: Snapshot, log: Decided | None) -> BanditSummary:
        arms, regret, explored = [], 0.0, 0
        for name in known.names:
            mine = None if log is None else log.reward[log.arm == name]
            got = np.array([]) if mine is None else mine[np.isfinite(mine)]
            arms.append(
                ArmSummary(
                    arm=name, exposures=0 if mine is None else mine.size, rewarded=got.size, reward=float(got.sum())
                )
            )
        if log is not None and log.size:
            context = log.context if create_policy(known.policy).contextual else None
            _, values = create_policy(known.policy).scorer(known).score(log.size, context)
            taken = np.array([known.names.index(name) for name in log.arm.tolist()], dtype=np.int64)
            regret = float((values.max(axis=1) - values[np.arange(log.size), taken]).sum())
            explored = self._explorations(log)
        return BanditSummary(
            model=self.model,
            experiment=self.experiment,
            at=at,
            snapshot=known.content_digest(),
            arms=tuple(arms),
            regret=regret,
            exploration_rate=explored / log.size if log is not None and log.size else 0.0,
        )

    def _explorations(self, log: Decided) -> int:
        """Exposures on another arm than the one that their snapshot thought best."""
        count = 0
        for digest in sorted(set(log.snapshot.tolist()) - {""}):
            mine = log.take(log.snapshot == digest)
            try:
                decider = self._decider(digest)
            except NotFound:
                continue  # of settings that the graph had before: what was best then cannot be told
            decided = decider.many(mine.unit.tolist(), mine.context if decider.contextual else None)
            count += int(decided.explored.sum())
        return count

    def _contract(self) -> ModelContract | None:
        node = self._graph.nodes[self.node.arms[0]]
        if not isinstance(node, ModelNode):
            return None
        path = self._home.version(node.model, node.version) / "files" / "contract.json"
        try:
            return ModelContract.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            raise Malformed(f"{path} cannot be read", field="contract", remedy="register the version again") from None

    def _versions(self) -> Mapping[str, str]:
        nodes = {name: self._graph.nodes[name] for name in self.node.arms}
        return {name: node.version for name, node in nodes.items() if isinstance(node, ModelNode)}


def _read_graph(path: Path) -> InferenceGraph:
    try:
        return InferenceGraph.model_validate(yaml.safe_load(path.read_bytes()))
    except FileNotFoundError:
        raise NotFound(
            f"there is no graph {path.stem!r}", field="model", remedy="name a model that is served"
        ) from None
    except ValidationError as error:
        raise from_validation(error, path.name) from None
    except (OSError, yaml.YAMLError):
        raise Malformed(f"{path} cannot be read", field="model", remedy="restore the file") from None
