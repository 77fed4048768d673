"""Classification and detection interleaved, ProxylessNAS, in pieces of less than ten minutes.

    python benchmarks/gpu/interleaved_proxyless.py --row interleaved --seed 0 --out runs

The shape of the published ImageNet and COCO setting at the size of what lies under TRANSNAS_DATA:
CIFAR-100 (64x64), and blood cells (BCCD, 320x240) or COCO data of one's own (--detection PATH).
Detection stands on a feature pyramid of the searched chain. Two operations of a block are on a
path at a time, so a search takes the memory of one network. Repeat the command until its exit
status is 0 (3: call it again); the result is in <out>/proxyless-<row>-<seed>/result.json. --quick
tries it on a CPU in a few minutes.
"""

from __future__ import annotations

from typing import Any, cast

from _interleaved import Pieces, parser

from transnas import spaces, tasks
from transnas.meta.interleaved import InterleaveSettings
from transnas.meta.interleaved.baselines import Problem
from transnas.tasks import DataTask

SMALL: dict[str, Any] = {
    "stem": 8, "first": 8, "widths": (8, 12, 16, 16, 24, 24), "last": 32, "stem_stride": 2,
    "pyramid": 16, "head": 32,
}  # fmt: skip


def main() -> int:
    """Search for a piece of time; return 3 if more is to be done."""
    made = parser(__doc__ or "")
    made.add_argument("--classification", default="cifar100:size=64")
    made.add_argument("--detection", default="bccd")
    given = made.parse_args()
    settings = InterleaveSettings(
        method="proxyless", batch_size=64, epochs=20, learning_rate=0.025,
        logits_learning_rate=1e-3,
    )  # fmt: skip
    names, skeleton, epochs = [given.classification, given.detection], dict[str, Any](), 40
    if given.quick:
        settings = InterleaveSettings(
            method="proxyless", batch_size=2, iterations=1, anchors=2, views=2, match_every=1
        )
        names, skeleton, epochs = ["gtsrb:limit=2", "bccd:size=96,limit=6"], SMALL, 1
    found = [cast(DataTask, tasks.get(name)) for name in names]
    problem = Problem(
        found, spaces.get("proxyless"), settings, skeleton, skeleton, given.seed, given.device
    )
    name = f"{'quick-' if given.quick else ''}proxyless"
    return Pieces(name, problem, given.row, epochs, given.out, given.minutes).run()


if __name__ == "__main__":
    raise SystemExit(main())
