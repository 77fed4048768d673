"""What CATCH's encoder is good for: tasks with a known answer, and more or less meta-training.

    python benchmarks/catch_encoder.py [--replicates 40] [--quick]

Rewards of NAS-Bench-201's cells are linear in their operations, with a direction on a circle: an
angle is a task (`SyntheticFamily`; no data needed). Every agent is meta-trained on angles and
searches another one; reported is the exact reward of the best cell queried, in the noise's unit
times ten. `probe`: R^2 of the direction of unseen tasks in a linear regression on the posterior's
mean after ten queries. Rows that the result file has are kept. Writes
benchmarks/results/catch-encoder.json and docs/results/catch-encoder.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import _catch_encoder_page
import numpy as np
import numpy.typing as npt
import torch
from _record import RESULTS, write_result

from transnas import spaces
from transnas.meta.catch import CatchSettings, SyntheticFamily, meta_train
from transnas.meta.catch.agent import Agent, run_task
from transnas.meta.catch.catcher import Catcher
from transnas.meta.catch.coding import Coding
from transnas.meta.catch.encoder import posterior
from transnas.meta.catch.normalise import normalise

Floats = npt.NDArray[np.float64]
Row = Callable[[list[int], list[int]], dict[str, Any]]
"""(seeds of meta-trainings, seeds of searches) -> best so far [R, queries], and a probe."""

SPACE = spaces.get("nasbench201")
FAMILY = SyntheticFamily(SPACE, seed=1)
EXACT = SyntheticFamily(SPACE, seed=1, noise=0.0)
QUERIES, POINTS = 20, (5, 8, 10, 15, 20)
UNSEEN = 20_000
"""Seeds of the tasks that are searched begin here, those of meta-training at 0."""
PROBED, READ = 300, 10
"""Tasks of the probe, half of them held out, and queries that the encoder reads of each."""


def best_so_far(codes: npt.NDArray[np.int64], seeds: list[int]) -> Floats:
    """Return the exact reward of the best cell [R, queries] among those queried [R, queries, 6]."""
    exact = EXACT.tasks(seeds, 0)
    found = np.stack([exact(codes[:, i]) for i in range(codes.shape[1])], axis=1)
    best: Floats = np.maximum.accumulate(found, axis=1)
    return best


def searched(agent: Agent, seeds: list[int]) -> Floats:
    """Return the best so far of agents that search unseen tasks."""
    return best_so_far(run_task(agent, FAMILY.tasks(seeds, 0), QUERIES), seeds)


def probe(agent: Agent) -> float:
    """Return R^2 of unseen directions, regressed on what the encoder makes of random cells.

    The first agent's encoder reads the same random cells' rewards in every task.
    """
    seeds = list(range(2 * UNSEEN, 2 * UNSEEN + PROBED))
    codes = np.random.default_rng(0).integers(5, size=(READ, 6))
    evaluate = FAMILY.tasks(seeds, 0)
    rewards = np.stack([evaluate(np.tile(c, (PROBED, 1))) for c in codes], axis=1)
    everyone = torch.ones(1, READ, dtype=torch.bool)
    coding = Coding(SPACE, torch.float32)
    first = {name: value[:1] for name, value in agent.catcher.parameters.items()}
    means = []
    for row in rewards:
        scaled = normalise(torch.as_tensor(row[None]), everyone).float()
        pairs = torch.cat([coding.onehot(codes[None]), scaled.unsqueeze(-1)], dim=-1)
        mean, _ = posterior(first, pairs, everyone)
        means.append(mean.detach().numpy()[0])
    x = np.column_stack([np.array(means, dtype=np.float64), np.ones(PROBED)])
    u = FAMILY.directions(seeds, 0)
    half = PROBED // 2
    weights = np.linalg.lstsq(x[:half], u[:half], rcond=None)[0]
    left = ((u[half:] - x[half:] @ weights) ** 2).sum()
    return float(1 - left / ((u[half:] - u[half:].mean(axis=0)) ** 2).sum())


def learnt(settings: CatchSettings, epochs: int) -> Row:
    """Return the row of agents that were meta-trained for some epochs."""

    def run(own: list[int], seeds: list[int]) -> dict[str, Any]:
        trained = meta_train(FAMILY, SPACE, own, settings, epochs=epochs, queries=QUERIES)
        agent = trained.agent(range(len(own)), seeds)
        row: dict[str, Any] = {"best": searched(agent, seeds)}
        if settings.context == "posterior":
            row["probe"] = probe(trained.agent(range(len(own)), seeds))
        return row

    return run


def from_scratch(own: list[int], seeds: list[int]) -> dict[str, Any]:
    """Return the row of agents that learnt nothing before."""
    coding = Coding(SPACE, torch.float32)
    agent = Agent(Catcher(seeds, coding.features, CatchSettings()), coding, seeds, 0.5)
    return {"best": searched(agent, seeds)}


def random_cells(own: list[int], seeds: list[int]) -> dict[str, Any]:
    """Return the row of uniform cells."""
    drawn = [np.random.default_rng(s).integers(5, size=(QUERIES, 6)) for s in seeds]
    return {"best": best_so_far(np.stack(drawn), seeds)}


CONTEXTS = {
    "CATCH": CatchSettings(),
    "z = 0": CatchSettings(context="zero"),
    "random z": CatchSettings(context="random"),
}
ROWS: dict[str, Row] = {
    "random": random_cells,
    "from scratch": from_scratch,
    **{
        f"{name}, {epochs} meta-epochs": learnt(settings, epochs)
        for epochs in (25, 120)
        for name, settings in CONTEXTS.items()
    },
}


def main() -> None:
    """Run what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="two replicates, one row, no page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    count = 2 if given.quick else given.replicates
    own, seeds = list(range(count)), [UNSEEN + i for i in range(count)]
    path = RESULTS / "catch-encoder.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() and not given.quick else {}
    wanted = {"CATCH, 1 meta-epoch": learnt(CatchSettings(), 1)} if given.quick else ROWS
    for name, run in wanted.items():
        if name in rows:
            continue
        started = time.process_time()
        row = run(own, seeds)
        row["best"] = [np.round(row["best"][:, q - 1], 4).tolist() for q in POINTS]
        rows[name] = {**row, "cpu_seconds": round(time.process_time() - started, 1)}
        means = [round(float(np.mean(b)), 2) for b in row["best"]]
        print(name, means, row.get("probe"), flush=True)
        if not given.quick:
            write_result("catch-encoder", {"points": POINTS, "rows": rows})
            _catch_encoder_page.write(path)


if __name__ == "__main__":
    main()
