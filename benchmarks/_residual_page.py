"""The page docs/results/residual.md from the JSON of the benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from transnas.studies._statistics import bootstrap_mean

PAGE = Path(__file__).parent.parent / "docs" / "results" / "residual.md"

INTRODUCTION = """# Searching backbones for segmentation, detection and classification

The residual space (`residual-small`: 8 to 24 channels, 5 to 10 blocks) on real data: CamVid street
scenes (mean IoU over 11 classes), BCCD blood cells (COCO's mAP over 3 classes, Faster R-CNN on a
feature pyramid) and CIFAR-10 (accuracy). Every network is trained from random weights; what is
searched is the validation metric; no test image is touched.

`python benchmarks/residual.py` measures this page (`benchmarks/results/residual.json`). A search of
one's own, its page with predictions, and its winner:

```
transnas search --task camvid:size=120,limit=120 --trials 8 --epochs 6 --name streets
transnas report streets --pictures 6
transnas train --study streets --epochs 60 --out best/
```

Two searches of this kind by the command line, on two cores that many jobs shared: segmentation
(`camvid:size=96,limit=48`, 4 trials of 4 epochs) took 35 seconds of training and found mean IoU
0.195; detection (`bccd:size=96,limit=40`, 3 trials of 4 epochs) 2 min 47 s and mAP 0.022. Their
report draws predictions on validation images: the streets come out in coarse patches, 62 % of the
pixels right; so short a detector is not sure of a single box (no score of 0.5), and the page says
so and draws its strongest ones.
"""

READING = """**What this shows, and what not.** The whole path works on a CPU: search, report with
predictions, final training, export. With so few trials of so few epochs on so few images, evolution
has hardly begun: its intervals overlap with those of random search on every task but street scenes,
where random search is ahead. Three epochs on 32 images are too few for a detector. The published
figures for this space (COCO mAP 43.2, Cityscapes mIoU 79.5) need full data and many GPU days.
"""

PICTURES = """## Predictions on validation images

Truth on the left, prediction on the right. CamVid: `basic_8_1-21-2-1` (53,558 weights), 14 epochs
on 100 images of 120x90: mean IoU 0.271, 71.0 % of the pixels. Sky, road, buildings and pavement are
found; people, poles and signs, a few pixels each, are not, and trees pass for buildings.

![CamVid](pictures/camvid.jpg)

BCCD: the same backbone, 12 epochs on 60 images of 160x120: mAP 0.290, mAP50 0.555 on 60 validation
images. Red and white cells are found (also a white one at the border that is not annotated, in the
second image), platelets are not yet. On all 205 training images `basic_16_1-21-2-1` comes to mAP
0.468 and mAP50 0.831 after 12 epochs on the 87 validation images, from random weights.

![BCCD](pictures/bccd.jpg)
"""


def write_page(path: Path) -> None:
    """Write the page of the result at `path`."""
    result = json.loads(path.read_text())
    lines = [INTRODUCTION, "## Searches\n"]
    lines += [
        f"{result['trials']} trials a search. In brackets: 95 % bootstrap intervals over seeds.",
        "",
        "| task | epochs | method | seeds | best of a search | mean of trials | CPU s a search |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, method in dict.fromkeys((r["task"], r["method"]) for r in result["rows"]):
        rows = [r for r in result["rows"] if (r["task"], r["method"]) == (task, method)]
        lines.append(_line(task, method, rows))
    machine = result["machine"]
    lines.append(
        f"\nMeasured on {machine['processor']}, one thread, commit {machine['commit']}, "
        f"{machine['date']}.\n"
    )
    PAGE.write_text("\n".join([*lines, READING, PICTURES]))


def _line(task: str, method: str, rows: list[dict[str, Any]]) -> str:
    best = np.array([[max(r["values"])] for r in rows])
    mean, low, high = (float(v[0]) for v in bootstrap_mean(best))
    trials = float(np.mean([r["values"] for r in rows]))
    seconds = float(np.mean([r["cpu_seconds"] for r in rows]))
    metric = rows[0]["metric"].removeprefix("validation_")
    cells = [
        f"`{task}`", str(rows[0]["epochs"]), method, str(len(rows)),
        f"{metric} {mean:.3f}" + (f" [{low:.3f}, {high:.3f}]" if len(rows) > 1 else ""),
        f"{trials:.3f}", f"{seconds:.0f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"
