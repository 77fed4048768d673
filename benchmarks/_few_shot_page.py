"""Writes docs/results/few-shot.md from the results of few_shot_tables.py and few_shot.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _record import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "results" / "few-shot.md"
PUBLISHED = {
    "maml 4conv": "98.7",
    "maml++ 4conv": "99.47",
    "t-nas retrain": "99.16",
    "t-nas++ retrain": "99.35",
    "auto-maml retrain": "98.95",
}
"""Omniglot 5-way 1-shot, Lian et al. (ICLR 2020), table 2: full width and length, other splits."""
HEAD = """# Few-shot learning and search

Made by `benchmarks/_few_shot_page.py` from `benchmarks/results/few-shot/*.json` and
`few-shot-speed.json`. One processor thread, a machine shared with other jobs: seconds are rough.

**What this page does and does not show.** Every row below was trained here, at reduced width (16
filters, or cells of 4 channels) and for minutes where the publications train for hours, on the
split by alphabets (test characters share no alphabet with training). One seed. So the published
figures, given beside ours, are not comparable, and differences between our rows say something
about these short trainings only. Not yet run: 5-shot, 20-way, CIFAR-FS, FC100, mini-ImageNet, the
200-shot 10-way table, transfer across data sets, and any GPU; the command for each cell is in
`benchmarks/few_shot_tables.py` (`--scale gpu --device cuda --max-seconds 540` goes on where it
stopped).

"""


def cell(path: Path) -> list[str]:
    """Return the table of one cell."""
    found = json.loads(path.read_text())
    data, way, shot, seed = path.stem.split("-")[:4]
    published = PUBLISHED if (data, way, shot) == ("omniglot", "5", "1") else {}
    lines = [
        f"## {data}, {way}-way {shot}-shot, 5 queries a class, seed {seed}",
        "",
        f"Processor {found['machine']['processor']}, commit {found['machine']['commit']}. Query "
        "statistics: batch (transductive, as published). Intervals: 95%, over episodes, and over "
        "test classes by bootstrap.",
        "",
        "| method | accuracy % | over classes | untrained % | episodes | parameters | meta-steps "
        "| meta-training s | published % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in found["rows"].items():
        lines.append(
            f"| {name} | {100 * row['accuracy']:.1f} ± {100 * row['half']:.1f} "
            f"| {100 * row['class_low']:.1f} to {100 * row['class_high']:.1f} "
            f"| {_percent(row.get('start'))} | {len(row['per_episode'])} "
            f"| {row.get('parameters', '')} | {row.get('meta_steps', '')} "
            f"| {row.get('meta_seconds', '')} "
            f"| {published.get(name.rstrip('0123456789 '), '')} |"
        )
    return [*lines, "", *_reading(found["rows"])]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _reading(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return what the rows say, favourable or not."""
    told = []
    if "t-nas supernet" in rows:
        row = rows["t-nas supernet"]
        told.append(
            f"- **Architectures are the tasks' own**: {row['distinct']} distinct ones for "
            f"{row['of']} test tasks, on average {row['hamming']:.1f} of 32 choices away from the "
            f"meta-learnt one; logits move by up to {row['moved']:.1f}."
        )
    searched = [r["accuracy"] for n, r in rows.items() if n.startswith("t-nas retrain")]
    uniform = [r["accuracy"] for n, r in rows.items() if n.startswith("random retrain")]
    if searched and uniform:
        gain = 100 * (sum(searched) / len(searched) - sum(uniform) / len(uniform))
        told.append(
            f"- **Decoded against uniform architectures**, trained alike (mean of {len(searched)} "
            f"each): {gain:+.1f} points. "
            + ("The search does not pay here." if gain <= 0 else "The search pays here.")
        )
    if "t-nas warm 0" in rows and "t-nas retrain 0" in rows:
        gain = 100 * (rows["t-nas warm 0"]["accuracy"] - rows["t-nas retrain 0"]["accuracy"])
        told.append(
            f"- **Do the meta-trained weights help the decoded network?** Started from them "
            f"(`warm`), the same architecture reaches {gain:+.1f} points after as many meta-steps."
        )
    if "t-nas supernet" in rows and "maml 4conv" in rows:
        told.append(
            "- **At the same number of adaptation steps** the four-convolution network is ahead of "
            "all searched ones here; it had 1,000 meta-steps, the supernet 150."
        )
    return [*told, ""] if told else []


def speed() -> list[str]:
    """Return the tables of speed."""
    path = RESULTS / "few-shot-speed.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    lines = [
        "## Speed of a meta-step",
        "",
        f"`python benchmarks/few_shot.py`, layouts in turn in one run, least CPU seconds; commit "
        f"{found['machine']['commit']}. 28x28, 5-way 1-shot, 15 queries a class, 5 steps.",
        "",
        "| | loop | loop, channels last | grouped | grouped, channels last | compiled |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    named = {f"MAML, 4 conv., {k}": v for k, v in found.get("conv", {}).items()}
    if "tnas" in found:
        named["T-NAS, 2 cells, 16 channels, 4 tasks"] = found["tnas"]
    for name, part in named.items():
        seconds = part["seconds"]
        columns = ("loop", "loop, channels last", "grouped", "grouped, channels last", "compiled")
        shown = [f"{seconds[c]:.2f}" if c in seconds else "" for c in columns]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    lines += [
        "",
        "The official T-NAS code, ported, takes 8.8 s on a quiet machine of this kind; our figures "
        "come from a busy one, so ratios within a row are what to trust.",
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


def main() -> None:
    """Write the page."""
    cells = [line for path in sorted((RESULTS / "few-shot").glob("*.json")) for line in cell(path)]
    PAGE.write_text(HEAD + "\n".join([*cells, *speed()]).rstrip() + "\n")


if __name__ == "__main__":
    main()
