"""Sections of docs/results/few-shot.md beyond its tables: 200 shots, transfer, similarity."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from _record import RESULTS
from scipy import stats

PICTURES = Path(__file__).parent.parent / "docs" / "results" / "pictures"


def plus_minus(values: list[float], scale: float = 100.0, sign: str = "") -> str:
    """Return a mean with its 95% t-interval."""
    shown = f"{scale * fmean(values):{sign}.1f}"
    if len(values) < 2:
        return shown
    half = stats.t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return f"{shown} ± {scale * half:.1f}"


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def supervised() -> list[str]:
    """Return the 200-shot, 10-way table of few_shot_supervised.py."""
    kept = _read("few-shot-supervised")
    if kept is None:
        return []
    found = kept["found"]
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for key, row in found.items():
        kind, _, task = key.partition(" | ")
        if task.startswith("test") and "accuracy" in row:
            scores[kind.split()[0]][task].append(row["accuracy"])
    means = {kind: {t: fmean(v) for t, v in tasks.items()} for kind, tasks in scores.items()}
    cost = {
        kind: [r["cpu_seconds"] for k, r in found.items() if k.startswith(f"{word} | test")]
        for kind, word in (("adapted", "adapt"), ("searched", "search"))
    }
    words = {
        "uniform": "uniform architectures (mean of three a task)",
        "transferred": "DARTS on other tasks (the published S2)",
        "meta": "the meta-learnt logits, not adapted",
        "adapted": "T-NAS, adapted to the task",
        "searched": "first-order DARTS on the task (the published S1)",
    }
    published = {"uniform": "61.20", "transferred": "62.99", "adapted": "64.23 (5 min)",
                 "searched": "64.84 (266 min)"}  # fmt: skip
    lines = [
        "## 200 shots, 10 ways",
        "",
        "`python benchmarks/few_shot_supervised.py`: each of "
        f"{len(means.get('adapted', {}))} tasks has ten test classes of CIFAR-FS with 200 training "
        "and 50 query images each, 16x16; all architectures are then trained alike for "
        f"{kept['settings']['epochs']} epochs (8 channels, 3 cells). "
        "Differences to uniform are paired by task; 95 % t-intervals over tasks.",
        "",
        "| architecture | tasks | accuracy % | − uniform | search, CPU s a task | published % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, label in words.items():
        own = means.get(kind, {})
        if not own:
            continue
        gain = [v - means["uniform"][t] for t, v in own.items() if t in means["uniform"]]
        seconds = f"{fmean(cost[kind]):.1f}" if cost.get(kind) else ""
        lines.append(
            f"| {label} | {len(own)} | {plus_minus(list(own.values()))} "
            f"| {plus_minus(gain, sign='+') if kind != 'uniform' else ''} | {seconds} "
            f"| {published.get(kind, '')} |"
        )
    meta = found.get("meta-training", {})
    if cost["adapted"] and cost["searched"]:
        saved = fmean(cost["searched"]) - fmean(cost["adapted"])
        lines += [
            "",
            f"Meta-training took {meta.get('seconds', 0):.0f} s once, which "
            f"{meta.get('seconds', 0) / saved:.0f} tasks repay; adaptation is "
            f"{fmean(cost['searched']) / fmean(cost['adapted']):.0f} times cheaper than a search "
            "(published: 53).",
        ]
    return [*lines, ""]


def transfer() -> list[str]:
    """Return the cross-distribution matrix of few_shot_transfer.py."""
    gains: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for path in sorted((RESULTS / "few-shot-transfer").glob("*[0-9].json")):
        target = path.stem.rsplit("-", 3)[0]
        rows = json.loads(path.read_text())["rows"]
        uniform = [r["accuracy"] for n, r in rows.items() if n.startswith("random")]
        if not uniform:
            continue
        for name, row in rows.items():
            words = name.split()
            if len(words) == 3 and words[1] in ("adapted", "meta", "shuffled"):
                gains[words[0], target, words[1]].append(row["accuracy"] - fmean(uniform))
    if not gains:
        return []
    lines = [
        "## Does the search transfer across data sets?",
        "",
        "`python benchmarks/few_shot_transfer.py --seed S`: T-NAS is meta-trained on A and adapts "
        "to tasks of B, 5-way 1-shot, all images 3x32x32; the decoded architecture is meta-trained "
        "on B from scratch. Points of accuracy over uniform architectures trained alike, 95 % "
        "t-intervals over seeds.",
        "",
        "| searched on | used on | seeds | adapted | not adapted | edges shuffled |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for source, target in sorted({key[:2] for key in gains}):
        shown = [
            plus_minus(gains[source, target, kind], sign="+") if gains[source, target, kind] else ""
            for kind in ("adapted", "meta", "shuffled")
        ]
        count = len(gains[source, target, "adapted"])
        lines.append(f"| {source} | {target} | {count} | " + " | ".join(shown) + " |")
    return [*lines, ""]


def similarity() -> list[str]:
    """Return what few_shot_similarity.py found, and its drawings."""
    kept = _read("few-shot-similarity")
    if kept is None:
        return []
    lines = [
        "## Do similar tasks get similar architectures?",
        "",
        "`python benchmarks/few_shot_similarity.py`: choices (of 32) in which the decoded "
        "architectures of two episodes differ, means over 12 sets of test classes with 95 % "
        "t-intervals. `same images` are one support with its classes numbered in another order; "
        "`uniform` is the mean distance of architectures drawn uniformly.",
        "",
        "| cell, seed | same images | same classes, other images | no class in common | − "
        "| uniform |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in kept["cells"].items():
        pairs = zip(row["between"], row["within"], strict=True)
        lines.append(
            f"| {name} | {plus_minus(row['same images'], 1)} | {plus_minus(row['within'], 1)} "
            f"| {plus_minus(row['between'], 1)} | {plus_minus([b - w for b, w in pairs], 1, '+')} "
            f"| {row['uniform']:.1f} |"
        )
    shares = [fmean(r["same images"]) / fmean(r["between"]) for r in kept["cells"].values()]
    lines += [
        "",
        f"Numbering the classes of one support in another order changes {min(shares):.0%} of what "
        "changes between unrelated tasks: after a few gradient steps on a few images, what a task "
        "decodes to depends on the order of its classes far more than on what they are.",
        "",
        "The meta-learnt cell, and those of three tasks (the first two share classes):",
        "",
    ]
    for name in kept["cells"]:
        for label in ("meta", "task-1", "task-1-again", "task-2"):
            if (PICTURES / f"few-shot-{name}-{label}.svg").exists():
                lines.append(f"![{name}, {label}](pictures/few-shot-{name}-{label}.svg)")
    return [*lines, ""]
