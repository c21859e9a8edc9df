"""`maestro ab`: analyse an experiment, compute a sample size, judge another policy from the log."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.cli.off_policy import off_policy
from maestro.core.errors import BadInput

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Analyse an experiment; compute a sample size; judge another policy from the log.",
)
app.command("off-policy")(off_policy)


class Mode(StrEnum):
    """How often one may look."""

    FIXED = "fixed"
    PLANNED = "planned"
    ALWAYS_VALID = "always_valid"


@app.command()
def analyse(
    experiment: Annotated[Path, typer.Option("--experiment", help="The experiment's YAML file.")],
    exposures: Annotated[
        list[Path], typer.Option("--exposures", help="Parquet file of exposures; may stand several times.")
    ],
    rewards: Annotated[Path | None, typer.Option(help="Parquet file of reward_id and reward.")] = None,
    covariate: Annotated[Path | None, typer.Option(help="Parquet file of unit and covariate.")] = None,
    earlier: Annotated[str, typer.Option(help="Units of both arms at the earlier looks, separated by commas.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Confidence intervals, p-values and the verdict of an experiment; exit status 1 when the challenger harms."""
    from maestro.ab_testing import analyse as analyse_experiment
    from maestro.ab_testing import load_experiment
    from maestro.core.clock import SystemClock

    try:
        looks = [int(word) for word in earlier.split(",") if word.strip()]
    except ValueError:
        raise BadInput(
            f"--earlier is {earlier!r}", field="--earlier", remedy="give whole numbers separated by commas"
        ) from None
    with progress("analysing"):
        result = analyse_experiment(
            load_experiment(experiment),
            exposures,
            at=SystemClock().now(),
            rewards=rewards,
            covariate=covariate,
            earlier=looks,
        )

    def show() -> None:
        def number(value: float | None) -> str:
            return "-" if value is None else f"{value:.5g}"

        table(
            f"{result.experiment}: {result.units_champion} champion and {result.units_challenger} challenger units, {result.mode}",
            ("metric", "champion", "challenger", "difference", "lower", "upper", "p", "verdict"),
            [
                (
                    each.name, number(each.champion), number(each.challenger), number(each.difference), number(each.lower), number(each.upper),
                    number(each.p_value), each.verdict,
                )
                for each in result.metrics
            ],
        )  # fmt: skip
        for reason in result.reasons:
            out.print(reason, markup=False, highlight=False)
        out.print(f"verdict: {result.verdict}; next: {result.next}")

    emit(result, as_json=as_json, human=show)
    if result.next == "roll_back":
        raise typer.Exit(1)


@app.command("sample-size")
def sample_size(
    baseline: Annotated[float | None, typer.Option(help="Champion's rate, for a proportion.")] = None,
    sd: Annotated[float | None, typer.Option(help="Standard deviation, for a mean.")] = None,
    effect: Annotated[float, typer.Option(help="Smallest difference to be detected.")] = 0.01,
    alpha: Annotated[float, typer.Option(help="Two-sided error.")] = 0.05,
    power: Annotated[float, typer.Option(help="Probability of detecting the effect.")] = 0.8,
    challenger_share: Annotated[float, typer.Option(help="Share of units in the challenger's arm.")] = 0.5,
    mode: Annotated[Mode, typer.Option(help="How often one may look.")] = Mode.FIXED,
    looks: Annotated[int, typer.Option(min=1, max=1000, help="Looks of the planned mode.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Units that an experiment needs in each arm."""
    from maestro.decisions import sample_size as sizes

    if (baseline is None) == (sd is None):
        raise BadInput(
            "give --baseline for a proportion or --sd for a mean", field="--baseline", remedy="give one of the two"
        )
    chosen: sizes.Mode = mode.value
    try:
        if baseline is not None:
            size = sizes.for_proportions(
                baseline,
                baseline + effect,
                alpha=alpha,
                power=power,
                challenger_share=challenger_share,
                mode=chosen,
                looks=looks,
            )
        else:
            assert sd is not None  # noqa: S101 - one of the two is given
            size = sizes.for_means(
                effect, sd, alpha=alpha, power=power, challenger_share=challenger_share, mode=chosen, looks=looks
            )
    except ValueError as error:
        raise BadInput(str(error), field="sample-size", remedy="correct the option that the message names") from None
    facts = {
        "champion": size.champion, "challenger": size.challenger, "total": size.total, "mode": mode.value,
        "inflation": size.inflation, "expected_share": size.expected_share,
    }  # fmt: skip
    emit(
        facts,
        as_json=as_json,
        human=lambda: out.print(
            f"{size.champion} champion + {size.challenger} challenger = {size.total} units at most ({mode.value}); "
            f"{size.expected_share:.0%} of them in the mean when the effect is true",
            highlight=False,
        ),
    )
