"""Earlier studies as sources to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.spaces import Architecture, Space
from transnas.studies._storage import Store, open_store
from transnas.studies._study import Study, read_study

__all__ = ["SourceStudy", "recorded_sources", "sources"]


@dataclass(frozen=True)
class SourceStudy:
    """The complete trials of one earlier study.

    `data` is the digest of the user's own data (`Definition.data`). `rewards` [n] has one finite
    number an architecture, greater is better, in the study's own unit; scales differ between
    studies. `trials` counts all trials that were read, so that the same source can be read again
    later.
    """

    storage: str
    study: str
    task: str
    data: str
    evaluator: str
    budget: int | None
    seed: int
    trials: int
    architectures: tuple[Architecture, ...]
    rewards: npt.NDArray[np.float64]

    def record(self) -> dict[str, Any]:
        """Return what identifies the source, as JSON data."""
        names = ("storage", "study", "task", "evaluator", "budget", "seed", "trials")
        return {name: getattr(self, name) for name in names}


def sources(
    storages: Sequence[str],
    space: Space,
    objective: Objective,
    learn_except: Callable[[SourceStudy], bool] | None = None,
) -> list[SourceStudy]:
    """Return the studies on `space` in `storages` that measured the objective's metric.

    `learn_except` says which studies to leave out. Studies of other spaces, and those without a
    complete trial, are passed over. Raises `InputError` if none is left or a storage cannot be
    opened.
    """
    found = []
    left_out = set()
    for url in dict.fromkeys(storages):
        with open_store(url) as store:
            for name in store.studies():
                if _space_name(store, name) != space.name:
                    continue
                source = _source(store.label, read_study(store, url, name, space), objective)
                if learn_except is not None and learn_except(source):
                    left_out.add(source.task)
                elif source.architectures:
                    found.append(source)
    if not found:
        others = f" for other tasks than {', '.join(sorted(left_out))}" if left_out else ""
        raise InputError(
            f"learn from {', '.join(storages) or 'nothing'} gives no source; accepted: storages "
            f"with studies on space {space.name!r} that measured {objective.metric!r}{others}"
        )
    return found


def recorded_sources(
    records: Iterable[dict[str, Any]], storages: Sequence[str], space: Space, objective: Objective
) -> list[SourceStudy]:
    """Return the sources that `SourceStudy.record` described, as they were then.

    Raises `InputError` if one of them is gone.
    """
    stores: dict[str, Store] = {}
    try:
        for url in dict.fromkeys(storages):
            store = open_store(url)
            stores[store.label] = store
        found = []
        for record in records:
            if record["storage"] not in stores:
                raise InputError(
                    f"learn from {', '.join(storages)} lacks {record['storage']}, from which this "
                    "study learnt; accepted: the same storages"
                )
            study = read_study(stores[record["storage"]], "", record["study"], space)
            del study.trials[record["trials"] :]
            found.append(_source(record["storage"], study, objective))
        return found
    finally:
        for store in stores.values():
            store.close()


def _space_name(store: Store, name: str) -> str:
    return str(store.attributes(store.get(name))["definition"]["space"])


def _source(label: str, study: Study, objective: Objective) -> SourceStudy:
    rewards = study.rewards(objective)
    known = np.flatnonzero(~np.isnan(rewards))
    return SourceStudy(
        storage=label,
        study=study.name,
        task=study.task,
        data=study.definition.data,
        evaluator=study.definition.evaluator,
        budget=study.budget,
        seed=study.seed,
        trials=len(study.trials),
        architectures=tuple(study.trials[int(i)].architecture for i in known),
        rewards=rewards[known],
    )
