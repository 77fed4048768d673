"""The page of benchmarks/recurrent.py: docs/results/recurrent.md from its JSON.

python benchmarks/_recurrent_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from _few_shot_questions import plus_minus
from _record import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "results" / "recurrent.md"
UNIGRAM = (687, 639)
"""Perplexity of word frequencies of the whole training text: validation, test."""


def values(runs: list[dict[str, Any]], key: str) -> str:
    """Return a mean, and the values that it is of where there are several."""
    own = [run[key] for run in runs]
    alone = f"{np.mean(own):.0f}"
    return alone if len(own) == 1 else f"{alone} ({', '.join(f'{v:.0f}' for v in own)})"


def findings(runs: list[dict[str, Any]]) -> list[str]:
    """Return what the rows say, as one paragraph."""
    means = {
        row: np.mean([r["test_perplexity"] for r in runs if r["row"] == row])
        for row in dict.fromkeys(run["row"] for run in runs)
    }
    below = [row for row, mean in means.items() if mean < UNIGRAM[1]]
    said = [
        f"{len(below)} of {len(means)} networks are below the unigram, which knows the "
        "frequencies of the whole training text."
    ]
    for row in means:
        space, _, how = row.partition(" ")
        if not how.startswith("searched"):
            continue
        own, drawn = _tests(runs, row), _tests(runs, f"{space} random")
        less = [own[seed] - drawn[seed] for seed in own if seed in drawn]
        said.append(
            f"`{row}` differs by {plus_minus(less, 1.0, '+')} from the random cells in test "
            "perplexity (95% t-interval over seeds; below 0 is better)."
        )
    return [" ".join(said), "", _identities(runs)]


def _identities(runs: list[dict[str, Any]]) -> str:
    """Return how often searches of DARTS cells took the identity."""
    shares = []
    for row in ("darts searched", "darts searched with dropout"):
        found = [r["network"] for r in runs if r["row"] == row]
        shares.append(f"{sum(n.count('identity') for n in found)} of {8 * len(found)} with `{row}`")
    return (
        f"Operations of searched DARTS cells that are the identity: {' and '.join(shares)}; a "
        "quarter by chance. After searches of 2 epochs they were 3 of 32, and those cells were "
        "46.7 ± 34.9 worse than random ones: like skips in convolutional cells, identities win "
        "while the weights are young, and the longer search followed them further. With the "
        "published dropouts there are fewer; four seeds do not tell the perplexities apart."
    )


def _tests(runs: list[dict[str, Any]], row: str) -> dict[int, float]:
    """Return the test perplexity of a row by seed."""
    return {run["seed"]: run["test_perplexity"] for run in runs if run["row"] == row}


def page(found: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    machine, runs = found["machine"], found["runs"]
    search, training = found["search"], found["training"]
    tokens = training["streams"] * training["steps"] * 35
    lines = [
        "# Recurrent cells on the Penn Treebank",
        "",
        f"A DARTS cell (8 nodes, first order) is searched for {search['epochs']} epochs of "
        f"{search['steps']} windows of 35 words, {search['streams']} streams, {search['hidden']} "
        "units, with the published settings of the weights (SGD at 20, no momentum, clip 0.25, "
        "decay 5e-7) and logits (Adam 3e-3); an ENAS cell with a shared child and a controller "
        "that is rewarded by accuracy (published: a constant over perplexity) for as long. Then "
        f"every network trains {training['steps']} equal steps ({tokens:,} of the 929,589 words, "
        f"{training['hidden']} units, no dropout, SGD from 20 to 0) and is tested once on the "
        "whole test text. The LSTM has one layer and at least as many weights. Published "
        "searches take 50 epochs and trainings thousands, with 850 units (test perplexity 55 to "
        "58): what these figures can show is that everything runs and learns, not which cell is "
        "best.",
        "",
        "| network | seeds | weights | search, s | training, s | validation perplexity | test |",
        "|---|---|---|---|---|---|---|",
        f"| unigram | | | | | {UNIGRAM[0]} | {UNIGRAM[1]} |",
    ]
    for row in dict.fromkeys(run["row"] for run in runs):
        own = [run for run in runs if run["row"] == row]
        lines.append(
            f"| {row} | {len(own)} | {own[0]['weights']:,} "
            f"| {np.mean([r['search_seconds'] for r in own]):.0f} "
            f"| {np.mean([r['training_seconds'] for r in own]):.0f} "
            f"| {values(own, 'validation_perplexity')} | {values(own, 'test_perplexity')} |"
        )
    cells = [r for r in runs if "searched" in r["row"]]
    lines += ["", "Cells that were found:", ""]
    lines += [f"- {r['row']}, seed {r['seed']}: `{r['network']}`" for r in cells]
    lines += [
        "",
        *findings(runs),
        "",
        "Validation is as many words as training. Seconds are the processor's, one thread, on a "
        f"machine that others used too: {machine['processor']}, torch "
        f"{machine['packages']['torch']}, commit {machine['commit']}, {machine['date']}.",
        "",
        "    python benchmarks/recurrent.py",
        "    python benchmarks/_recurrent_page.py",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(json.loads((RESULTS / "recurrent.json").read_text())))
    print(PAGE)
