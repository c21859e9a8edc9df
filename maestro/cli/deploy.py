"""`maestro deploy`: plan, start, follow, abort and resume rollouts; roll back at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, err, out, progress, script, table
from maestro.clients.api import ApiClient, credential
from maestro.clients.home import Home, service_url
from maestro.core.clock import SystemClock
from maestro.core.errors import BadInput, MaestroError, NegativeVerdict, Unauthenticated, Unreachable
from maestro.core.policy import RolloutPolicy
from maestro.core.settings import settings
from maestro.governance.policies import read_policy

if TYPE_CHECKING:
    from maestro.decisions.rollout import Prediction

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Rollouts.")

ModelName = Annotated[str, typer.Option("--model", "--model-name", help="The registered model.")]
PolicyName = Annotated[str, typer.Option("--policy", help="Policy by name (default, demo) or file.")]
TargetOption = Annotated[
    str | None,
    typer.Option("--target", help="laptop or kubernetes; by default as MAESTRO_TARGET says, else laptop."),
]
RolloutId = Annotated[str, typer.Argument(help="The rollout's id.")]
RateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rate", help="Assumed rate of a bad event: quality=0.29, or champion:challenger as errors=0.001:0.02."
    ),
]


@app.command()
def plan(
    policy: PolicyName = "default",
    requests_per_s: Annotated[float, typer.Option(min=0.001, help="Assumed traffic.")] = 200.0,
    labelled_per_s: Annotated[
        float | None, typer.Option(min=0.001, help="Assumed distinct labelled entities a second.")
    ] = None,
    rate: RateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print rungs, margins and the predicted sample of each rung, under a named alternative."""
    from maestro.decisions.rollout import TrafficRates
    from maestro.governance.rollouts.controller import plan as predicted

    rules = read_policy(policy)
    with progress("simulating rollouts"):
        found = predicted(
            rules,
            assumed_rates(rules, rate or []),
            TrafficRates(requests_per_s=requests_per_s, labelled_per_s=labelled_per_s),
        )
    emit(found, as_json=as_json, human=lambda: _print_plan(rules, found))


@app.command()
def start(
    model: ModelName,
    version: Annotated[str, typer.Option("--version", "--model-version", help="Semantic version or registry number.")],
    policy: PolicyName = "default",
    strategy: Annotated[
        str | None,
        typer.Option(
            help="canary, blue-green, rolling, shadow or first; by default canary, or first where nothing is served."
        ),
    ] = None,
    target: TargetOption = None,
    follow_it: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for its end.")] = True,
    as_json: JsonFlag = False,
) -> int:
    """Check the gates and roll a version out; exit 1 when it was not promoted."""
    client = ApiClient.of()
    body = {"model": model, "version": version, "policy": read_policy(policy).document(), "strategy": strategy}
    if target is not None:
        body["target"] = checked_target(target)
    view = client.post("/rollouts", body)
    if follow_it:
        view = _follow(client, view["rollout"]["id"], quiet=as_json)
    emit(view, as_json=as_json, human=lambda: _show(view))
    return _exit_code(view) if follow_it else 0


@app.command()
def follow(rollout_id: RolloutId, as_json: JsonFlag = False) -> int:
    """Follow a rollout to its end; exit 1 when it was not promoted."""
    view = _follow(ApiClient.of(), rollout_id, quiet=as_json)
    emit(view, as_json=as_json, human=lambda: _show(view))
    return _exit_code(view)


