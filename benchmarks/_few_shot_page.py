"""Writes docs/results/few-shot.md from the results of the few_shot_*.py benchmarks there are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from _few_shot_questions import plus_minus, similarity, supervised, transfer
from _record import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "results" / "few-shot.md"
SEEDS = 3
Rows = Mapping[str, Any]
Cells = dict[tuple[str, str, str], dict[int, Rows]]
"""Rows by data set, way and shot, and by seed."""
ORDER = (
    "maml 4conv",
    "maml++ 4conv",
    "anil 4conv",
    "reptile 4conv",
    "auto-maml retrain",
    "t-nas retrain",
    "t-nas++ retrain",
    "t-nas warm",
    "random retrain",
    "t-nas supernet",
    "t-nas inherit",
    "auto-maml supernet",
    "auto-maml inherit",
)
_OMNIGLOT = (
    ("98.7", "99.47", "98.95", "99.16", "99.35"),
    ("99.9", "99.93", "99.91", "99.93", "99.93"),
)
_IMAGENET = (
    ("48.70", "52.15", "51.23", "52.84", "54.11"),
    ("63.11", "68.32", "64.10", "67.88", "69.59"),
)
_FC100 = ("38.1", "38.7", "38.8", "39.7", "40.4"), ("50.4", "52.9", "52.2", "53.1", "54.6")
_TOLD = ("maml 4conv", "maml++ 4conv", "auto-maml retrain", "t-nas retrain", "t-nas++ retrain")
PUBLISHED = {
    (data, shot): dict(zip(_TOLD, row, strict=True))
    for data, pair in (("omniglot", _OMNIGLOT), ("mini-imagenet", _IMAGENET), ("fc100", _FC100))
    for shot, row in zip("15", pair, strict=True)
}
"""5-way, Lian et al. (ICLR 2020), tables 2 to 4: full width and length, other splits."""
HEAD = """# Few-shot learning and search

`python benchmarks/_few_shot_page.py` writes this page from what there is of
`benchmarks/results/few-shot*`; each script goes on where it stopped.

