"""The page docs/results/interleaved.md from the JSON of the benchmark.

python benchmarks/_interleaved_page.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
from _interleaved_words import BEFORE, COLOUR, COLOUR_ROWS, GROUPS, LIMITS, SAYS
from _record import RESULTS
from scipy.stats import spearmanr, ttest_1samp
from scipy.stats import t as student

from transnas import spaces
from transnas.studies._statistics import holm
from transnas.studies.report import standalone_drawing

DOCS = Path(__file__).parent.parent / "docs" / "results"
MAIN = "interleaved"
Floats = npt.NDArray[np.float64]
Runs = Mapping[str, Mapping[str, Any]]


def write_page() -> None:
    """Write page and drawings from whatever of the results is there."""
    result = _read("interleaved")
    assert result is not None
    runs: Runs = result["runs"]
    colour = _read("interleaved-colour")
    tasks: list[str] = result["settings"]["tasks"]
    parts = [
        BEFORE,
        "## Verdict\n",
        _verdict(runs, tasks, colour),
        *_accuracies(runs, tasks),
        *_by_task(runs, tasks),
    ]
    parts += _outlier(runs, tasks)
    if colour is not None:
        parts += _colour(colour)
    distances = _read("interleaved-similarity")
    if distances is not None:
        parts += _related(runs, tasks, distances)
    parts += [*_rounds(runs), *_gradients(runs, tasks), *_drawings(runs)]
    for name, section in (("cells", _cells), ("cost", _cost), ("mixed", _mixed)):
        found = _read(f"interleaved-{name}")
        if found is not None:
            parts += section(found)
    machine = result["machine"]
    parts += [
        LIMITS,
        f"\nAccuracies: {machine['processor']}, one thread, commit {machine['commit']}, "
        f"{machine['date']}.\n",
    ]
    (DOCS / "interleaved.md").write_text("\n".join(parts))


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


# Accuracies ---------------------------------------------------------------------------------------


def accuracies(runs: Runs, row: str, tasks: Sequence[str]) -> Floats:
    """Return test accuracies in percent [seeds, tasks] of a row; NaN where it has none."""
    found = [
        [_test(done[row], task) if row in done else float("nan") for task in tasks]
        for done in runs.values()
    ]
    return 100 * np.array(found)


def _test(row: Mapping[str, Any], task: str) -> float:
    return float(row["tasks"][task]["test_accuracy"]) if task in row["tasks"] else float("nan")


def interval(values: Iterable[float]) -> tuple[float, float, int]:
    """Return mean, half of the 95 % t-interval of the mean, and the number of values."""
    known = np.array([v for v in values if np.isfinite(v)])
    n = len(known)
    if n < 2:
        return (float(known.mean()) if n else float("nan")), float("nan"), n
    half = float(student.ppf(0.975, n - 1) * known.std(ddof=1) / np.sqrt(n))
    return float(known.mean()), half, n


def written(values: Iterable[float], signed: bool = False) -> str:
    """Return `mean ± half` of an interval."""
    mean, half, n = interval(values)
    if not n:
        return "–"
    shown = f"{mean:+.1f}" if signed else f"{mean:.1f}"
    return f"{shown} ± {half:.1f}" if n > 1 else shown


def _verdict(runs: Runs, tasks: Sequence[str], colour: Mapping[str, Any] | None) -> str:
    """Return when interleaving pays, in three sentences whose words follow from the intervals."""

    def against(row: str, other: str, of: Sequence[str] = tasks) -> tuple[str, int]:
        apart = (accuracies(runs, row, of) - accuracies(runs, other, of)).mean(axis=1)
        mean, half, n = interval(apart)
        sign = 0 if not abs(mean) > half else (1 if mean > 0 else -1)
        return f"{written(apart, signed=True)} points over {n} seeds", sign

    words = {1: "better than", 0: "not distinguishable from", -1: "worse than"}
    separate, apart = against(MAIN, "separate")
    alone, shared = against(MAIN, "none, M=1")
    drawn, luck = against(MAIN, "random")
    late, _ = against("phase 2 interleaved", MAIN)
    harm, harmed = against(MAIN, "without outlier", tasks[:-1])
    kept, keeps = against("none, M=1", "separate")
    pays = apart > 0 or shared > 0
    gain = {1: "gains", 0: "does not measurably change", -1: "loses"}[keeps]
    elsewhere = ""
    if colour is not None:
        own = colour["settings"]["tasks"]
        pair = (accuracies(colour["runs"], row, own) for row in ("none, M=1", "separate"))
        apart_there = np.subtract(*pair).mean(axis=1)
        elsewhere = f"; in the set in colour {written(apart_there, signed=True)}"
    said = (
        f"At equal images and with small networks, one interleaved search is {words[apart]} a "
        f"search on each task ({separate}) and {words[shared]} sharing the architecture without "
        f"transfer ({alone}). It is {words[luck]} a random cell ({drawn}), and training the found "
        f"cell's networks in turn with transfer changes them by {late}: what there is to gain "
        f"here lies {'in the architecture' if luck > 0 else 'in neither the cell nor the transfer'}"
        f", and the outlier {'harms' if harmed < 0 else 'does not measurably harm'} its relatives "
        f"({harm}). Sharing the architecture alone, with one round and no transfer, {gain} "
        f"accuracy against separate searches ({kept}{elsewhere}), so that part of interleaving is "
        f"worth having where one architecture is wanted for several tasks; more rounds and "
        f"transfer {'pay beside it' if pays else 'do not pay, on this evidence'}."
    )
    return fill(said, 100)


def _accuracies(runs: Runs, tasks: Sequence[str]) -> list[str]:
    lines = []
    for title, note, rows in GROUPS:
        present = [r for r in rows if any(r in done for done in runs.values())]
        if present in ([], [MAIN]):
            continue
        lines += [f"\n## {title}\n", note + "\n", *_table(runs, present, tasks)]
    return lines


def _table(runs: Runs, rows: Sequence[str], tasks: Sequence[str]) -> list[str]:
    columns = ["row", "seeds", *tasks, "mean", "− separate", "− alone", "CPU s", "images"]
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return head + [_row(runs, row, tasks) for row in rows]


def _colour(result: Mapping[str, Any]) -> list[str]:
    """Return the second set of tasks: the baselines, and sharing with other kinds of transfer."""
    runs, tasks = result["runs"], result["settings"]["tasks"]
    present = [r for r in COLOUR_ROWS if any(r in done for done in runs.values())]
    return [COLOUR, *_table(runs, present, tasks), *_outlier(runs, tasks, 3)]


def _row(runs: Runs, row: str, tasks: Sequence[str]) -> str:
    mine = accuracies(runs, row, tasks)
    own = [i for i, task in enumerate(tasks) if not np.isnan(mine[:, i]).all()]
    cells = [f"**{row}**" if row == MAIN else row]
    cells[0] += f": {SAYS[row]}" if row in SAYS else ""
    cells.append(str(int((~np.isnan(mine[:, own[0]])).sum())))
    cells += [written(mine[:, i]) for i in range(len(tasks))]
    cells.append(written(mine[:, own].mean(axis=1)))
    for other in ("separate", "none, M=1"):
        theirs = accuracies(runs, other, tasks)
        apart = (mine - theirs)[:, own].mean(axis=1)
        cells.append("" if row == other else written(apart, signed=True))
    there = [done[row] for done in runs.values() if row in done]
    seconds = [r["search_cpu_seconds"] for r in there]
    images = {r.get("images", 0) for r in there}
    cells.append(f"{np.mean(seconds):.1f}" if max(seconds) > 0 else "–")
    cells.append(f"{max(images):,}" if max(images) else "–")
    return f"| {' | '.join(cells)} |"


def _by_task(runs: Runs, tasks: Sequence[str]) -> list[str]:
    """Return paired differences of the method to its two references, tested task by task."""
    lines = [
        "\n## Paired differences, task by task\n",
        "Interleaved minus the other, in points of test accuracy; p-values of paired t-tests, "
        "adjusted by Holm's method over the five tasks.\n",
        "| task | − separate | p | − alone (none, M=1) | p | − random | p |",
        "|---|---|---|---|---|---|---|",
    ]
    mine = accuracies(runs, MAIN, tasks)
    columns = []
    for other in ("separate", "none, M=1", "random"):
        apart = mine - accuracies(runs, other, tasks)
        apart = apart[~np.isnan(apart).any(axis=1)]
        enough = len(apart) > 1
        p = [
            float(ttest_1samp(apart[:, i], 0.0).pvalue) if enough else float("nan")
            for i in range(len(tasks))
        ]
        columns.append((apart, holm(p)))
    for i, task in enumerate(tasks):
        cells = [task]
        for apart, p in columns:
            cells += [written(apart[:, i], signed=True), f"{p[i]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _outlier(runs: Runs, tasks: Sequence[str], level: int = 2) -> list[str]:
    relatives = tasks[:-1]
    with_it, without = (
        accuracies(runs, row, relatives).mean(axis=1) for row in (MAIN, "without outlier")
    )
    alone = accuracies(runs, "none, M=1", relatives).mean(axis=1)
    return [
        f"\n{'#' * level} What the outlier costs its relatives\n",
        f"Mean accuracy of the four relatives: with `{tasks[-1]}` among the tasks "
        f"{written(with_it)} %, without it {written(without)} %; paired difference "
        f"{written(with_it - without, signed=True)} points. With it but without any transfer "
        f"(none, M=1): {written(alone)} %.",
    ]


def _related(runs: Runs, tasks: Sequence[str], found: Mapping[str, Any]) -> list[str]:
    """Return whether tasks that are nearer to their predecessor gain more (requirement 19)."""
    mine, theirs = (accuracies(runs, row, tasks) for row in (MAIN, "none"))
    lines = [
        "\n## Does a task gain more from a similar predecessor?\n",
        "Unbiased MMD² between each task and the one before it (features of a random encoder, mean "
        "over seeds), beside what the transfer adds (interleaved − none, both M=2).\n",
        "| task | predecessor | MMD² | gain |", "|---|---|---|---|",
    ]  # fmt: skip
    correlations = []
    before = [(i - 1) % len(tasks) for i in range(len(tasks))]
    for seed, own, other in zip(runs, mine, theirs, strict=True):
        if seed in found["mmd2"] and not np.isnan(own - other).any():
            apart = [found["mmd2"][seed][i][j] for i, j in enumerate(before)]
            correlations.append(float(spearmanr(apart, own - other).statistic))
    for i, j in enumerate(before):
        distance = float(np.mean([m[i][j] for m in found["mmd2"].values()]))
        gain = written(mine[:, i] - theirs[:, i], signed=True)
        lines.append(f"| {tasks[i]} | {tasks[j]} | {distance:.3f} | {gain} |")
    mean, half, n = interval(correlations)
    return [
        *lines,
        f"\nSpearman's correlation of distance and gain over the five tasks: {mean:+.2f} ± "
        f"{half:.2f} over {n} seeds (five tasks a seed: a weak test).",
    ]


def _rounds(runs: Runs) -> list[str]:
    """Return CPU seconds of a round and the share of the transfer in it."""
    lines = [
        "\n## Time of a round in these runs\n",
        "| row | iterations | CPU s an iteration | transfer |",
        "|---|---|---|---|",
    ]
    for row in (MAIN, "none", "none, M=1", "M=1", "M=3", "M=4", "published", "soft", "distil",
                "hypernetwork, chunked", "hypernetwork, film"):  # fmt: skip
        there = [done[row] for done in runs.values() if row in done]
        if there:
            steps = there[0]["iterations"]
            each = [r["search_cpu_seconds"] / steps for r in there]
            share = [100 * r["transfer_seconds"] / r["search_seconds"] for r in there]
            lines.append(f"| {row} | {steps} | {np.mean(each):.2f} | {np.mean(share):.0f} % |")
    return lines


def _gradients(runs: Runs, tasks: Sequence[str]) -> list[str]:
    """Return how far the tasks agree on the architecture, at the end of the search."""
    points = [done[MAIN]["newest_point"] for done in runs.values() if MAIN in done]
    lengths = np.array([[p["tasks"][t]["gradient"] for t in tasks] for p in points])
    share = 100 * lengths / lengths.sum(axis=1, keepdims=True)
    named = ", ".join(f"{t} {written(share[:, i])} %" for i, t in enumerate(tasks))
    cosines = np.array([[v for k, v in p.items() if k.startswith("cosine ")] for p in points])
    conflicts = 100 * float((cosines < 0).mean())
    return [
        "\n## What the tasks want of the architecture\n",
        f"Shares of the length of ∇α N_k in the last iteration: {named}. Of the pairs of tasks, "
        f"{conflicts:.0f} % have gradients that conflict (cosine below 0); the mean cosine is "
        f"{written(cosines.mean(axis=1), signed=True)}.",
    ]


def _drawings(runs: Runs) -> list[str]:
    space, lines = spaces.get("nasbench201"), ["\n## The architectures that were found\n"]
    for seed, done in runs.items():
        if MAIN in done:
            text = done[MAIN]["architectures"][0]
            path = DOCS / "pictures" / f"interleaved-{seed}.svg"
            path.write_text(standalone_drawing(space, space.from_text(text)) + "\n")
            lines.append(f"Seed {seed}: `{text}`\n\n![seed {seed}](pictures/{path.name})\n")
    lines += [
        "\n| row | parameters of all five networks | multiply-adds, summed |",
        "|---|---|---|",
    ]
    for row in (MAIN, "separate", "joint", "transferred", "random", "by hand"):
        there = [done[row]["tasks"].values() for done in runs.values() if row in done]
        sizes = [[sum(c[m] for c in cells) for cells in there] for m in ("parameters", "flops")]
        if there:
            lines.append(
                f"| {row} | {np.mean(sizes[0]):,.0f} ({min(sizes[0]):,.0f} to "
                f"{max(sizes[0]):,.0f}) | {np.mean(sizes[1]):,.0f} |"
            )
    return lines


# The other measurements ---------------------------------------------------------------------------


def _cells(result: Mapping[str, Any]) -> list[str]:
    columns, runs = result["columns"], result["runs"]
    lines = [
        "\n## Cells looked up in NAS-Bench-201\n",
        "Searched on CIFAR-10, CIFAR-100 and mini-ImageNet together (16x16 pixels), beside plain "
        "searches on each alone, at equal images. The derived cells' validation accuracy in the "
        "benchmark's table of all three data sets (%); a separate search's cell of one task counts "
        "in the column of that task. `imagenet16-120` stands for mini-ImageNet.\n",
        f"| method | seeds | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns),
    ]  # fmt: skip
    for method in next(iter(runs.values())):
        cells = [
            written(100 * run[method][k][column] for run in runs.values())
            for k, column in enumerate(columns)
        ]
        lines.append(f"| {method} | {len(runs)} | {' | '.join(cells)} |")
    lines.append("\nCells of the interleaved search:")
    lines += [f"- seed {seed}: `{run['interleaved'][0]['cell']}`" for seed, run in runs.items()]
    return lines


def _cost(result: Mapping[str, Any]) -> list[str]:
    lines = [
        "\n## Cost of a round, and memory\n",
        "Process seconds of iterations with transfer over the same without, in turn in one "
        "process, over one whole period of the transfer; five tasks, M=2, without the "
        "architecture's step. The goal is 1.25.\n",
        "| setting | round / its single-task steps | transfer's share |", "|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {label} | {found['ratio']:.2f} | {100 * found['transfer_share']:.0f} % |"
        for label, found in result["rounds"].items()
    ]
    lines += [
        "",
        "Bytes of tensors in one process, as torch's profiler counts them: `held` between steps "
        "(weights, momentum), `peak` the most that a whole iteration adds to it (activations, "
        "gradients).\n",
        "| tasks | held, MB | held a task, MB | peak beside it, MB |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {k} | {m['held'] / 1e6:.2f} | {m['held'] / 1e6 / int(k):.2f} | {m['peak'] / 1e6:.1f} |"
        for k, m in result["memory"].items()
    ]
    batched = result.get("batched")
    if batched:
        lines += [
            "",
            f"Tasks of equal shape in one batched forward and backward pass (`torch.func.vmap` "
            f"over {batched['tasks']} supernets) take {batched['ratio']:.2f} of the time of the "
            f"passes one after the other on this CPU"
            + (
                ": batching does not pay here, so stages run in turn."
                if batched["ratio"] > 1
                else "."
            ),
        ]
    return lines


def _mixed(result: Mapping[str, Any]) -> list[str]:
    lines = [
        "\n## Classification, detection and segmentation in one run\n",
        f"`{result['command']}`: {result['seconds'] / 60:.1f} minutes with one thread "
        f"({result['cpu_seconds'] / 60:.1f} of CPU).\n",
        "| task | metric on test data | parameters | search loss, first and last |",
        "|---|---|---|---|",
    ]
    for task, row in result["tasks"].items():
        lines.append(
            f"| `{task}` | {row['metric']} | {row['parameters']:,.0f} | {row['first']:.2f}, "
            f"{row['last']:.2f} |"
        )
    lines += [
        "",
        f"Shared architecture: `{result['architecture']}`. So few images and epochs show that the "
        "three kinds go together and learn, not how well (43 traffic signs of six images each stay "
        "near chance).",
    ]
    return lines


if __name__ == "__main__":
    write_page()
