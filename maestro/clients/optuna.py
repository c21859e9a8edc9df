"""Optuna behind one adapter: studies in a database, samplers and pruners by name, trials as plain values, plots."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from maestro.clients.processes import is_alive, owner
from maestro.core.errors import BadInput, NotFound, Unreachable
from maestro.core.model import Model, Time

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

OWNER = "maestro.owner"
FACTS = "maestro.facts"
"""The attribute that holds everything else of a trial, so that telling it is one write."""

PRUNERS = ("median", "hyperband", "race", "none")


class TrialInfo(Model):
    """One trial: what was tried, what came of it and how long it took."""

    number: int
    state: str
    params: dict[str, Any] = {}
    values: tuple[float, ...] | None = None
    seconds: float | None = None
    started: Time | None = None
    finished: Time | None = None
    attributes: dict[str, Any] = {}


class StudyInfo(Model):
    """A study by name."""

    name: str
    directions: tuple[str, ...]
    trials: int
    attributes: dict[str, Any] = {}


class Studies:
    """The studies of one storage (`sqlite:///…` or `postgresql://…`).

    Args:
        url: the storage.
        lease: names the right by which trials are run, where one process at a time has it: those of another lease were left behind.
    """

    def __init__(self, url: str, lease: str | None = None) -> None:
        self.url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        self._owner = f"{lease}@{owner()}" if lease else owner()
        self._lease = lease
        self._storage: Any = None
        self._engine: Any = None

    def close(self) -> None:
        """Give up the connections to the storage; what is asked for afterwards opens it anew."""
        if self._storage is not None:
            self._storage.remove_session()
            self._engine.dispose()
            self._storage = self._engine = None

    @property
    def storage(self) -> Any:
        """Optuna's own storage, built when first asked for."""
        if self._storage is None:
            with quiet(), self._translated():
                from optuna.storages import RDBStorage, get_storage

                from maestro.clients.optuna_places import Places
                from maestro.clients.optuna_storage import OwnTrials

                options = (
                    {"connect_args": {"timeout": 30}} if self.url.startswith("sqlite") else {"pool_pre_ping": True}
                )
                database = RDBStorage(self.url, engine_kwargs=options)
                if self.url.startswith("sqlite"):
                    _quicken(database.engine)
                self._engine = database.engine
                self._storage = OwnTrials(get_storage(database), {OWNER: self._owner}, Places(self._engine))
        return self._storage

    def open(self, name: str, directions: Sequence[str], sampler: BaseSampler, pruner: BasePruner) -> Study:
        """The study `name`, made where there is none, resumed where there is.

        Raises:
            BadInput: it exists with other directions.
        """
        with quiet(), self._translated():
            import optuna

            sides: list[Any] = list(directions)
            study = optuna.create_study(
                study_name=name,
                storage=self.storage,
                sampler=sampler,
                pruner=pruner,
                directions=sides,
                load_if_exists=True,
            )
        have = [direction.name.lower() for direction in study.directions]
        if have != list(directions):
            raise BadInput(
                f"study {name!r} exists with objectives {', '.join(have)}",
                field="study_name",
                remedy="choose another name",
            )
        return study

    def load(self, name: str) -> Study:
        """An existing study.

        Raises:
            NotFound: there is none of this name; the known ones are listed.
        """
        with quiet(), self._translated():
            import optuna

            try:
                return optuna.load_study(study_name=name, storage=self.storage)
            except KeyError:
                known = ", ".join(optuna.get_all_study_names(self.storage)) or "none"
                raise NotFound(f"study {name!r} does not exist", field="study_name", remedy=f"known: {known}") from None

    def known(self) -> list[StudyInfo]:
        """Every study of the storage."""
        with quiet(), self._translated():
            import optuna

            found = optuna.get_all_study_summaries(self.storage, include_best_trial=False)
        return [
            StudyInfo(
                name=item.study_name, directions=tuple(d.name.lower() for d in item.directions), trials=item.n_trials,
                attributes=dict(item.user_attrs),
            )
            for item in found
        ]  # fmt: skip

    def trials(self, study: Study) -> list[TrialInfo]:
        """Its trials in order."""
        with self._translated():
            self._refresh()
            return [trial_info(trial) for trial in study.get_trials(deepcopy=False)]

    def recover(self, study: Study, facts: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None) -> int:
        """Fail the trials whose process is gone and queue their parameters again; returns how many.

        Args:
            study: the study.
            facts: given a trial's attributes, what is kept of it, such as what it cost at worst.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        count = 0
        with quiet(), self._translated():
            self._refresh()
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if self._is_alive(trial):
                    continue
                try:
                    if facts is not None:
                        self.storage.set_trial_user_attr(trial._trial_id, FACTS, dict(facts(trial.user_attrs)))
                    self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                except UpdateFinishedTrialError:
                    continue  # another process has found it, too
                if trial.params:
                    study.enqueue_trial(trial.params)
                count += 1
        return count

    def take_over(self, study: Study, names: Collection[str]) -> list[Trial]:
        """The running trials whose process is gone and whose parameters are all known; they are this process's from now on."""
        from optuna.trial import Trial, TrialState

        found = []
        with quiet(), self._translated():
            self._refresh()
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if self._is_alive(trial) or set(trial.params) != set(names):
                    continue
                self.storage.set_trial_user_attr(trial._trial_id, OWNER, self._owner)
                found.append(Trial(study, trial._trial_id))
        return found

    def _refresh(self) -> None:
        """See what other processes wrote."""
        refresh = getattr(self.storage, "refresh", None)
        if refresh is not None:
            refresh()

    def _is_alive(self, trial: FrozenTrial) -> bool:
        lease, _, process = str(trial.user_attrs.get(OWNER, "")).rpartition("@")
        if self._lease is not None and lease and lease != self._lease:
            return False
        return is_alive(process)

    def ask(
        self,
        study: Study,
        suggest: Callable[[Trial], dict[str, Any]],
        *,
        at_most: int | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> tuple[Trial, dict[str, Any]]:
        """A new trial of this process, and the parameters that it tries.

        Args:
            study: the study.
            suggest: asks the trial for its parameters.
            at_most: how many trials of all processes may run or have run to an end that counts; None is no limit.
            attributes: what the trial is to carry from its beginning.

        Raises:
            BadInput: a dimension cannot be searched, or was searched in another way before.
            Full: so many trials there are already.
        """
        carried = {OWNER: self._owner} | dict(attributes or {})
        with quiet(), self._translated():
            asking = getattr(self.storage, "asking", None)
            with asking(study._study_id, at_most, carried) if asking is not None else contextlib.nullcontext():
                trial = study.ask()
            for key, value in carried.items():
                if trial.user_attrs.get(key) != value:
                    # it was queued, or the storage is not ours
                    trial.set_user_attr(key, value)
            try:
                return trial, suggest(trial)
            except ValueError as error:
                self.tell(study, trial, "fail", None, {"failed": str(error)})
                raise BadInput(
                    f"a dimension cannot be searched in study {study.study_name!r}: {error}",
                    field="dimensions",
                    remedy="give it the kind, scale and choices that it had before, or choose another name for the study",
                ) from error

    def report(self, trial: Trial, value: float, step: int) -> bool:
        """Note an intermediate value; returns whether the study's pruner ends the trial here."""
        with quiet(), self._translated():
            trial.report(value, step)
            return trial.should_prune()

    def tell(
        self,
        study: Study,
        trial: Trial,
        state: Literal["complete", "pruned", "fail"],
        values: Sequence[float] | None,
        facts: Mapping[str, Any],
    ) -> TrialInfo:
        """End a trial with what is known of it."""
        from optuna.trial import TrialState

        with quiet(), self._translated():
            trial.set_user_attr(FACTS, dict(facts))
            told = list(values) if values is not None and state == "complete" else None
            return trial_info(study.tell(trial, told, state=TrialState[state.upper()]))

    def importance(self, study: Study, target: int = 0) -> dict[str, float]:
        """How much of the result's variation each parameter explains; empty with fewer than four completed trials or one parameter value."""
        from optuna.trial import TrialState

        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < 4:
            return {}
        with quiet(), self._translated():
            from optuna.importance import get_param_importances

            try:
                found = get_param_importances(study, target=_objective(target))
            except (ValueError, RuntimeError):
                return {}
        return {name: float(value) for name, value in found.items()}

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        from sqlalchemy.exc import ArgumentError, OperationalError

        try:
            yield
        except ArgumentError as error:
            raise BadInput(
                "the study storage URL cannot be read",
                field="MAESTRO_OPTUNA_URL",
                remedy="write sqlite:///file or postgresql://user@host/db",
            ) from error
        except OperationalError as error:
            raise Unreachable(
                f"the study storage does not answer: {str(error.orig).splitlines()[0]}",
                remedy="start the database or correct MAESTRO_OPTUNA_URL",
                component="optuna",
            ) from error
        except Exception as error:
            from optuna.exceptions import StorageInternalError

            if isinstance(error, StorageInternalError):
                raise Unreachable(
                    f"the study storage does not answer: {error.__cause__ or error}",
                    remedy="free disk space or correct MAESTRO_OPTUNA_URL",
                    component="optuna",
                ) from error
            raise


def _quicken(engine: Any) -> None:
    """Let a write on SQLite wait for no disk: it survives the end of any process, and of the machine all but the newest."""
    from sqlalchemy import event

    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    engine.dispose()
    event.listen(engine, "connect", prepare)


def pruner(name: str, *, steps: int) -> BasePruner:
    """A pruner by name, for trials that report `steps` times; a race is judged by `maestro.decisions.search_pruning`.

    Raises:
        BadInput: it is unknown.
    """
    if name not in PRUNERS:
        raise BadInput(f"pruner {name!r} is unknown", field="pruner", remedy=f"choose one of {', '.join(PRUNERS)}")
    with quiet():
        from optuna import pruners

        if name == "median":
            return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
        if name == "hyperband":
            return pruners.HyperbandPruner(min_resource=1, max_resource=max(steps, 2), reduction_factor=3)
        return pruners.NopPruner()


def plots(study: Study, objectives: Sequence[str]) -> str:
    """History, importance and, for several objectives, the front, as HTML fragments that need no network."""
    from optuna import visualization as draw

    figures = []
    with quiet():
        for at, name in enumerate(objectives):
            figures.append(draw.plot_optimization_history(study, target=_objective(at), target_name=name))
        with contextlib.suppress(ValueError, RuntimeError):
            figures.append(draw.plot_param_importances(study, target=_objective(0), target_name=objectives[0]))
        if len(objectives) in {2, 3}:
            figures.append(draw.plot_pareto_front(study, target_names=list(objectives)))
        return "\n".join(figure.to_html(full_html=False, include_plotlyjs=at == 0) for at, figure in enumerate(figures))


def _objective(at: int) -> Callable[[Any], float]:
    return lambda trial: float(trial.values[at])


def trial_info(trial: Any) -> TrialInfo:
    """Optuna's trial as plain values."""
    seconds = trial.duration.total_seconds() if trial.duration is not None else None
    zone = {"started": trial.datetime_start, "finished": trial.datetime_complete}
    return TrialInfo(
        number=trial.number, state=trial.state.name.lower(), params=dict(trial.params),
        values=tuple(float(value) for value in trial.values) if trial.values is not None else None, seconds=seconds,
        attributes={key: value for key, value in trial.user_attrs.items() if key not in {OWNER, FACTS}}
        | dict(trial.user_attrs.get(FACTS, {})),
        **{key: value.astimezone() if value is not None else None for key, value in zone.items()},
    )  # fmt: skip


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log and its warnings of what is experimental."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
