"""Recurrent controllers with one worker and with delayed answers of several: what a delay costs.

A planted pattern on the chain space; answers of K workers come back K - 1 proposals late.

    python benchmarks/controllers.py [--seeds 5] [--trials 400]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _record import write_result

from transnas import spaces
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, Space
from transnas.strategies import create

PAGE = Path(__file__).parent.parent / "docs" / "results" / "controllers.md"
METHODS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "zoph-le, 1 worker": ("zoph-le", 1, {}),
    "zoph-le, 4 workers": ("zoph-le", 4, {}),
    "zoph-le, 16 workers": ("zoph-le", 16, {}),
    "nasnet, 1 worker": ("nasnet", 1, {"batch": 8}),
    "nasnet, 4 workers": ("nasnet", 4, {"batch": 8}),
    "reinforce (no network), 1 worker": ("reinforce", 1, {"learning_rate": 0.05}),
    "random, 1 worker": ("random", 1, {}),
}


def planted(space: Space) -> tuple[int, ...]:
    """Return a chain whose tokens change from layer to layer; every layer reads the first."""
    codes = []
    for choice in space.choices:
        words = choice.name.split()
        if words[2] == "reads":
            codes.append(int(words[3] == "0"))
        else:
            codes.append((int(words[1]) + len(words[2])) % len(choice.values))
    return tuple(codes)


def run(name: str, workers: int, settings: dict[str, Any], seed: int, trials: int) -> list[float]:
    """Return the share of right choices of each proposal, in the order of their answers."""
    space = spaces.get("chain")
    wanted = np.array(planted(space))
    strategy = create(name, space, seed, (Objective("score"),), **settings)
    pending: list[Architecture] = []
    scores = []
    for _ in range(trials):
        while len(pending) < workers:
            pending.append(strategy.ask())
        arch = pending.pop(0)
        scores.append(float((np.array(arch.values) == wanted).mean()))
        strategy.tell(arch, Measurement({"score": scores[-1]}))
    return scores


def interval(values: np.ndarray) -> str:
    """Return mean and 95% interval (Student's t) over seeds."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=400)
    given = parser.parse_args()
    rows, found = [], {}
    for label, (name, workers, settings) in METHODS.items():
        start = time.process_time()
        scores = np.array(
            [run(name, workers, settings, seed, given.trials) for seed in range(given.seeds)]
        )
        seconds = (time.process_time() - start) / scores.size
        parts = np.array_split(scores, 4, axis=1)
        cells = [interval(part.mean(axis=1)) for part in parts]
        rows.append(f"| {label} | {' | '.join(cells)} | {1e3 * seconds:.1f} |")
        found[label] = {
            "quarters": [part.mean(axis=1).tolist() for part in parts],
            "seconds_a_trial": seconds,
        }
        print(rows[-1], flush=True)
    write_result("controllers", {"seeds": given.seeds, "trials": given.trials, "found": found})
    PAGE.write_text(page(rows, given.seeds, given.trials), encoding="utf-8")


def page(rows: list[str], seeds: int, trials: int) -> str:
    """Return the page of results."""
    return f"""# Recurrent controllers and delayed answers

A pattern is planted in the space `chain` (6 layers, 33 choices, 2.25e15 networks): a proposal's
reward is the share of its choices that are right (0.36 at random). With K workers an answer comes
back K - 1 proposals late, from an older policy; the controller corrects for it by clipped ratios
and drops what is too old, in the place of a parameter server. Mean reward of the proposals in
each quarter of {trials} trials, {seeds} seeds, 95% intervals over seeds; milliseconds of processor
time a trial (on a busy machine). `python benchmarks/controllers.py` makes this page.

| strategy | 1st quarter | 2nd | 3rd | 4th | ms |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Learning rates are the strategies' defaults (`reinforce`: 0.05), and were chosen on patterns of
this kind; batches of 8. The pattern has no noise and no interactions between choices, which suits
`reinforce`; the table says what a delay costs, not which strategy is best on networks.
"""


if __name__ == "__main__":
    main()
