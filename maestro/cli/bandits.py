"""`maestro bandits`: learn from a bandit's log, show what it brought, show that the log replays."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.core.errors import NegativeVerdict

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Bandits: learn from the log, show, replay.",
)

Model = Annotated[str, typer.Option("--model", help="The model whose graph holds the bandit.")]
Experiment = Annotated[
    str | None, typer.Option("--experiment", help="The bandit's experiment; needed when the graph has several.")
]


@app.command()
def learn(
    model: Model,
    experiment: Experiment = None,
    missing_reward: Annotated[
        float | None,
        typer.Option(
            help="What an exposure without a reward brought, such as 0; without it nothing is learnt from one."
        ),
    ] = None,
    every: Annotated[
        float | None, typer.Option(min=0.1, help="Learn again every so many seconds, until stopped.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Publish the next snapshot; the model server follows it within a second."""
    from maestro.ab_testing.learning import BanditLog
    from maestro.clients.home import Home
    from maestro.core.clock import SystemClock

    while True:
        with progress("learning"):
            snapshot, summary = BanditLog(Home.of(), model, experiment).learn(
                SystemClock().now(), missing_reward=missing_reward
            )
        emit(
            {"number": snapshot.number} | summary.document(),
            as_json=as_json,
            human=lambda snapshot=snapshot, summary=summary: out.print(  # type: ignore[misc]
                f"{summary.experiment}: snapshot {snapshot.number} of {sum(arm.rewarded for arm in summary.arms)} rewards",
                highlight=False,
            ),
        )
        if every is None:
            return
        time.sleep(every)


@app.command()
def show(model: Model, experiment: Experiment = None, as_json: JsonFlag = False) -> None:
    """The arms, what they brought and how likely each is now."""
    from maestro.ab_testing.learning import BanditLog
    from maestro.clients.home import Home
    from maestro.decisions.bandits import Decider, create_policy

    log = BanditLog(Home.of(), model, experiment)
    snapshot, summary = log.store.current() or log.first, log.store.summary()
    policy = create_policy(snapshot.policy)
    chances = None if policy.contextual else Decider(policy, snapshot).propensities(1)[0].tolist()
    arms = {arm.arm: arm for arm in summary.arms} if summary is not None else {}
    facts = {
        "model": model,
        "experiment": log.experiment,
        "policy": snapshot.policy,
        "number": snapshot.number,
        "snapshot": snapshot.content_digest(),
        "epsilon": snapshot.epsilon,
        "propensities": None if chances is None else dict(zip(snapshot.names, chances, strict=True)),
        "summary": None if summary is None else summary.document(),
    }

    def human() -> None:
        rows = []
        for position, name in enumerate(snapshot.names):
            arm = arms.get(name)
            mean = "-" if arm is None or not arm.rewarded else f"{arm.reward / arm.rewarded:.4f}"
            chance = "by context" if chances is None else f"{chances[position]:.4f}"
            rows.append((name, arm.exposures if arm else 0, arm.rewarded if arm else 0, mean, chance))
        table(
            f"{log.experiment}: {snapshot.policy}, snapshot {snapshot.number}",
            ("arm", "exposures", "rewarded", "mean reward", "propensity"),
            rows,
        )
        if summary is not None:
            out.print(f"regret {summary.regret:.2f}, exploration {summary.exploration_rate:.1%}", highlight=False)

    emit(facts, as_json=as_json, human=human)


@app.command()
def replay(model: Model, experiment: Experiment = None, as_json: JsonFlag = False) -> None:
    """Decide every logged exposure again; exit status 1 when one comes out otherwise."""
    from maestro.ab_testing.learning import BanditLog
    from maestro.clients.home import Home

    with progress("replaying"):
        result = BanditLog(Home.of(), model, experiment).replay()
    emit(
        result.document() | {"exact": result.exact},
        as_json=as_json,
        human=lambda: out.print(
            f"{result.decisions} decisions on {result.snapshots} snapshots: "
            f"{result.arms_differ} arms and {result.propensities_differ} propensities differ",
            highlight=False,
        ),
    )
    if not result.exact:
        if as_json:
            raise typer.Exit(1)
        raise NegativeVerdict(
            f"{result.arms_differ} arms and {result.propensities_differ} propensities differ",
            remedy="use the code version and the snapshots with which they were decided",
        )