@app.command("list")
def list_rollouts(
    model: Annotated[str | None, typer.Option("--model", "--model-name")] = None,
    status: Annotated[
        str | None, typer.Option(help="running, frozen, promoted, rolled_back, undecided_at_budget or failed.")
    ] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List rollouts, newest first."""
    found = ApiClient.of().get("/rollouts", model=model, status=status, page=page, page_size=page_size)
    rows = [
        (
            item["id"],
            item["model"],
            item.get("champion"),
            item["challenger"],
            item["strategy"],
            item["status"],
            f"{item['weight']:g} %",
        )
        for item in found["items"]
    ]
    columns = ("id", "model", "champion", "challenger", "strategy", "status", "weight")
    emit(found, as_json=as_json, human=lambda: table(f"rollouts ({found['total']})", columns, rows))


@app.command()
def show(rollout_id: RolloutId, as_json: JsonFlag = False) -> None:
    """Show a rollout with its latest decision."""
    view = ApiClient.of().get(f"/rollouts/{rollout_id}")
    emit(view, as_json=as_json, human=lambda: _show(view))


@app.command()
def abort(
    rollout_id: RolloutId, reason: Annotated[str, typer.Option(help="Why.")] = "", as_json: JsonFlag = False
) -> None:
    """Go back to the champion."""
    view = ApiClient.of().post(f"/rollouts/{rollout_id}/abort", {"reason": reason})
    emit(view, as_json=as_json, human=lambda: _show(view))


@app.command()
def resume(rollout_id: RolloutId, as_json: JsonFlag = False) -> None:
    """Lift a freeze: the rung's graph is written again, evidence stays."""
    view = ApiClient.of().post(f"/rollouts/{rollout_id}/resume")
    emit(view, as_json=as_json, human=lambda: _show(view))


@app.command()
def rollback(
    model: ModelName,
    to: Annotated[str | None, typer.Option("--to", help="A version that was promoted before.")] = None,
    target: TargetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Roll back at once. Works on this machine's home with database, registry, MLflow and API down."""
    from maestro.governance.rollouts.rollback import instant_rollback
    from maestro.lifecycle.traffic import traffic
    from maestro.security.principals import KeyVerifiers
    from maestro.security.trust import load_trust

    options = settings()
    home, clock = Home.of(options), SystemClock()
    token = credential(options)
    if token is None:
        raise Unauthenticated("no credential was given", remedy="set MAESTRO_API_KEY")
    principal = KeyVerifiers.load(home.server_keys).authenticate(token)
    trust_path = options.trust_policy or home.trust_policy
    try:
        server = service_url("server", options=options)
    except Unreachable:
        server = "http://127.0.0.1:9"
    mover = traffic(options, home, clock, server=server, token=token, target=target).target(model)
    done = instant_rollback(
        mover, home.versions, load_trust(trust_path), model, principal=principal, at=clock.now(), to=to
    )
    try:
        mover.wait_ready(done.revision, 5.0)
        served = True
    except MaestroError as error:
        served = False
        err.print(
            f"the graph is written; the server did not confirm it: {error.detail}", highlight=False, soft_wrap=True
        )
    result = done.document() | {"served": served}

    def human() -> None:
        out.print(f"{model}: {done.from_version} → {done.to_version}, revision {done.revision}", highlight=False)
        out.print("the control plane records it as a person's decision when it sees the graph")

    emit(result, as_json=as_json, human=human)


def checked_target(name: str) -> str:
    """The target's name.

    Raises:
        BadInput: there is none of that name; the known ones are listed.
    """
    from maestro.lifecycle.traffic import TARGETS

    if name not in TARGETS:
        raise BadInput(f"there is no target {name!r}", field="target", remedy=f"choose one of {', '.join(TARGETS)}")
    return name


def assumed_rates(policy: RolloutPolicy, given: list[str]) -> dict[str, float | tuple[float, float]]:
    """The named alternative from `metric=rate` texts; what is not named has 0.001 errors, 0.01 slow, 0.3 wrong.

    Raises:
        BadInput: a text cannot be read, or names no metric of the policy.
    """
    defaults = {"error": 0.001, "latency": 0.01, "wrong": 0.3}
    rates: dict[str, float | tuple[float, float]] = {metric.name: defaults[metric.event] for metric in policy.metrics}
    for text in given:
        name, _, value = text.partition("=")
        if name not in rates:
            raise BadInput(f"the policy has no metric {name!r}", field="rate", remedy=f"it has {', '.join(rates)}")
        try:
            numbers = [float(part) for part in value.split(":")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            rates[name] = numbers[0]
        elif len(numbers) == 2:
            rates[name] = (numbers[0], numbers[1])
        else:
            raise BadInput(f"--rate {text} cannot be read", field="rate", remedy="write metric=0.3 or metric=0.3:0.35")
    return rates


def _follow(client: ApiClient, rollout_id: str, *, quiet: bool) -> dict[str, Any]:
    shown: tuple[Any, ...] = ()
    with progress("rolling out") as bar:
        while True:
            view: dict[str, Any] = client.get(f"/rollouts/{rollout_id}")
            rollout = view["rollout"]
            bar.update(
                rollout["weight"] / 100,
                f"{rollout['model']}@{rollout['challenger']} {rollout['weight']:g} % {rollout['status']}",
            )
            state = (rollout["status"], rollout["weight"], rollout["state"].get("reason", ""))
            if state != shown and not quiet:
                shown = state
                reason = f": {state[2]}" if state[2] else ""
                out.print(f"{rollout['weight']:>5g} %  {rollout['status']}{reason}", highlight=False, markup=False)
            if rollout["step"] == "done" or rollout["state"].get("held"):
                return view
            if rollout["status"] not in {"running", "frozen"} and rollout["step"] == "record_promotion":
                return view
            time.sleep(0.5)


def _exit_code(view: dict[str, Any]) -> int:
    return 0 if view["rollout"]["status"] == "promoted" else NegativeVerdict.exit_code


def _print_plan(policy: RolloutPolicy, found: Prediction) -> None:
    margins = [
        (
            metric.name,
            metric.bad,
            f"{metric.margin:g}",
            f"{metric.tolerated:g}",
            *(f"{value:g}" for value in found.alternative[metric.name]),
        )
        for metric in policy.metrics
    ]
    columns = ("metric", "bad event", "margin", "tolerated", "assumed champion", "assumed challenger")
    table(f"policy {policy.metadata.name}, alpha {policy.alpha:g}", columns, margins)
    rows = [
        (
            f"{rung.weight} %",
            f"× {policy.rungs[index].margin_factor:g}",
            rung.requests if rung.requests is not None else "beyond the budget",
            f"{rung.seconds} s" if rung.seconds is not None else "",
            ", ".join(f"{name} {count}" for name, count in rung.events.items()),
        )
        for index, rung in enumerate(found.rungs)
    ]
    table("left by 80 % of rollouts within", ("rung", "margins", "requests", "time", "challenger's events"), rows)
    out.print(
        f"budget {policy.budget.requests} requests, {policy.budget.duration}; promoted {found.promoted:.0%}, "
        f"rolled back {found.rolled_back:.0%} of the simulated rollouts",
        highlight=False,
    )


def _show(view: dict[str, Any]) -> None:
    rollout, decision = view["rollout"], view.get("decision")
    out.print(
        f"{rollout['id']}: {rollout['model']} {rollout.get('champion') or 'nothing'} → {rollout['challenger']} by {rollout['strategy']}: "
        f"{rollout['status']} at {rollout['weight']:g} %",
        highlight=False,
    )
    if rollout["state"].get("reason"):
        out.print(rollout["state"]["reason"], highlight=False, markup=False)
    if decision is None:
        return
    rows = []
    for reason in decision["reasons"]:
        if "metric" in reason:
            counts = reason["counts"]
            rows.append(
                (
                    reason["metric"], f"{reason['lower']:.4f}", f"{reason['upper']:.4f}", f"{reason['margin']:g}", f"{reason['tolerate']:g}",
                    "/".join(map(str, counts["champion"])), "/".join(map(str, counts["challenger"])), reason.get("predicted"),
                )
            )  # fmt: skip
        else:
            out.print(f"{reason.get('cause', '')}: {reason.get('detail', '')}", highlight=False, markup=False)
    if rows:
        columns = (
            "metric",
            "lower",
            "upper",
            "margin",
            "tolerated",
            "champion bad/all",
            "challenger bad/all",
            "predicted",
        )
        table(f"decision {decision['id'][:19]}: {decision['verdict']}", columns, rows)


main = script(app, "deployment-automation.py")
