"""`Table`: an architecture's measurement is looked up, and its cost is simulated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transnas import spaces
from transnas._errors import InputError
from transnas.evaluation._base import Cost, Evaluator, Measurement
from transnas.evaluation._benchmarks import Benchmark, load
from transnas.spaces import Architecture
from transnas.tasks import TableTask

__all__ = ["Table"]


class Table(Evaluator):
    """Looks measurements up in a benchmark table.

    `run` says which training run is reported: `"mean"` of the known ones (default), `"any"`
    (drawn by the evaluation seed), or a run number. `Cost.seconds` is the training time on the
    benchmark's machine, so that simulated clocks work.
    """

    def __init__(self, task: TableTask, run: str | int = "mean") -> None:
        self.task = task
        self.run = run
        if run not in ("mean", "any") and not isinstance(run, int):
            raise InputError(f"run {run!r} is unknown; accepted: 'mean', 'any' or a run number")
        self._check_run(self.default_budget)

    @property
    def _benchmark(self) -> Benchmark:
        return load(self.task.table, self.task.column)

    @property
    def default_budget(self) -> int:
        """The most epochs that the task's metric is known for."""
        return self._benchmark.budgets(self.task.metric)[-1]

    def reports(self) -> frozenset[str]:
        """See `Evaluator.reports`."""
        return frozenset({name for name, _ in self._benchmark.runs} | set(self._benchmark.extra))

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Look up `arch` after `budget` epochs; see `Evaluator.evaluate`."""
        space = spaces.get(self._benchmark.space)
        space.validate(arch)
        epochs = self._epochs(budget)
        index = space.index(arch)
        metrics = {
            name: self._one(runs[index], seed)
            for (name, at), runs in self._benchmark.runs.items()
            if at == epochs
        }
        cost = Cost(float(self._benchmark.seconds[epochs][index]), epochs, "table")
        if np.isnan(metrics[self.task.metric]):
            return Measurement.failed(f"table {self.task.table} has no such run", cost)
        metrics |= {name: float(values[index]) for name, values in self._benchmark.extra.items()}
        return Measurement(metrics, cost)

    def rewards(
        self, metric: str | None = None, budget: int | None = None
    ) -> npt.NDArray[np.float64]:
        """Return `metric` of every architecture, [space.size] in index order; NaN if missing."""
        metric = metric or self.task.metric
        if metric in self._benchmark.extra:
            return self._benchmark.extra[metric]
        runs = self._benchmark.runs.get((metric, self._epochs(budget)))
        if runs is None:
            known = ", ".join(sorted(self.reports()))
            raise InputError(f"metric {metric!r} is not in the table; accepted: {known}")
        if isinstance(self.run, int):
            return runs[:, self.run]
        means: npt.NDArray[np.float64] = np.nanmean(runs, axis=1)
        return means

    def seconds(self, budget: int | None = None) -> npt.NDArray[np.float64]:
        """Return what a query of each architecture costs, [space.size], seconds."""
        return self._benchmark.seconds[self._epochs(budget)]

    def final_test(self, arch: Architecture) -> dict[str, float]:
        """Return the published test metrics of `arch`; the caller records the look.

        Raises `InputError` for an architecture of another space, and if the table at hand has none
        (the embedded one holds validation results only; provided files add test results).
        """
        if not self._benchmark.final:
            raise InputError(
                f"task {self.task.name!r} has no test results in the tables at hand; accepted: "
                "TRANSNAS_DATA set to a folder with nas/nasbench201_test.npz"
            )
        space = spaces.get(self._benchmark.space)
        space.validate(arch)
        index = space.index(arch)
        return {name: float(values[index]) for name, values in self._benchmark.final.items()}

    def _epochs(self, budget: int | None) -> int:
        if budget is None:
            return self.default_budget
        known = self._benchmark.budgets(self.task.metric)
        if budget not in known:
            hint = "" if 12 in known or self.task.table != "nasbench201" else (
                " (12 needs TRANSNAS_DATA with nas/nasbench201.npz)"
            )  # fmt: skip
            raise InputError(
                f"epochs {budget} are not in table {self.task.table!r}; "
                f"accepted: {', '.join(map(str, known))}{hint}"
            )
        self._check_run(budget)
        return budget

    def _check_run(self, budget: int) -> None:
        if self.run in ("mean", "any"):
            return
        most = self._benchmark.runs[self.task.metric, budget].shape[1]
        if not 0 <= int(self.run) < most:
            raise InputError(
                f"run {self.run} of {budget} epochs is not in the table; accepted: 0..{most - 1}"
            )

    def _one(self, runs: npt.NDArray[np.float64], seed: int) -> float:
        known = runs[~np.isnan(runs)]
        if len(known) == 0:
            return float("nan")
        if self.run == "mean":
            return float(known.mean())
        if self.run == "any":
            return float(known[np.random.default_rng(seed).integers(len(known))])
        return float(runs[int(self.run)])
