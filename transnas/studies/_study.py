"""A study as its reader sees it: the definition, every told trial, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from transnas import spaces, tasks
from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.spaces import Architecture, Space
from transnas.studies._definition import Definition
from transnas.studies._storage import Store, open_store
from transnas.studies._trial import Codec, Trial
from transnas.tasks import Task

__all__ = ["Study", "list_studies", "load_study", "read_study", "task_of"]


@dataclass
class Study:
    """A search and all its trials, as they stand in the storage at `storage` (a URL).

    `trials` is in the order of telling. `info` holds the environment of the first run
    (`created`, `command`, `versions`, `machine`) and `learn_from`, the earlier studies used.
    """

    name: str
    storage: str
    definition: Definition
    space: Space
    trials: list[Trial] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)
    final_tests: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    """Whether Ctrl-C ended the run that returned this study."""

    @property
    def task(self) -> str:
        """The task's name."""
        return self.definition.task

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.definition.strategy

    @property
    def settings(self) -> dict[str, Any]:
        """The strategy's settings, defaults included."""
        return dict(self.definition.settings)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is searched for; the first counts where there can be only one."""
        return self.definition.objectives

    @property
    def seed(self) -> int:
        """The seed of the strategy and, with the trial, of every evaluation."""
        return self.definition.seed

    @property
    def budget(self) -> int | None:
        """Epochs an evaluation; None is the evaluator's default."""
        return self.definition.epochs

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best first objective, the earliest of equals; or None."""
        rewards = self.rewards()
        if np.isnan(rewards).all():
            return None
        return self.trials[int(np.nanargmax(rewards))]

    def top(self, count: int) -> list[Trial]:
        """Return the `count` complete trials of best first objective whose networks differ.

        Best first, the earliest of equals; isomorphic architectures are one. Fewer if there are.
        """
        rewards = self.rewards()
        found: dict[Architecture, Trial] = {}
        for i in np.argsort(-rewards, kind="stable").tolist():  # NaN comes last
            if len(found) >= count or np.isnan(rewards[i]):
                break
            found.setdefault(self.space.canonical(self.trials[i].architecture), self.trials[i])
        return list(found.values())

    @property
    def front(self) -> list[Trial]:
        """The complete trials that no other one beats in all objectives (Pareto), as told.

        Trials with equal values all stay. With one objective these are the best ones.
        """
        rewards = np.array([self.rewards(o) for o in self.objectives]).T
        found = np.flatnonzero(~np.isnan(rewards).any(axis=1))
        # From the lexicographically greatest on, only earlier ones can beat a later one.
        order = found[np.lexsort(rewards[found].T[::-1])[::-1]]
        kept: list[int] = []
        for i in order.tolist():
            front, value = rewards[kept], rewards[i]
            if not ((front >= value).all(axis=1) & (front > value).any(axis=1)).any():
                kept.append(i)
        return [self.trials[i] for i in sorted(kept)]

    def rewards(self, objective: Objective | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return each trial's objective (default: the first), greater is better: [trials].

        NaN marks trials that are not complete.
        """
        chosen = objective or self.objectives[0]
        return np.array(
            [
                chosen.reward(t.measurement) if t.status == "complete" else math.nan
                for t in self.trials
            ],
            dtype=np.float64,
        )

    def incumbents(self) -> list[tuple[int, float, float]]:
        """Return (trial number, cost so far in seconds, value) of each new best trial.

        The cost sums over all trials told up to then, failed ones included.
        """
        found: list[tuple[int, float, float]] = []
        best, spent = -math.inf, 0.0
        for trial, reward in zip(self.trials, self.rewards(), strict=True):
            spent += trial.measurement.cost.seconds
            if reward > best:
                best = float(reward)
                value = self.objectives[0].value(trial.measurement)
                found.append((trial.number, spent, value))
        return found

    def record_final_test(
        self, subject: str, metrics: Mapping[str, float], at: str | None = None
    ) -> dict[str, Any]:
        """Store one look at the test split: what was measured, of what, and when (UTC, ISO).

        `subject` should name the task if it is not the study's. Raises `StorageError` if the
        storage does not take it.
        """
        moment = at or datetime.now(timezone.utc).isoformat(timespec="seconds")
        test = {"subject": subject, "metrics": dict(metrics), "at": moment}
        with open_store(self.storage) as store:
            number = store.get(self.name)
            stored = store.attributes(number).get("final_tests", [])
            found = [*stored, test]
            store.set_attribute(number, "final_tests", found)
        self.final_tests = found
        return test


def task_of(study: Study, given: str | Path | Task | None = None) -> Task:
    """Return the `given` task, or the study's own; raises `InputError` if that is not at hand."""
    if isinstance(given, Task):
        return given
    own = study.definition.data  # a folder or file, which may have the name of a built-in task
    if given is None and (own or not tasks.is_builtin(study.task)):
        other = "" if own else ", or TRANSNAS_DATA set to the folder that holds it"
        raise InputError(
            f"task {study.task!r} of study {study.name!r} is not at hand; accepted: --task with "
            f"the folder or file of its data{other}"
        )
    return tasks.get(study.task if given is None else str(given))


def load_study(name: str, storage: str = "sqlite:///transnas.db") -> Study:
    """Read a study; raises `InputError` if there is none of that name or no such storage."""
    with open_store(storage) as store:
        return read_study(store, storage, name)


def list_studies(storage: str = "sqlite:///transnas.db") -> list[str]:
    """Return the names of the studies in a storage, in the order of their creation."""
    with open_store(storage) as store:
        return list(store.studies())


def read_study(store: Store, storage: str, name: str, space: Space | None = None) -> Study:
    """Read a study from an open store; `space` serves for spaces that are not registered."""
    number = store.get(name)
    attributes = store.attributes(number)
    definition = Definition.from_dict(attributes["definition"])
    space = space or spaces.get(definition.space)
    codec = Codec(space, definition.objectives)
    return study_of(
        name, storage, definition, space, [e.trial for e in store.read(number, codec)], attributes
    )


def study_of(
    name: str,
    storage: str,
    definition: Definition,
    space: Space,
    trials: Sequence[Trial],
    attributes: Mapping[str, Any],
) -> Study:
    """Return the study that these trials and stored attributes make."""
    return Study(
        name,
        storage,
        definition,
        space,
        list(trials),
        dict(attributes["info"]),
        list(attributes.get("final_tests", [])),
    )
