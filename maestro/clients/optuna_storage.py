"""A storage for one search: what this process knows of its own running trials is not read back from the database.

Optuna reads a running trial anew for every parameter, step and verdict, a dozen queries a trial. Here every write goes to the database at once, as before, so
that nothing is lost with the process; reads of the own running trials are answered from memory, and those of other processes are read
once for each new trial.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from maestro.clients.optuna_places import Places


class OwnTrials(BaseStorage):
    """Wraps a storage.

    Args:
        inner: where everything is kept.
        attributes: user attributes of every trial that is made here, written with it in one transaction.
        places: of the studies in it, where their trials are counted.
    """

    def __init__(self, inner: BaseStorage, attributes: dict[str, Any], places: Places | None = None) -> None:
        self._inner = inner
        self._attributes = attributes
        self._places = places
        self._asked: tuple[int, int] | None = None
        self._trials: dict[int, dict[int, FrozenTrial]] = {}
        self._study_of: dict[int, int] = {}

    def refresh(self) -> None:
        """Read everything anew when it is asked for next."""
        self._trials.clear()
        self._study_of.clear()

    @contextlib.contextmanager
    def asking(self, study_id: int, at_most: int | None, attributes: Mapping[str, Any]) -> Iterator[None]:
        """Let a trial that is begun inside take one of `at_most` places of its study (None: it needs none), and carry these attributes, too."""
        before = self._attributes
        self._asked = (study_id, at_most) if at_most is not None else None
        self._attributes = before | dict(attributes)
        try:
            yield
        finally:
            self._asked, self._attributes = None, before

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A new trial, with this storage's attributes where it runs at once.

        Raises:
            Full: it has no place.
        """
        if template_trial is None:
            template = create_trial(state=TrialState.RUNNING, user_attrs=self._attributes)
            with self._place():
                trial_id = self._inner.create_new_trial(study_id, template)
        else:
            trial_id = self._inner.create_new_trial(study_id, template_trial)
        self._read(study_id)
        return trial_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial; from memory where it is known."""
        trial = self._known(trial_id)
        return self._inner.get_trial(trial_id) if trial is None else trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials of a study by number, as they stood when the newest of this process began, its own as they stand."""
        known = self._trials.get(study_id)
        if known is None:
            known = self._read(study_id)
        found = [trial for trial in list(known.values()) if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Write a parameter."""
        self._inner.set_trial_param(trial_id, param_name, param_value_internal, distribution)
        trial = self._changed(trial_id)
        if trial is not None:
            value = distribution.to_external_repr(param_value_internal)
            trial.params = trial.params | {param_name: value}
            trial.distributions = trial.distributions | {param_name: distribution}

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Write what a trial came to at a step."""
        self._inner.set_trial_intermediate_value(trial_id, step, intermediate_value)
        trial = self._changed(trial_id)
        if trial is not None:
            trial.intermediate_values = trial.intermediate_values | {step: intermediate_value}

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write an attribute."""
        self._inner.set_trial_user_attr(trial_id, key, value)
        trial = self._changed(trial_id)
        if trial is not None:
            trial.user_attrs = trial.user_attrs | {key: value}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write an attribute of Optuna's own."""
        self._inner.set_trial_system_attr(trial_id, key, value)
        trial = self._changed(trial_id)
        if trial is not None:
            trial.system_attrs = trial.system_attrs | {key: value}

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Write a state; a waiting trial that is taken is read anew, since the database says when it began.

        Raises:
            Full: it is to run and has no place.
        """
        if self._asked is not None and state is TrialState.RUNNING:
            done = self._take(trial_id)
        else:
            done = self._inner.set_trial_state_values(trial_id, state, values)
        if not done or not state.is_finished():
            study_id = self._study_of.get(trial_id)
            if study_id is not None:
                self._read(study_id)
            return done
        trial = self._changed(trial_id)
        if trial is not None:
            trial.state = state
            trial.datetime_complete = datetime.datetime.now()  # noqa: DTZ005 - Optuna's times are local
            if values is not None:
                trial.values = list(values)
        return done

    def _place(self) -> contextlib.AbstractContextManager[None]:
        if self._asked is None or self._places is None:
            return contextlib.nullcontext()
        return self._places.one_of(*self._asked)

    def _take(self, trial_id: int) -> bool:
        """Begin a waiting trial, which is this process's before anybody sees it run; False where another process was faster."""
        with self._place():
            if self._inner.get_trial(trial_id).state is not TrialState.WAITING:
                return False
            for key, value in self._attributes.items():
                self._inner.set_trial_user_attr(trial_id, key, value)
            return self._inner.set_trial_state_values(trial_id, TrialState.RUNNING)

    def _read(self, study_id: int) -> dict[int, FrozenTrial]:
        found = {trial._trial_id: trial for trial in self._inner.get_all_trials(study_id, deepcopy=False)}
        self._trials[study_id] = found
        self._study_of.update(dict.fromkeys(found, study_id))
        return found

    def _known(self, trial_id: int) -> FrozenTrial | None:
        # another thread may refresh between any two steps
        return self._trials.get(self._study_of.get(trial_id, -1), {}).get(trial_id)

    def _changed(self, trial_id: int) -> FrozenTrial | None:
        """A copy of a trial in the place of the trial, since others may hold it; None where it is not known."""
        known = self._trials.get(self._study_of.get(trial_id, -1), {})
        if trial_id not in known:
            return None
        known[trial_id] = copy.copy(known[trial_id])
        return known[trial_id]

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """As the storage inside."""
        return self._inner.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """As the storage inside."""
        self.refresh()
        self._inner.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """As the storage inside."""
        self._inner.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """As the storage inside."""
        self._inner.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """As the storage inside."""
        return self._inner.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """As the storage inside."""
        return self._inner.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """As the storage inside."""
        return self._inner.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """As the storage inside."""
        return self._inner.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """As the storage inside."""
        return self._inner.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[Any]:
        """As the storage inside."""
        return self._inner.get_all_studies()

    def remove_session(self) -> None:
        """As the storage inside."""
        self._inner.remove_session()

    def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
        """As the storage inside."""
        self._inner.check_trial_is_updatable(trial_id, trial_state)
