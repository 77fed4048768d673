"""What the inner rate of the architecture parameters does: T-NAS with smaller ones than published.

    python benchmarks/few_shot_logits_rate.py omniglot-5-5 --rate 3 --seed 0

The rows are those of `few_shot_tables.py` at scale `cpu`, which has the published rate of 30: the
adapted supernet, its decoded paths, and the architecture that most test tasks have, meta-trained.
Writes benchmarks/results/few-shot-logits-rate-<rate>/<cell>-<seed>.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from few_shot_tables import Cell, searched

from transnas.meta.few_shot import Learner


class RateCell(Cell):
    """A cell whose T-NAS has another inner rate of the logits; only rows that show what it does."""

    def __init__(self, name: str, seed: int, rate: float) -> None:
        self.rate = rate
        self.folder = f"few-shot-logits-rate-{rate:g}"
        super().__init__(name, seed, "cpu", "cpu")

    def learner(self, method: str, network: Any, **more: Any) -> Learner:
        own = {"logits_rate": self.rate} if method == "t-nas" else {}
        return super().learner(method, network, **own, **more)

    def row(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        if "warm" not in name and "++" not in name:
            super().row(name, make)


def main() -> None:
    """Run what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cell", help="data set, way and shot, as in omniglot-5-5")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    searched(RateCell(given.cell, given.seed, given.rate), "t-nas")


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    main()
