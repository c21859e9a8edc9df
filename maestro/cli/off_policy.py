"""`maestro ab off-policy`: what another policy would have earned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table


def off_policy(
    experiment: Annotated[str, typer.Option("--experiment", help="The experiment's name in the log.")],
    exposures: Annotated[
        list[Path],
        typer.Option("--exposures", help="Parquet file of exposures, or a folder of them; may stand several times."),
    ],
    rewards: Annotated[
        Path, typer.Option(help="The server's rewards.jsonl, or a Parquet file of reward_id and reward.")
    ],
    target: Annotated[str, typer.Option(help="arm:NAME, uniform, or the file of a policy snapshot.")],
    estimator: Annotated[
        list[str] | None, typer.Option(help="ips, snips or dr; may stand several times. Default: all.")
    ] = None,
    clip: Annotated[float | None, typer.Option(help="Bound on the weights; none by default.")] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    missing_reward: Annotated[
        float | None,
        typer.Option(help="What an exposure without a reward brought; without it such exposures are left out."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Estimate a policy's mean reward from the log of another; refuses a log without overlap."""
    from maestro.ab_testing.off_policy import evaluate

    paths = [each for path in exposures for each in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
    with progress("estimating"):
        result = evaluate(
            experiment,
            paths,
            rewards,
            target,
            estimators=estimator or (),
            clip=clip,
            confidence=confidence,
            missing_reward=missing_reward,
        )

    def human() -> None:
        table(
            f"{result.experiment}: {result.target} on {result.decisions} decisions; the log itself brought {result.logged_value:.4f}",
            ("estimator", "value", "lower", "upper", "effective size", "largest weight", "clipped"),
            [
                (
                    each.estimator, f"{each.value:.4f}", f"{each.lower:.4f}", f"{each.upper:.4f}", f"{each.effective_sample_size:.0f}",
                    f"{each.max_weight:.2f}", f"{each.clipped_share:.1%}",
                )
                for each in result.estimates
            ],
        )  # fmt: skip
        if result.without_reward:
            out.print(f"{result.without_reward} decisions without a reward are left out", highlight=False)

    emit(result, as_json=as_json, human=human)
