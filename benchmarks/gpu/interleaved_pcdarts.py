"""CIFAR-10 and CIFAR-100 interleaved, PC-DARTS, in pieces that each end within ten minutes.

    python benchmarks/gpu/interleaved_pcdarts.py --row interleaved --seed 0 --out runs

Repeat the command until it prints the test accuracies (exit status 0; 3: call it again): each call
goes on exactly where the last one stopped. Rows: the method, `none` (no transfer), `post hoc`,
`separate`, `joint`. Published shape: 16 channels, 8 cells, one channel in 4, batches of 256, the
architecture at rest for 0.3 of the search. Ours: 25 epochs of search, 30 of each network. The
result is in <out>/pcdarts-<row>-<seed>/result.json. --quick tries it on a CPU in a minute.
"""

from __future__ import annotations

from typing import cast

from _interleaved import Pieces, parser

from transnas import spaces, tasks
from transnas.meta.interleaved import InterleaveSettings
from transnas.meta.interleaved.baselines import Problem
from transnas.tasks import DataTask


def main() -> int:
    """Search for a piece of time; return 3 if more is to be done."""
    given = parser(__doc__ or "").parse_args()
    settings = InterleaveSettings(
        method="pc-darts", batch_size=256, epochs=25, warmup=0.3, learning_rate=0.1,
        least_learning_rate=0.0, logits_learning_rate=6e-4,
    )  # fmt: skip
    skeleton, epochs, option = {"channels": 16, "layers": 8}, 30, ""
    if given.quick:
        settings = InterleaveSettings(
            method="pc-darts", batch_size=4, iterations=2, anchors=2, views=2, match_every=1
        )
        skeleton, epochs, option = {"channels": 4, "layers": 3}, 1, ":limit=2"
    found = [cast(DataTask, tasks.get(f"{name}{option}")) for name in ("cifar10", "cifar100")]
    problem = Problem(
        found, spaces.get("darts"), settings, skeleton, skeleton, given.seed, given.device
    )
    name = f"{'quick-' if given.quick else ''}pcdarts"
    return Pieces(name, problem, given.row, epochs, given.out, given.minutes).run()


if __name__ == "__main__":
    raise SystemExit(main())
