"""Average precision as COCO defines it, counted by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["average_precision"]

Boxes = Mapping[str, Tensor]


def average_precision(found: Sequence[Boxes], truth: Sequence[Boxes]) -> dict[str, float]:
    """Return `map` (mean over classes and IoU 0.50, 0.55, ..., 0.95), `map50` and `map75`, 0..1.

    One entry an image: `boxes` [n, 4] as x0, y0, x1, y1, `labels` [n], and `scores` [n] in
    `found`. Classes without a true box do not count; at most 100 boxes an image do.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    labels = sorted({int(label) for t in truth for label in t["labels"].tolist()})
    annotations = [
        {**entry, "id": i, "area": entry["bbox"][2] * entry["bbox"][3], "iscrowd": 0}
        for i, entry in enumerate(_entries(truth), start=1)
    ]
    data = {
        "images": [{"id": i} for i in range(len(truth))],
        "annotations": annotations,
        "categories": [{"id": label, "name": str(label)} for label in labels],
    }
    detections = [e for e in _entries(found) if e["category_id"] in set(labels)]
    if not detections or not annotations:
        return {"map": 0.0, "map50": 0.0, "map75": 0.0}
    with redirect_stdout(StringIO()):  # it reports its progress there
        coco = COCO(data)
        evaluation = COCOeval_faster(coco, coco.loadRes(detections), iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = np.asarray(evaluation.stats, dtype=np.float64)
    return {name: float(stats[i]) for i, name in enumerate(("map", "map50", "map75"))}


def _entries(images: Sequence[Boxes]) -> list[dict[str, Any]]:
    """Return a COCO annotation for each box: x, y, width, height."""
    entries = []
    for i, image in enumerate(images):
        boxes = image["boxes"].double().tolist()
        scores = image["scores"].tolist() if "scores" in image else [None] * len(boxes)
        for (x0, y0, x1, y1), label, score in zip(
            boxes, image["labels"].tolist(), scores, strict=True
        ):
            box = [x0, y0, x1 - x0, y1 - y0]
            entry = {"image_id": i, "category_id": int(label), "bbox": box}
            entries.append(entry if score is None else {**entry, "score": score})
    return entries