**What this page does and does not show.** Every row was trained here, on one processor thread, at
reduced width (16 filters, or cells of 8 channels) and for minutes where the publications train for
hours: see the meta-steps. Omniglot is split by alphabets (test characters share no alphabet with
training), mini-ImageNet has the provided 120 images a class and is averaged down to 32 pixels,
FC100 comes from JPEG images. So published figures stand beside ours for orientation and are not
comparable, and differences between our rows say something about these short trainings only.
Nothing here ran on a GPU. Supernets get fewer meta-steps than fixed networks, since each costs ten
times as much. The outer rate falls from 0.01 to 0.0002 by a cosine (chosen on validation episodes;
[what that does](#what-the-outer-rate-does)), on mini-ImageNet from 0.004 to 0.0001 over [longer
trainings](#what-longer-training-does).

Query statistics: batch (transductive, as published). 5 queries a class. Accuracies: mean over
seeds of meta-training, with 95 % t-intervals over them where there are two or more; `episodes ±` is
the mean 95 % interval over the test episodes of one seed (600; 60 for supernets and inherited
weights). `retrain`: the decoded architecture that most test tasks have is meta-trained anew;
`warm`: that starts from the supernet's weights; `random`: a uniform architecture, trained alike;
`supernet`: the adapted mixture itself; `inherit`: decoded paths with the supernet's adapted
weights. `CPU s`: meta-training and test on one thread (of supernets, whose meta-training was timed
by the clock on a machine that other work shared, an upper bound); seeds ran on different processors
and versions of the kernel, so that it only tells orders of magnitude. In these trainings of
Auto-MAML both halves of the images draw the same classes at a step; they are independent since.
"""


def load(folder: str, scale: str = "cpu") -> Cells:
    """Return the results of few_shot_tables.py at a scale that are kept in a folder."""
    cells: Cells = {}
    suffix = "" if scale == "cpu" else f"-{scale}"
    for path in sorted((RESULTS / folder).glob(f"*[0-9]{suffix}.json")):
        data, way, shot, seed = path.stem.removesuffix(suffix).rsplit("-", 3)
        rows = json.loads(path.read_text())["rows"]
        cells.setdefault((data, way, shot), {})[int(seed)] = rows
    return cells


def kinds(rows: Rows) -> dict[str, dict[str, Any]]:
    """Return rows by their name without number."""
    return {name.rstrip("0123456789 "): row for name, row in rows.items()}


def spent(row: Mapping[str, Any]) -> float:
    """Return the seconds of a row; a supernet's own measure leaves out its meta-training."""
    trained: float = row["meta_seconds"] if "distinct" in row else 0.0
    return float(row["cpu_seconds"]) + trained


def cell(key: tuple[str, str, str], seeds: dict[int, Rows]) -> list[str]:
    """Return the table of one cell."""
    data, way, shot = key
    published = PUBLISHED.get((data, shot), {}) if way == "5" else {}
    lines = [
        f"## {data}, {way}-way {shot}-shot",
        "",
        "| method | seeds | accuracy % | episodes ± | untrained % | parameters | meta-steps "
        "| CPU s | published % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    by_seed = [kinds(rows) for rows in seeds.values()]
    for name in ORDER:
        rows = [found[name] for found in by_seed if name in found]
        if not rows:
            continue
        start = [row["start"] for row in rows if "start" in row]
        last = rows[-1]
        lines.append(
            f"| {name} | {len(rows)} | {plus_minus([r['accuracy'] for r in rows])} "
            f"| {100 * fmean(r['half'] for r in rows):.1f} | {plus_minus(start) if start else ''} "
            f"| {round(fmean(r['parameters'] for r in rows)) if 'parameters' in last else ''} "
            f"| {last.get('meta_steps', '')} "
            f"| {round(fmean(spent(r) for r in rows))} | {published.get(name, '')} |"
        )
    return [*lines, "", *reading(by_seed)]


def reading(by_seed: list[dict[str, dict[str, Any]]]) -> list[str]:
    """Return what the rows say, favourable or not."""
    told = []
    mixed = [rows["t-nas supernet"] for rows in by_seed if "t-nas supernet" in rows]
    if mixed:
        told.append(
            "- Tasks get architectures of their own: "
            + ", ".join(f"{row['distinct']} distinct of {row['of']}" for row in mixed)
            + f" test tasks; on average {fmean(r['hamming'] for r in mixed):.1f} of 32 choices "
            f"differ from the meta-learnt one, and logits move by up to "
            f"{max(r['moved'] for r in mixed):.1f}."
        )
        start = [r["accuracy"] - r["start"] for r in mixed]
        told.append(f"- Meta-training brings the supernet {plus_minus(start, sign='+')} points.")
    pairs = (
        ("The decoded architecture against a uniform one", "t-nas retrain", "random retrain"),
        ("Task-own (T-NAS) against common (Auto-MAML)", "t-nas retrain", "auto-maml retrain"),
        ("Started from the meta-trained weights against from scratch", "t-nas warm",
         "t-nas retrain"),
        ("MAML++ against MAML on the decoded architecture", "t-nas++ retrain", "t-nas retrain"),
        ("The decoded architecture against four convolutions", "t-nas retrain", "maml 4conv"),
    )  # fmt: skip
    for words, first, second in pairs:
        both = [(r[first], r[second]) for r in by_seed if first in r and second in r]
        if both:
            told.append(f"- {words}: {paired(both)}.")
    return [*told, ""]


def paired(both: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Return the difference on the same episodes, over seeds, or over episodes of a single one."""
    differences = [np.subtract(a["per_episode"], b["per_episode"]) for a, b in both]
    if len(differences) > 1:
        return f"{plus_minus([float(d.mean()) for d in differences], sign='+')} points over seeds"
    (only,) = differences
    half = 1.96 * only.std(ddof=1) / math.sqrt(len(only))
    return f"{100 * only.mean():+.1f} ± {100 * half:.1f} points over the episodes of one seed"


def compared(old: Cells, new: Cells, columns: tuple[str, str], names: Sequence[str]) -> list[str]:
    """Return a table of the rows `names` in both, for the seeds that have both."""
    lines = [
        f"| cell | method | seeds | {' | '.join(f'{c} %' for c in columns)} | difference, points |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key in sorted(old.keys() & new.keys()):
        seeds = sorted(old[key].keys() & new[key].keys())
        pairs = [(kinds(old[key][seed]), kinds(new[key][seed])) for seed in seeds]
        for name in names:
            both = [(a[name]["accuracy"], b[name]["accuracy"])
                    for a, b in pairs if name in a and name in b]  # fmt: skip
            if both:
                before, after = (plus_minus(list(column)) for column in zip(*both, strict=True))
                gain = plus_minus([b - a for a, b in both], sign="+")
                lines.append(
                    f"| {'-'.join(key)} | {name} | {len(both)} | {before} | {after} | {gain} |"
                )
    return [*lines, ""]


def outer_rates(falling: Cells, constant: Cells) -> list[str]:
    """Compare both outer rates on the rows that had equally many meta-steps."""
    words = (
        "The same meta-steps with the published outer rate, 0.001 throughout (`constant`, kept in "
        "`benchmarks/results/few-shot-constant-rate`), and with 0.01 falling to 0.0002 (`falling`; "
        "MAML++ fell to 0.00001 before), for seeds that have both. `random` is one architecture "
        "a seed, the same in both; of `t-nas` and `auto-maml` the search differs too, which had a "
        "third of the meta-steps before."
    )
    trained = [name for name in ORDER if not name.endswith(("supernet", "inherit"))]
    table = compared(constant, falling, ("constant", "falling"), trained)
    return ["## What the outer rate does", "", words, "", *table]


def lengths(cells: Cells, short: Cells, longer: Cells) -> list[str]:
    """Compare trainings of different lengths, on mini-ImageNet and Omniglot."""
    images = (
        "On mini-ImageNet the meta-steps and outer rate of the other data sets (`short`: 500 of "
        "fixed networks, 240 of supernets, 300 of decoded networks, 0.01 falling to 0.0002, kept "
        "in `benchmarks/results/few-shot-short`) left most rows where they began, so that the "
        "tables above have `longer` trainings (2,000, 320 and 800, 0.004 falling to 0.0001). What "
        "the four-convolution network gains, decoded and uniform ones gain in part only."
    )
    parts = ["## What longer training does", "", images, ""]
    parts += compared(short, cells, ("short", "longer"), ORDER)
    if longer:
        letters = (
            "On Omniglot `--scale long` has eight times the meta-steps of fixed and decoded "
            "networks, and twice those of supernets; the rest is that of the tables above."
        )
        parts += [letters, "", *compared(cells, longer, ("above", "longer"), ORDER)]
    return parts


def logits_rates(cells: Cells) -> list[str]:
    """Compare inner rates of the logits on the seeds that have several."""
    lines = [
        "## What the inner rate of the architecture does",
        "",
        "`python benchmarks/few_shot_logits_rate.py CELL --rate R`: T-NAS with smaller rates of "
        "the logits than the published 30. `differ`: choices of 32 in which a task's decoded "
        "architecture differs from the meta-learnt one; `moved`: by how much a logit moves at "
        "most.",
        "",
        "| cell | seeds | rate | supernet % | inherit % | retrain % | distinct | differ | moved |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    smaller = {
        float(folder.name.rpartition("-")[2]): load(folder.name)
        for folder in RESULTS.glob("few-shot-logits-rate-*")
    }
    for key in sorted(cells, key=in_order):
        seeds = set(cells[key]).intersection(*(found.get(key, {}) for found in smaller.values()))
        for rate, found in sorted({**smaller, 30.0: cells}.items()) if seeds else ():
            rows = [kinds(found[key][seed]) for seed in sorted(seeds)]
            shown = [
                plus_minus([r[f"t-nas {kind}"]["accuracy"] for r in rows])
                if all(f"t-nas {kind}" in r for r in rows)
                else ""
                for kind in ("supernet", "inherit", "retrain")
            ]
            mixed = [r["t-nas supernet"] for r in rows]
            distinct = ", ".join(f"{row['distinct']} of {row['of']}" for row in mixed)
            lines.append(
                f"| {'-'.join(key)} | {len(rows)} | {rate:g} | {' | '.join(shown)} | {distinct} "
                f"| {fmean(row['hamming'] for row in mixed):.1f} "
                f"| {max(row['moved'] for row in mixed):.2g} |"
            )
    words = (
        "With five shots, a tenth or a hundredth of the published rate lets the adapted supernet "
        "predict better: at 30 single steps overturn the mixture that its weights were learnt "
        "for. Tasks get architectures of their own at each rate. What these are worth once they "
        "are trained shows no trend, nor does one shot."
    )
    return [*lines, "", words, ""] if smaller else []


def missing(cells: Cells) -> list[str]:
    """Return what has fewer seeds than wanted."""
    wanted = [
        ("omniglot", "5", "1"), ("omniglot", "5", "5"), ("omniglot", "20", "1"),
        ("fc100", "5", "1"), ("fc100", "5", "5"),
        ("mini-imagenet", "5", "1"), ("mini-imagenet", "5", "5"),
    ]  # fmt: skip
    told = []
    for key in wanted:
        rows = [set(kinds(found)) for found in cells.get(key, {}).values()]
        least = min(sum(name in found for found in rows) for name in _TOLD)
        if least < SEEDS:
            told.append(f"{'-'.join(key)} ({least} of {SEEDS} seeds complete)")
    if not told:
        return []
    return [f"**Incomplete**: {', '.join(told)}.", ""]


def speed() -> list[str]:
    """Return the tables of speed."""
    path = RESULTS / "few-shot-speed.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    layouts = "loop", "loop, channels last", "grouped", "grouped, channels last"
    columns = (*layouts, "compiled", "auto")
    lines = [
        "## Speed of a meta-step",
        "",
        f"`python benchmarks/few_shot.py`, layouts in turn in one run, least CPU seconds; commit "
        f"{found['machine']['commit']}. 28x28, 5-way 1-shot, 15 queries a class, 5 steps.",
        "",
        f"| | {' | '.join(columns)} | loop / auto |",
        f"| --- {'| --- ' * len(columns)}| --- |",
    ]
    named = {f"MAML, 4 conv., {k}": v for k, v in found.get("conv", {}).items()}
    named |= {f"T-NAS, 4 tasks, {k}": v for k, v in found.get("tnas", {}).items()}
    for name, part in named.items():
        seconds = part["seconds"]
        shown = [f"{seconds[c]:.2f}" if c in seconds else "" for c in columns]
        ratio = part["times faster than the loop"]["auto"]
        lines.append(f"| {name} | {' | '.join(shown)} | {ratio:.1f} |")
    lines += [
        "",
        "T-NAS has 2 cells of 16 channels, with the published stem, which pools twice so that "
        "cells see 7x7 and 4x4 pixels, and with the one that images of this size have by default. "
        "The official code, ported, takes 8.8 s with the published stem on the machine of the "
        "goals, nearly half of it for passes of no use. `auto` measures layouts, and whether fewer "
        "tasks at a time, whose maps stay in the processor's caches, are faster.",
        "",
    ]
    if "evaluation" in found:
        told = found["evaluation"]
        lines += [
            f"600 test tasks (64 filters, 10 steps, 15 queries a class): "
            f"{told['wall seconds']:.0f} s on {told['threads']} thread(s).",
            "",
        ]
    return lines


def in_order(key: tuple[str, str, str]) -> tuple[str, int, int]:
    """Return what tables are sorted by: data set, way and shot, the latter as numbers."""
    return key[0], int(key[1]), int(key[2])


def main() -> None:
    """Write the page."""
    cells, short = load("few-shot"), load("few-shot-short")
    parts = [HEAD, *missing(cells)]
    for key in sorted(cells, key=in_order):
        parts += cell(key, cells[key])
    parts += outer_rates({**cells, **short}, load("few-shot-constant-rate"))
    parts += [*lengths(cells, short, load("few-shot", "long")), *logits_rates(cells), *supervised()]
    parts += [*transfer(), *similarity(), *speed()]
    PAGE.write_text("\n".join(parts).rstrip() + "\n")


if __name__ == "__main__":
    main()
